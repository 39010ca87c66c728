"""Orphans: owners of jobs that are no lease any more: Redis lost them, or a claim arrived after the recovery."""

import time
from collections.abc import Awaitable, Callable
from uuid import UUID

from workqueue.core.queue import Queue

LOOKS_TERMS = 1 / 5  #: an orphan must be absent in two looks that lie further apart than this many terms

#: The leases that own jobs somewhere besides Redis.
Owners = Callable[[], Awaitable[set[UUID]]]


async def no_owners() -> set[UUID]:
    """Redis only."""
    return set()


class Orphans:
    """Mutable state: since when each of the owners has been seen absent."""

    def __init__(
        self,
        queue: Queue,
        owners: Owners = no_owners,
        *,
        term_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queue = queue
        self._owners = owners
        self._pause = term_seconds * LOOKS_TERMS
        self._clock = clock
        self._absent: dict[UUID, float] = {}

    async def run_once(self) -> list[UUID]:
        """The orphans that were absent in two looks. Raises QueueUnavailable, StoreUnavailable."""
        # Owners first, leases second: else a lease that was taken in between would look absent.
        owners = await self._queue.published_leases() | await self._owners()
        absent = owners - set(await self._queue.lease_scores())
        now = self._clock()
        self._absent = {lease: self._absent.get(lease, now) for lease in absent}
        return [lease for lease, since in self._absent.items() if now - since > self._pause]
