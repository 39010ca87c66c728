"""Control: carries out what the workers of a queue are told (core/control.py), and what stands in the rows instead."""

import logging
from collections.abc import Callable, Collection
from uuid import UUID

import trio

from workqueue.core.control import read_message
from workqueue.core.engine import Engine
from workqueue.core.errors import NeedsOperator, QueueUnavailable
from workqueue.services.worker.heartbeats import Heartbeats
from workqueue.services.worker.inspecting import Inspecting
from workqueue.services.worker.running.consumers import Consumers

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0  #: between two looks at the rows of jobs that run
LONG_SECONDS = 1.0  #: jobs that have not run for so long are not asked for: most have ended before the answer
RETRY_SECONDS = 1.0  #: before the channel is subscribed to anew
RECEIVE_SECONDS = 10.0  #: one wait for a message takes less, or the loop is stuck


class Control:
    """One for each worker. Mutable state: the refusal that was logged last."""

    def __init__(
        self,
        engine: Engine,
        consumers: Consumers,
        inspecting: Inspecting,
        heartbeats: Heartbeats,
        *,
        asked: Callable[[str], None],
        lease_id: Callable[[], UUID | None],
        learn_queues: Callable[[Collection[str]], None],
        limits_changed: Callable[[], None],
    ) -> None:
        """`asked` gets what a person asks of the worker of this lease, `learn_queues` the names of queues that are
        new. `limits_changed`: it is time to look at the limits."""
        self._queue = engine.queue
        self._cancelled = engine.cancelled
        self._parking = engine.parking
        self._consumers = consumers
        self._inspecting = inspecting
        self._heartbeats = heartbeats
        self._asked = asked
        self._lease_id = lease_id
        self._learn_queues = learn_queues
        self._limits_changed = limits_changed
        self._logged = ""

    async def listen(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Do what the messages say, until cancelled. Where Redis does not let us subscribe, `look` is all there is."""
        with self._heartbeats.service("control") as heartbeat:
            task_status.started()
            while True:
                heartbeat(RECEIVE_SECONDS)
                try:
                    async with self._queue.listen() as receive:
                        while True:
                            heartbeat(RECEIVE_SECONDS)
                            if (text := await receive()) is not None:
                                self._carry_out(text)
                except NeedsOperator as error:
                    self._log_once(error)
                except QueueUnavailable:
                    pass  # services/health.py reports it
                await trio.sleep(RETRY_SECONDS)

    async def look(self) -> None:
        """Cancel what the rows say is cancelled, of the jobs that have been running for a while."""
        if running := self._consumers.running_ids(longer_than=LONG_SECONDS):
            self._consumers.cancel(await self._cancelled(running))

    def _carry_out(self, text: bytes) -> None:
        message = read_message(text)
        if message.cancel:
            self._consumers.cancel(message.cancel)
        if message.paused is not None:
            self._parking.learn(message.paused)
            self._consumers.give_back_paused()
        if message.limits is not None:
            self._limits_changed()
        for lease, wish in message.workers:
            if lease == self._lease_id():
                self._asked(wish)
        if message.queues:
            self._learn_queues(message.queues)
        if message.tree:
            self._inspecting.ask(message.tree)

    def _log_once(self, error: NeedsOperator) -> None:
        if (said := str(error)) != self._logged:
            self._logged = said
            log.info("control messages are not received now (cancellations take seconds longer): %s", said)
