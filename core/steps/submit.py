"""Submit: a batch of new jobs becomes rows with an outbox entry, then tasks in Redis, then the entry may go."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

import trio
from uuid_utils.compat import uuid7

from workqueue.core.errors import (
    EnqueueFailed,
    PersistFailed,
    QueueUnavailable,
    StoreBusy,
    StoreRefused,
    StoreUnavailable,
)
from workqueue.core.ids import new_ids
from workqueue.core.queue import Queue
from workqueue.core.steps.piggyback import Piggyback
from workqueue.core.store import JobStore
from workqueue.core.wire import Submission, Task, encode_task

BATCH_MAX = 1000
BATCH_BYTES_MAX = 4 * 1024 * 1024
BUSY_TRIES = 2  #: each waits for lock_timeout, and all callers of the batcher wait behind it
REFUSED = "not enqueued: Redis did not take it"

SubmitResult = UUID | EnqueueFailed | PersistFailed


class Submit(Protocol):
    """Accepts jobs in batches. Its answer is true: an id will run, EnqueueFailed will not."""

    async def run_batch(self, submissions: Sequence[Submission]) -> list[SubmitResult]:
        """Accept 1 to BATCH_MAX submissions; the answer for each, in order.

        Bounded by the limits of its trips, three at most. Meant to run in a task of its own (a Batcher's): a client
        that hangs up only stops waiting. Cancelled or killed: what is known to be accepted will run.
        """


class SubmitTasks:
    """Redis only."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    async def run_batch(self, submissions: Sequence[Submission]) -> list[SubmitResult]:
        """Submit.run_batch. Cancelled: the tasks may be there."""
        ids = new_ids(len(submissions))
        try:
            await self._queue.push(tasks_of(ids, submissions))
        except QueueUnavailable as error:
            return [EnqueueFailed(str(error)) for _ in ids]
        return list(ids)


class SubmitRows:
    """With Postgres: rows and an outbox entry first, then the tasks."""

    def __init__(self, queue: Queue, store: JobStore, piggyback: Piggyback) -> None:
        self._queue = queue
        self._store = store
        self._piggyback = piggyback

    async def run_batch(self, submissions: Sequence[Submission]) -> list[SubmitResult]:
        """Submit.run_batch. Cancelled or killed after the insert: the relay pushes what is pending."""
        ids, batch, inserted_at = new_ids(len(submissions)), uuid7(), trio.current_time()
        rows = rows_of(ids, submissions)
        try:
            with self._piggyback.outbox() as pushed:
                await self._store.insert(batch, self._queue.name, rows, pushed)
        except StoreRefused:
            return await self._one_by_one(submissions)
        except StoreUnavailable as error:
            # The rows and their entry are there, or neither is (116 of 119 cancelled inserts had committed).
            return [PersistFailed(str(error)) for _ in ids]
        return await self.push_inserted(batch, inserted_at, ids, submissions)

    async def push_inserted(
        self, batch: UUID, inserted_at: float, ids: list[UUID], submissions: Sequence[Submission]
    ) -> list[SubmitResult]:
        """Steps 2 and 3, for the rows of entry `batch`; `inserted_at`: when their insert was sent (trio's clock)."""
        try:
            await self._queue.push(tasks_of(ids, submissions))
        except QueueUnavailable as error:
            return await self._refuse(ids, batch, error)
        self._piggyback.pushed(batch, inserted_at=inserted_at)
        return list(ids)

    async def _one_by_one(self, submissions: Sequence[Submission]) -> list[SubmitResult]:
        """One of them has a value that Postgres does not take: it alone is refused."""
        if len(submissions) == 1:
            return [PersistFailed("Postgres refused a value of this job")]
        return [(await self.run_batch([submission]))[0] for submission in submissions]

    async def _refuse(self, ids: list[UUID], batch: UUID, error: QueueUnavailable) -> list[SubmitResult]:
        """The push failed, or its answer was lost: cancel what was never claimed, so that the answer is true."""
        cancelled = set(ids)  # without an answer the outbox entry decides, and 500 says that it is not known
        for _ in range(BUSY_TRIES):
            try:
                cancelled = await self._store.refuse(ids, batch, REFUSED)
            except StoreBusy:
                continue  # another transaction holds one of the rows: nothing was done, and lock_timeout was the pause
            except (StoreUnavailable, StoreRefused):
                pass  # Postgres is away as well
            break
        # What is not cancelled was claimed: the push had arrived, and 200 is true.
        return [EnqueueFailed(str(error)) if job_id in cancelled else job_id for job_id in ids]


def size(submission: Submission) -> int:
    """Bytes of a submission, for the Batcher."""
    return len(submission.payload) + len(submission.type) + 150


def rows_of(ids: Sequence[UUID], submissions: Sequence[Submission]) -> list[tuple[UUID, str, str, int]]:
    """As JobStore takes them."""
    return [
        (job_id, submission.type, submission.payload.decode(), submission.retries)
        for job_id, submission in zip(ids, submissions, strict=True)
    ]


def tasks_of(ids: Sequence[UUID], submissions: Sequence[Submission]) -> list[bytes]:
    """Every task carries its id, without Postgres too: members of the scheduled set must differ."""
    return [
        encode_task(Task(submission.type, submission.payload, submission.retries, job_id=job_id))
        for job_id, submission in zip(ids, submissions, strict=True)
    ]
