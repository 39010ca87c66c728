"""Retention: jobs that ended long ago are deleted, with their runs, artifacts and idempotency keys."""

from datetime import datetime
from uuid import UUID

import trio
from msgspec import Struct

from workqueue.core.job import JobState
from workqueue.core.settings import Keep
from workqueue.core.store import JobStore

LOOK_MAX = 500  #: rows a statement looks at; as many are deleted, at most
PAUSE_SECONDS = 0.02  #: between two statements, so that they take no more than half of the time of one connection
FULL_PASS_SECONDS = 3600.0  #: then a pass begins with the oldest row again


class Retention:
    """One for each worker; of several one at a time works.

    A pass goes through the rows from the oldest on, in pieces, up to those that are young enough. The next one begins
    where it ended: what lies behind is kept for other reasons (it failed, or still waits), and is looked at again once
    an hour alone. Mutable state: the place of each of the two passes, and when they began with the oldest row.
    """

    def __init__(self, store: JobStore, queue_name: str, keep: Keep) -> None:
        self._store = store
        self._queue_name = queue_name
        self._passes = [
            _Pass(state, seconds)
            for state, seconds in ((JobState.COMPLETED, keep.completed), (JobState.FAILED, keep.failed))
            if seconds is not None
        ]
        self.deleted = 0  #: since the start

    async def run_once(self) -> bool:
        """Go on with the passes by a piece each; True: there is more. Raises StoreUnavailable.

        Cancelled or without an answer: the piece was deleted, or is looked at again.
        """
        more = False
        for each in self._passes:
            more = await self._piece(each) or more
        if more:
            await trio.sleep(PAUSE_SECONDS)
        return more

    async def _piece(self, each: "_Pass") -> bool:
        now = trio.current_time()
        if now - each.begun_at >= FULL_PASS_SECONDS:
            each.begun_at, each.place = now, None
        done = await self._store.delete_ended(
            self._queue_name, each.state, keep_seconds=each.keep_seconds, after=each.place, limit=LOOK_MAX
        )
        self.deleted += done.deleted
        if done.place is not None:
            each.place = done.place
        return done.looked >= LOOK_MAX


class _Pass(Struct):
    state: JobState
    keep_seconds: float
    place: tuple[datetime, UUID] | None = None
    begun_at: float = float("-inf")
