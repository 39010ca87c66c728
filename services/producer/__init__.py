"""The HTTP producer: `hypercorn -k trio workqueue.services.producer:app` looks for `app` in this very module.

In a checkout `services.producer:app` is the same.
"""

from workqueue.services.producer.app import app

__all__ = ["app"]
