"""Reconcile: a person asks for every pending job to be in Redis, now."""

from collections.abc import AsyncIterator
from uuid import UUID

from msgspec import Struct

from workqueue.core.errors import InvalidTask
from workqueue.core.queue import Queue
from workqueue.core.steps.outbox import PIECE_MAX, push_waiting
from workqueue.core.store import JobStore
from workqueue.core.wire import decode_task

ROWS_MAX = 5000  #: read at a time


class Reconciled(Struct):
    """What was found, and what was done."""

    pending: int = 0  #: rows that wait
    missing: int = 0  #: of them, jobs that are nowhere in Redis
    pushed: int = 0
    processing: int = 0  #: rows of owners that are gone; any worker recovers them by itself


class Reconcile:
    """Compares rows with Redis and pushes what is missing there. Run on demand only, never by itself: a task that a
    external program has taken looks missing as well, and would run twice. Mutable state: the counts, for progress."""

    def __init__(self, queue: Queue, store: JobStore) -> None:
        self._queue = queue
        self._store = store
        self.counts = Reconciled()

    async def run(self, *, dry_run: bool) -> Reconciled:
        """Look at every pending row; push the missing ones unless it is a `dry_run`.

        Work goes on meanwhile: a job that moves just then may be pushed twice, and its copy is dropped at the claim.
        What becomes pending after the beginning is not looked at: it is on its way, and its outbox entry sees to it.
        Raises QueueUnavailable, StoreUnavailable. Cancelled: what was pushed so far stays; run it again.
        """
        begun_ms = (await self._store.read_checkpoint(self._queue.name)).now_ms
        there = await self._ids_in_redis()
        async for ids in self._pending(begun_ms):
            missing = [job_id for job_id in ids if job_id.bytes not in there]
            self.counts.pending += len(ids)
            self.counts.missing += len(missing)
            if not dry_run:
                for begin in range(0, len(missing), PIECE_MAX):
                    piece = missing[begin : begin + PIECE_MAX]
                    self.counts.pushed += await push_waiting(self._queue, self._store.waiting, piece)
        leases = set(await self._queue.lease_scores())
        for owner in await self._store.owners(self._queue.name) - leases:
            self.counts.processing += sum(len(ids) for ids in (await self._store.owned(owner)).values())
        return self.counts

    async def _pending(self, begun_ms: int) -> AsyncIterator[list[UUID]]:
        after = UUID(int=0)
        while ids := await self._store.pending(self._queue.name, after=after, limit=ROWS_MAX, before_ms=begun_ms):
            yield ids
            after = ids[-1]

    async def _ids_in_redis(self) -> set[bytes]:
        """16 bytes each: a million of them must fit into memory."""
        ids: set[bytes] = set()
        async for tasks in self._queue.tasks():
            for line in tasks:
                try:
                    task = decode_task(line)
                except InvalidTask:
                    continue
                if task.job_id is not None:
                    ids.add(task.job_id.bytes)
        return ids
