"""Statistics: each process adds what it has seen to the stored sums, every few seconds, in one statement."""

from collections.abc import Callable
from uuid import uuid4

import trio
from msgspec import Struct

from workqueue.core.stats import Sums
from workqueue.core.store import StatsStore

PRUNE_MAX = 2000  #: rows at a time


class _Batch(Struct):
    """On its way until it is answered; sent again under the same number it is not added twice."""

    sums: Sums
    number: int
    closed_at: float


class RecordStats:
    """One for each process. Mutable state: the batch that has no answer yet, and its number."""

    def __init__(self, store: StatsStore, queue_name: str, take: Callable[[], Sums]) -> None:
        """`take`: returns what has happened since its last call."""
        self._store = store
        self._queue_name = queue_name
        self._take = take
        self._writer = uuid4()
        self._batch: _Batch | None = None
        self._number = 0

    async def run_once(self) -> None:
        """Store what was seen. Raises StoreUnavailable. Cancelled or without an answer: the same again next time."""
        if self._batch is None:
            sums = self._take()
            if not (sums.types or sums.failures or sums.queues):
                return
            self._number += 1
            self._batch = _Batch(sums, self._number, trio.current_time())
        batch = self._batch
        age = trio.current_time() - batch.closed_at
        await self._store.add(self._queue_name, self._writer, batch.number, batch.sums, age_seconds=age)
        self._batch = None


class PruneStats:
    """Forgets sums that are older than what is shown. Each worker does it once in a while."""

    def __init__(self, store: StatsStore) -> None:
        self._store = store

    async def run_once(self) -> bool:
        """True: there is more. Raises StoreUnavailable."""
        return await self._store.prune(limit=PRUNE_MAX) >= PRUNE_MAX
