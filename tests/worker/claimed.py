"""Claimed tasks for tests of what a worker does with them."""

from uuid import uuid4

import trio

from workqueue.core.steps.lease import ClaimedTask, Lease
from workqueue.core.wire import Task

LEASE = Lease()


def claimed_task(number: int, job_type: str = "x") -> ClaimedTask:
    """The task with this number in the flight of LEASE, claimed just now."""
    return ClaimedTask.of(LEASE, number, Task(job_type), uuid4(), trio.current_time())
