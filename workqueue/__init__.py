"""What users import: `from workqueue import Job, handler`. Re-exports only."""

from workqueue.core import Backoff, Discard, Job, PermanentFailure, RateLimited, Retry, Snooze, every, handler, periodic

__all__ = [
    "Backoff",
    "Discard",
    "Job",
    "PermanentFailure",
    "RateLimited",
    "Retry",
    "Snooze",
    "every",
    "handler",
    "periodic",
]
