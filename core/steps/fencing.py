"""Fencing: fence the leases of workers that renew no more. No clock judges a lease but the observer's own."""

import logging
import time
from collections.abc import Callable
from uuid import UUID

from workqueue.core.queue import Queue

log = logging.getLogger(__name__)


class Fencing:
    """Watches the leases of the others.

    A lease is fenced when its score has stayed the same for a whole term of this worker's own clock, while this worker
    itself could renew all the time: else it is Redis, or we, who were away.
    Mutable state: what was seen, and since when.
    """

    def __init__(
        self,
        queue: Queue,
        *,
        term_seconds: float,
        mine: Callable[[], UUID | None],
        steady_since: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`mine`: the lease that is not to be watched. `steady_since`: since when (`clock`) each of our own renewals
        has succeeded without a gap; inf while they do not."""
        self._queue = queue
        self._term = term_seconds
        self._mine = mine
        self._steady_since = steady_since
        self._clock = clock
        self._seen: dict[UUID, tuple[float, float]] = {}  #: lease -> score, since when it is that
        self._gone: set[UUID] = set()  #: leases that did not live at the last look

    async def run_once(self) -> list[UUID]:
        """Look at all leases and fence those that stand still; the leases that should be recovered by us.

        Of those that others fenced or ended only what is still there at a second look: they are at it themselves.
        Raises QueueUnavailable.
        """
        asked = self._clock()
        scores = await self._queue.lease_scores()
        now, steady = self._clock(), self._steady_since()
        mine = self._mine()
        self._seen = {lease: seen for lease, seen in self._seen.items() if lease in scores}
        gone = {lease for lease, score in scores.items() if score <= 0 and lease != mine}
        recover = gone & self._gone
        self._gone = gone
        for lease, score in scores.items():
            if score <= 0 or lease == mine:
                continue
            before, since = self._seen.get(lease, (0, now))
            if before != score or since < steady:
                self._seen[lease] = score, now  # it moved, or we were away ourselves: the term begins anew
            elif asked - since >= self._term and await self._queue.fence(lease, score):
                log.error("lease %s was not renewed for %g s: its jobs are given to others", lease, asked - since)
                recover.add(lease)
        return sorted(recover)
