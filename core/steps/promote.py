"""Promote: what is due moves from the scheduled set to the ready list."""

import trio

from workqueue.core.queue import PROMOTE_MAX, Queue

SOON_SECONDS = 0.1  #: its next turn would come no earlier
BREATH_SECONDS = 0.01


class Promote:
    """Each worker does it; Redis's clock decides what is due."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    async def run_once(self) -> bool:
        """True: a full piece was moved, there may be more. Raises QueueUnavailable.

        Where a rate lets a lane go on within SOON_SECONDS, it waits for that: ten looks a second are too few for a
        hundred starts.
        """
        count, next_seconds = await self._queue.promote()
        if count < PROMOTE_MAX and next_seconds is not None and next_seconds < SOON_SECONDS:
            await trio.sleep(max(next_seconds, BREATH_SECONDS))
            return True
        return count >= PROMOTE_MAX
