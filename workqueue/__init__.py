"""What users import: `from workqueue import Job, handler`. Re-exports only."""

from workqueue.core import Job, PermanentFailure, handler

__all__ = ["Job", "PermanentFailure", "handler"]
