"""Sweep: push again what was marked and is perhaps not in Redis; promote what is due; forget what has expired."""

import logging
from typing import Protocol
from uuid import UUID

import trio

from workqueue.core.queue import PROMOTE_MAX, PUSH_BYTES_MAX, Queue
from workqueue.core.steps.heartbeat import beat
from workqueue.core.steps.marks import ANSWER_SECONDS
from workqueue.core.steps.until_answered import TRIP_SECONDS
from workqueue.core.store import JobStore
from workqueue.core.wire import Task, encode_task

log = logging.getLogger(__name__)

MARK_AGE_SECONDS = 5.0  #: a younger mark is still somebody's work
MARKS_MAX = 20  #: taken at a time
PIECE_MAX = 1000  #: as many as one answer of waiting_jobs.sql has; a worker that is busy gets one turn for each
PRUNE_MAX = 500  #: keys at a time


class Sweep:
    """One for each worker; several at once share the marks (SKIP LOCKED). What it pushes too often is dropped at
    the claim: a task is a hint, the row decides."""

    def __init__(self, queue: Queue, store: JobStore) -> None:
        self._queue = queue
        self._store = store

    async def run_once(self) -> bool:
        """Take old marks, push what is still pending, drop the marks; True: there may be more.

        Raises QueueUnavailable or StoreUnavailable. Cancelled, killed or without an answer: the marks stay, and are
        old enough again after MARK_AGE_SECONDS.
        """
        sent = trio.current_time()
        taken = await self._store.take_marks(self._queue.name, age_seconds=MARK_AGE_SECONDS, limit=MARKS_MAX)
        if not taken:
            return False
        ids = sorted({job_id for _, batch_ids, _ in taken for job_id in batch_ids})
        pushed = 0
        for begin in range(0, len(ids), PIECE_MAX):
            pushed += await push_waiting(self._queue, self._waiting, ids[begin : begin + PIECE_MAX])
        if pushed:
            log.info("swept %d jobs into Redis whose push was not known to have arrived", pushed)
        if trio.current_time() - sent <= ANSWER_SECONDS:
            await self._store.drop_marks([batch for batch, _, is_whole in taken if is_whole])
        return len(taken) == MARKS_MAX

    async def _waiting(self, ids: list[UUID], *, after: UUID | None, bytes_max: int) -> list[tuple[UUID, int, Task]]:
        beat(TRIP_SECONDS)
        return await self._store.waiting(ids, after=after, bytes_max=bytes_max)


class Fetch(Protocol):
    """JobStore.waiting, or something around it."""

    async def __call__(
        self, ids: list[UUID], *, after: UUID | None, bytes_max: int
    ) -> list[tuple[UUID, int, Task]]: ...


async def push_waiting(queue: Queue, fetch: Fetch, ids: list[UUID]) -> int:
    """Put into Redis what of `ids` (sorted) is still pending, each part once; returns how many.

    Raises what its trips raise.
    """
    after: UUID | None = None
    pushed = 0
    while piece := await fetch(ids, after=after, bytes_max=PUSH_BYTES_MAX):
        due = [encode_task(task) for _, delay_ms, task in piece if delay_ms == 0]
        early = [(delay_ms, encode_task(task)) for _, delay_ms, task in piece if delay_ms > 0]
        if due:
            await queue.push(due)
        if early:
            await queue.schedule(early)
        pushed += len(piece)
        after = piece[-1][0]
        if after == ids[-1]:
            break  # nothing can come behind it: a third of the trips after a loss of Redis
    return pushed


class PruneKeys:
    """Removes idempotency keys that have expired. Every worker does, once in a while; several at once share them."""

    def __init__(self, store: JobStore) -> None:
        self._store = store

    async def run_once(self) -> bool:
        """True: a full piece was removed, there may be more. Raises StoreUnavailable."""
        return await self._store.prune_keys(limit=PRUNE_MAX) >= PRUNE_MAX


class Promote:
    """Moves what is due from the scheduled set to the ready list. Every worker does; Redis's clock judges."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    async def run_once(self) -> bool:
        """True: a full piece was moved, there may be more. Raises QueueUnavailable."""
        return await self._queue.promote() >= PROMOTE_MAX
