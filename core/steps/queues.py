"""Queues are there once a job was sent to them; an installation has a limited number of them."""

from workqueue.core.control import ControlMessage, write_message
from workqueue.core.errors import InvalidOption
from workqueue.core.options import DEFAULT_QUEUE, TOO_MANY_QUEUES
from workqueue.core.queue import Queue


class KnownQueues:
    """What one process knows of them. Mutable state: the names of those that are noted in Redis."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._known = {DEFAULT_QUEUE}

    async def note(self, name: str) -> None:
        """Before the first job is sent there: note the name, and tell the workers.

        Raises InvalidOption where there are too many, QueueUnavailable. Cancelled: it may be noted.
        """
        if name in self._known:
            return
        if not await self._queue.add_queue(name):
            raise InvalidOption(TOO_MANY_QUEUES)
        self._known.add(name)
        await self._queue.tell_workers(write_message(ControlMessage(queues=[name])))
