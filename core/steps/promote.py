"""Promote: what is due moves from the scheduled set to the ready list."""

from workqueue.core.queue import PROMOTE_MAX, Queue


class Promote:
    """Each worker does it; Redis's clock decides what is due."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    async def run_once(self) -> bool:
        """True: a full piece was moved, there may be more. Raises QueueUnavailable."""
        return await self._queue.promote() >= PROMOTE_MAX
