"""What waits elsewhere than in the list of the default queue: which queues there are, and when one was pushed to."""

import logging
from collections.abc import Awaitable, Callable, Collection

import trio

from workqueue.core.errors import QueueUnavailable
from workqueue.core.queue import Queue
from workqueue.core.queues import Served
from workqueue.services.worker.heartbeats import Heartbeats

log = logging.getLogger(__name__)

QUEUES_SECONDS = 5.0  #: between two looks which queues there are; a new one is told of at once, too (control.py)
IDLE_SECONDS = 1.0  #: of one wait for the worker to be idle
RETRY_SECONDS = 0.5


class Bell:
    """One for each worker. Mutable state: that of `served`, which learns of new queues."""

    def __init__(
        self,
        queue: Queue,
        served: Served,
        heartbeats: Heartbeats,
        wait_idle: Callable[[], Awaitable[None]],
        ring: Callable[[], None],
    ) -> None:
        """`wait_idle` returns once the worker waits for tasks; `ring` lets it look again."""
        self._queue = queue
        self._served = served
        self._heartbeats = heartbeats
        self._wait_idle = wait_idle
        self._ring = ring
        self._needed = trio.Event()
        if served.takes_others:
            self._needed.set()

    async def look(self) -> None:
        """Learn which queues there are. Raises QueueUnavailable."""
        self.learn(await self._queue.queues())

    async def listen(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Wake the worker, while it is idle, when one of its other queues or a group is pushed to, until cancelled.

        Of several idle workers one is woken. A bell that is lost costs as long as an idle worker waits for the default
        queue.
        """
        with self._heartbeats.service("bell") as heartbeat:
            task_status.started()
            while True:
                heartbeat(10 * IDLE_SECONDS if self._needed.is_set() else float("inf"))
                await self._needed.wait()
                heartbeat(10 * IDLE_SECONDS)
                with trio.move_on_after(IDLE_SECONDS) as patience:
                    await self._wait_idle()
                if patience.cancelled_caught:
                    continue
                try:
                    if (name := await self._queue.wait_for_bell()) is not None:
                        self.learn({name})
                        self._ring()
                        await trio.lowlevel.checkpoint()
                except QueueUnavailable:
                    await trio.sleep(RETRY_SECONDS)

    def learn(self, names: Collection[str]) -> None:
        """These queues are there."""
        self._served.learn(names)
        if self._served.takes_others:
            self.need()

    def need(self) -> None:
        """Not all jobs are in the list of the default queue: those of other queues and of groups ring."""
        self._needed.set()
