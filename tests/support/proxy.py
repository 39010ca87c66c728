"""The fault proxy of `workqueue chaos`, where tests look for it."""

from services.chaos.proxy import Proxy, through

__all__ = ["Proxy", "through"]
