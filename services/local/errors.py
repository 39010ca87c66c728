"""What keeps an embedded server from starting; each says in one line what to do."""

from workqueue.core.errors import WorkQueueError


class LocalServerError(WorkQueueError):
    """An embedded server cannot run here, or did not start."""
