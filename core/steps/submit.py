"""Submit: a batch of new jobs becomes rows with an outbox entry, then tasks in Redis, then the entry may go."""

import math
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Protocol, TypeVar
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
from workqueue.core.options import are_plain
from workqueue.core.queue import Queue
from workqueue.core.steps.piggyback import Piggyback
from workqueue.core.store import JobStore, NewJob
from workqueue.core.wire import Submission, Task, encode_task

BATCH_MAX = 1000
BATCH_BYTES_MAX = 4 * 1024 * 1024
BUSY_TRIES = 2  #: each waits for lock_timeout, and all callers of the batcher wait behind it
REFUSED = "not enqueued: Redis did not take it"
HORIZON_SECONDS = 3600.0  #: what is due later, and has a row, is not in Redis yet

Item = TypeVar("Item")
_OPTIONS = attrgetter("options")

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
        failed = await push_new(self._queue, ids, submissions)
        if not failed:
            return list(ids)
        return [EnqueueFailed(str(failed[job_id])) if job_id in failed else job_id for job_id in ids]


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
        return await self.push_inserted(batch, inserted_at, ids, submissions, far_of(rows))

    async def push_inserted(
        self,
        batch: UUID,
        inserted_at: float,
        ids: list[UUID],
        submissions: Sequence[Submission],
        far: Collection[UUID] = (),
    ) -> list[SubmitResult]:
        """Steps 2 and 3, for the rows of entry `batch`; `inserted_at`: when their insert was sent (trio's clock).

        `far`: the rows that were written as far off.
        """
        failed = await push_new(self._queue, ids, submissions, far)
        if failed:
            error = next(iter(failed.values()))
            refused = await self._refuse([job_id for job_id in ids if job_id in failed], batch)
            return [EnqueueFailed(str(error)) if job_id in refused else job_id for job_id in ids]
        self._piggyback.pushed(batch, inserted_at=inserted_at)
        return list(ids)

    async def _one_by_one(self, submissions: Sequence[Submission]) -> list[SubmitResult]:
        """One of them has a value that Postgres does not take: it alone is refused."""
        if len(submissions) == 1:
            return [PersistFailed("Postgres refused a value of this job")]
        return [(await self.run_batch([submission]))[0] for submission in submissions]

    async def _refuse(self, ids: list[UUID], batch: UUID) -> set[UUID]:
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
        return cancelled  # what is not was claimed: the push had arrived, and 200 is true


def size(submission: Submission) -> int:
    """Bytes of a submission, for the Batcher."""
    return len(submission.payload) + len(submission.type) + 150


def rows_of(ids: Sequence[UUID], submissions: Sequence[Submission]) -> list[NewJob]:
    """As JobStore takes them."""
    if are_plain(map(_OPTIONS, submissions)):
        return [
            NewJob(job_id, submission.type, submission.payload.decode(), submission.options)
            for job_id, submission in zip(ids, submissions, strict=True)
        ]
    return [
        NewJob(job_id, submission.type, submission.payload.decode(), submission.options)
        if submission.options.run_at is None
        else NewJob(
            job_id,
            submission.type,
            submission.payload.decode(),
            submission.options,
            submission.delay,
            _is_far(submission),
        )
        for job_id, submission in zip(ids, submissions, strict=True)
    ]


def far_of(rows: Sequence[NewJob]) -> set[UUID]:
    """The ids of those that are far off. What the rows say: asked of the clock anew, it might be another answer."""
    return {row.id for row in rows if row.is_far}


def _is_far(submission: Submission) -> bool:
    """Is it due so late that it shall take no room in Redis yet? By our clock: of a wrong one nothing but the place
    where it waits depends."""
    due = submission.options.run_at
    return due is not None and due - datetime.now(UTC) > timedelta(seconds=HORIZON_SECONDS)


def due_text(submission: Submission) -> bytes:
    """As Queue.push_once takes it."""
    if submission.options.run_at is None:
        return b""
    if submission.delay is not None:
        return b"+%d" % math.ceil(submission.delay * 1000)
    return b"%d" % math.ceil(submission.options.run_at.timestamp() * 1000)


async def push_new(
    queue: Queue, ids: Sequence[UUID], submissions: Sequence[Submission], far: Collection[UUID] = ()
) -> dict[UUID, QueueUnavailable]:
    """Put new tasks where they belong: one trip, and one more for those that wait for a time.

    `far`: these stay in Postgres (steps/far_off.py). Returns what may not have arrived, and why.
    """
    tasks = tasks_of(ids, submissions)
    if are_plain(map(_OPTIONS, submissions)):
        try:
            await queue.push(tasks)
        except QueueUnavailable as error:
            return dict.fromkeys(ids, error)
        return {}
    failed: dict[UUID, QueueUnavailable] = {}
    due: list[tuple[UUID, tuple[str, bytes]]] = []
    later: list[tuple[UUID, tuple[bytes, bytes]]] = []
    for job_id, task, submission in zip(ids, tasks, submissions, strict=True):
        if submission.options.run_at is None:
            due.append((job_id, (submission.options.queue, task)))
        elif job_id not in far:
            later.append((job_id, (due_text(submission), task)))

    async def send(push: Callable[[list[Item]], Awaitable[None]], items: Sequence[tuple[UUID, Item]]) -> None:
        try:
            if items:
                await push([item for _, item in items])
        except QueueUnavailable as error:
            failed.update(dict.fromkeys([job_id for job_id, _ in items], error))

    await send(queue.push_to, due)
    await send(queue.schedule, later)
    return failed


def tasks_of(ids: Sequence[UUID], submissions: Sequence[Submission]) -> list[bytes]:
    """Every task carries its id, without Postgres too: members of the scheduled set must differ."""
    return [
        encode_task(Task(submission.type, submission.payload, submission.options, job_id=job_id))
        for job_id, submission in zip(ids, submissions, strict=True)
    ]
