"""SIGTERM and SIGINT, once and twice, as events."""

import logging
import signal

import trio

log = logging.getLogger(__name__)


class Stop:
    """What an operator asked for.

    Mutable state: the two events, set by `listen` alone.
    """

    def __init__(self) -> None:
        self.first = trio.Event()  #: stop
        self.second = trio.Event()  #: stop at once

    async def listen(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take the signals until cancelled; Python's own KeyboardInterrupt does not happen meanwhile."""
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            task_status.started()
            async for number in signals:
                name = signal.Signals(number).name
                if self.first.is_set():
                    log.warning("%s again: no more grace", name)
                    self.second.set()
                else:
                    log.info("%s: stopping; send it again to skip the grace", name)
                    self.first.set()
