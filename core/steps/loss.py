"""Loss: notice that Redis was replaced, flushed or set back, and mark what it may have lost."""

import logging
import random

from msgspec import Struct

from workqueue.core.queue import Queue
from workqueue.core.steps.heartbeat import beat
from workqueue.core.steps.until_answered import TRIP_SECONDS
from workqueue.core.store import JobStore
from workqueue.core.store.jobs import RECONCILE_SECONDS

log = logging.getLogger(__name__)

PLANTED_MAX = 2**31  #: a planted mark is negative: ms before 1970
UNKNOWN_RUN = ""  #: what is written down of a Redis that refuses INFO


class Losses(Struct):
    """What was noticed since the start."""

    noticed: int = 0
    jobs: int = 0  #: marked to be pushed again


class Loss:
    """Compares what Redis remembers with what Postgres knows that it did. Mutable state: the counts.

    A mark, ms of Postgres's clock, moves on in both, in Redis first: a Redis that lost its last seconds shows an older
    one, an empty one none (a negative one is planted there), another server another run id. A Redis that refuses INFO
    shows no run id: what it loses between two marks, a second, is not noticed then. Rows that became pending since that
    mark (less a minute) are marked, and the sweep pushes them. Rows are never compared with the list: a
    foreign program may have taken a task.
    """

    def __init__(self, queue: Queue, store: JobStore) -> None:
        self._queue = queue
        self._store = store
        self.counts = Losses()

    async def run_once(self) -> None:
        """Look once. Raises QueueUnavailable, StoreUnavailable. Every worker does; the first one marks."""
        name = self._queue.name
        known = await self._store.known(name)  # before Redis: what Postgres knows was in Redis before
        run, mark = await self._queue.tick()
        if not isinstance(mark, int):  # none, or something that another program has put in its place
            # Plant one that nobody else can have, older than any, before anything is repaired: a late send that turns
            # "none" into a mark would hide that Redis has lost everything once more meanwhile.
            seen, mark = mark, -random.randint(1, PLANTED_MAX)  # noqa: S311 - no secret
            if not await self._queue.set_mark(seen, mark):
                return
        is_another = run is not None and run != known.run  # one that is refused shows nothing
        run = run or known.run or UNKNOWN_RUN
        if is_another or known.run is None or mark < known.n:
            beat(RECONCILE_SECONDS)
            marked = await self._store.reconcile(name, known, run, mark)
            beat(TRIP_SECONDS)
            if marked is None:
                return  # somebody else is at it, or it is too soon: meanwhile the mark stays
            if known.run is not None:
                self.counts.noticed += 1
                self.counts.jobs += marked
                log.log(
                    logging.WARNING if marked else logging.INFO,
                    "%s: %d pending jobs are pushed again", _what(is_another, mark), marked,
                )  # fmt: skip
        if await self._queue.set_mark(mark, known.now_ms):
            await self._store.advance(name, run, known)


def _what(is_another: bool, mark: int) -> str:
    if mark < 0:
        return "Redis has lost its data"
    return "Redis was started anew, and may have lost its last seconds" if is_another else "Redis was set back"
