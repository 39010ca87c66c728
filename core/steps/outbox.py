"""Outbox relay: push again what is in the outbox: jobs that are pending and perhaps not in Redis."""

import logging
from typing import Protocol
from uuid import UUID

import trio

from workqueue.core.options import DEFAULT_QUEUE
from workqueue.core.queue import PUSH_BYTES_MAX, Queue
from workqueue.core.steps.heartbeat import beat
from workqueue.core.steps.piggyback import ANSWER_SECONDS
from workqueue.core.steps.until_answered import TRIP_SECONDS
from workqueue.core.store import JobStore
from workqueue.core.wire import Task, encode_task

log = logging.getLogger(__name__)

OUTBOX_AGE_SECONDS = 5.0  #: the process that made a younger entry is still at work on it
BATCHES_MAX = 20  #: taken at a time
PIECE_MAX = 1000  #: as many as one answer of waiting_jobs.sql has; a worker that is busy gets one turn for each


class OutboxRelay:
    """One for each worker; several at once share the entries (SKIP LOCKED). What it pushes too often is dropped at
    the claim: a task is a hint, the row decides."""

    def __init__(
        self,
        queue: Queue,
        store: JobStore,
        *,
        age_seconds: float = OUTBOX_AGE_SECONDS,
        level: int = logging.INFO,
    ) -> None:
        """`age_seconds`: a younger entry is left to its producer. `level`: at which it logs how many it has pushed."""
        self._level = level
        self._queue = queue
        self._store = store
        self._age_seconds = age_seconds

    async def run_once(self) -> bool:
        """Take old entries, push what is still pending, delete the entries; True: there may be more.

        Raises QueueUnavailable or StoreUnavailable. Cancelled, killed or without an answer: the entries stay, and are
        old enough again after `age_seconds`.
        """
        sent = trio.current_time()
        taken = await self._store.take_outbox(self._queue.name, age_seconds=self._age_seconds, limit=BATCHES_MAX)
        if not taken:
            return False
        ids = sorted({job_id for _, batch_ids, _ in taken for job_id in batch_ids})
        pushed = 0
        for begin in range(0, len(ids), PIECE_MAX):
            pushed += await push_waiting(self._queue, self._waiting, ids[begin : begin + PIECE_MAX])
        if pushed:
            log.log(self._level, "pushed %d jobs that were not known to have reached Redis", pushed)
        if trio.current_time() - sent <= ANSWER_SECONDS:
            await self._store.delete_outbox([batch for batch, _, is_whole in taken if is_whole])
        return len(taken) == BATCHES_MAX

    async def _waiting(self, ids: list[UUID], *, after: UUID | None, bytes_max: int) -> list[tuple[UUID, int, Task]]:
        beat(TRIP_SECONDS)
        return await self._store.waiting(ids, after=after, bytes_max=bytes_max)


class Fetch(Protocol):
    """JobStore.waiting, or a function around it."""

    async def __call__(
        self, ids: list[UUID], *, after: UUID | None, bytes_max: int
    ) -> list[tuple[UUID, int, Task]]: ...


def _is_default(task: Task) -> bool:
    return task.options.queue == DEFAULT_QUEUE


async def push_waiting(queue: Queue, fetch: Fetch, ids: list[UUID]) -> int:
    """Put into Redis what of `ids` (sorted) is still pending, each part once; returns how many.

    Raises what its trips raise.
    """
    after: UUID | None = None
    pushed = 0
    while piece := await fetch(ids, after=after, bytes_max=PUSH_BYTES_MAX):
        due = [encode_task(task) for _, delay_ms, task in piece if delay_ms == 0 and _is_default(task)]
        of_queues = [(task.options.queue, encode_task(task)) for _, delay_ms, task in piece
                     if delay_ms == 0 and not _is_default(task)]  # fmt: skip
        early = [(b"+%d" % delay_ms, encode_task(task)) for _, delay_ms, task in piece if delay_ms > 0]
        if due:
            await queue.push(due)
        if of_queues:
            await queue.push_to(of_queues)
        if early:
            await queue.schedule(early)
        pushed += len(piece)
        after = piece[-1][0]
        if after == ids[-1]:
            break  # nothing can come behind it: a third of the trips after a loss of Redis
    return pushed
