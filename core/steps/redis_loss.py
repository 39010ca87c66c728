"""Loss of Redis: notice that it was replaced, flushed or set back, and put into the outbox what it may have lost."""

import logging
import random

from msgspec import Struct

from workqueue.core.queue import Queue
from workqueue.core.steps.heartbeat import beat
from workqueue.core.steps.until_answered import TRIP_SECONDS
from workqueue.core.store import JobStore
from workqueue.core.store.jobs import RECONCILE_SECONDS

log = logging.getLogger(__name__)

PLANTED_MAX = 2**31  #: a planted checkpoint is negative: ms before 1970
UNKNOWN_SERVER = ""  #: stored as the server's run id where Redis refuses INFO


class LossCounts(Struct):
    """What was noticed since the start."""

    noticed: int = 0
    jobs: int = 0  #: put into the outbox


class RedisLoss:
    """Compares what Redis remembers with what Postgres knows that it did. Mutable state: the counts.

    A checkpoint, ms of Postgres's clock, moves on in both, in Redis first: a Redis that lost its last seconds shows an
    older one, an empty one none (a negative one is planted there), another server another run id. A Redis that refuses
    INFO shows no run id: what it loses between two checkpoints, a second, is not noticed then. Rows that became pending
    since that checkpoint (less a minute) go into the outbox, and the relay pushes them. Rows are never compared with
    the list: an external program may have taken a task.
    """

    def __init__(self, queue: Queue, store: JobStore, counts: LossCounts | None = None) -> None:
        """`counts`: counts on there."""
        self._queue = queue
        self._store = store
        self.counts = counts or LossCounts()

    async def run_once(self) -> None:
        """Look once. Raises QueueUnavailable, StoreUnavailable. Each worker does; the first one fills the outbox."""
        name = self._queue.name
        known = await self._store.read_checkpoint(name)  # before Redis: what Postgres knows was in Redis before
        server, position = await self._queue.read_checkpoint()
        if not isinstance(position, int):  # none, or a value that another program has put in its place
            # Plant one that is unique and older than any, before anything is repaired: a late send that turns "none"
            # into a checkpoint would hide that Redis has lost everything once more meanwhile.
            seen, position = position, -random.randint(1, PLANTED_MAX)  # noqa: S311 - no secret
            if not await self._queue.set_checkpoint(seen, position):
                return
        is_another = server is not None and server != known.server_run_id  # one that is refused shows nothing
        server = server or known.server_run_id or UNKNOWN_SERVER
        if is_another or known.server_run_id is None or position < known.position_ms:
            beat(RECONCILE_SECONDS)
            added = await self._store.outbox_lost(name, known, server, position)
            beat(TRIP_SECONDS)
            if added is None:
                return  # another worker is at it, or it is too soon: meanwhile the checkpoint stays
            if known.server_run_id is not None:
                self.counts.noticed += 1
                self.counts.jobs += added
                if added:
                    log.warning("%s: %d pending jobs are pushed again", _what_happened(is_another, position), added)
                elif is_another and position >= 0:
                    log.info("Redis was started anew, and no job was pending then")
                else:
                    log.info("%s, and no job was pending then", _what_happened(is_another, position))
        if await self._queue.set_checkpoint(position, known.now_ms):
            await self._store.advance_checkpoint(name, server, known)


def _what_happened(is_another: bool, position: int) -> str:
    if position < 0:
        return "Redis has lost its data"
    return "Redis was started anew, and may have lost its last seconds" if is_another else "Redis was set back"
