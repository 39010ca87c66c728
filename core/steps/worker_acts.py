"""Worker acts: what a person asks of a worker. A key decides; a message makes it quick."""

import logging
from uuid import UUID

from workqueue.core.control import ControlMessage, Wish, write_message
from workqueue.core.errors import QueueUnavailable
from workqueue.core.queue import Queue

log = logging.getLogger(__name__)


async def ask_worker(queue: Queue, lease: UUID, wish: Wish) -> None:
    """Ask the worker that has this lease: within a moment where it hears the message, else with its next renewal.

    What was asked last counts. Raises QueueUnavailable where it is not known whether it was asked. Cancelled: the same.
    """
    await queue.ask_worker(lease, wish)
    try:
        await queue.tell_workers(write_message(ControlMessage(workers=[(lease, wish)])))
    except QueueUnavailable as error:
        log.info("worker %s hears of it when it renews its lease: %s", lease, error)
