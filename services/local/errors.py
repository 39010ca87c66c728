"""The error of an embedded server that does not start; its text names the remedy in one line."""

from workqueue.core.errors import WorkQueueError


class LocalServerError(WorkQueueError):
    """An embedded server cannot run here, or did not start."""
