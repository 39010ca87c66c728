"""The HTTP producer. `app` is here for `hypercorn -k trio services.producer:app`, which looks into this very module."""

from services.producer.app import app

__all__ = ["app"]
