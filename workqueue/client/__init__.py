"""The client: enqueue jobs from a Python program and ask for them. It needs no Trio, and nothing of the services."""

from workqueue.client.declared import JobType, declare
from workqueue.client.errors import (
    ClientError,
    JobCancelled,
    JobFailed,
    MaybeEnqueued,
    NotAllowed,
    NotEnqueued,
    Refused,
    StillRunning,
    Unavailable,
)
from workqueue.client.jobs import JobInfo, Queued, Task
from workqueue.client.sync import Client

__all__ = [
    "Client", "ClientError", "JobCancelled", "JobFailed", "JobInfo", "JobType", "MaybeEnqueued", "NotAllowed",
    "NotEnqueued", "Queued", "Refused", "StillRunning", "Task", "Unavailable", "declare",
]  # fmt: skip
