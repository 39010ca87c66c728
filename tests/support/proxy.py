"""The fault proxy of `workqueue chaos`, where tests look for it."""

from workqueue.services.chaos.proxy import Proxy, through

__all__ = ["Proxy", "through"]
