"""Queue and job-state logic. Knows no HTTP and no command line."""

from core.errors import PermanentFailure
from core.handlers import handler
from core.job import Job

__all__ = ["Job", "PermanentFailure", "handler"]
