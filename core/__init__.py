"""Queue and job-state logic. Knows no HTTP and no command line."""

if __name__ == "core":
    # In a checkout this folder is found under its own name as well. What users import from it is the same there; a
    # module of it imported under that name would be a second one, with a registry of its own: there is none.
    __path__ = []

from workqueue.core.errors import PermanentFailure
from workqueue.core.handlers import every, handler, periodic
from workqueue.core.job import Job
from workqueue.core.policies import Backoff, Discard, RateLimited, Retry, Snooze

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
