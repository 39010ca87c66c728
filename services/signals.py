"""The signals that end a process, once and twice, as events."""

import logging
import signal

import trio

log = logging.getLogger(__name__)


class Stop:
    """The stop that an operator asked for.

    Mutable state: the two events, set by `listen` alone.
    """

    def __init__(self) -> None:
        self.first = trio.Event()  #: stop
        self.second = trio.Event()  #: stop at once

    async def listen(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take the signals until cancelled; Python's own KeyboardInterrupt does not happen meanwhile.

        SIGHUP, a terminal that was closed, is a stop as well, unless nohup has it ignored.
        """
        numbers = [signal.SIGTERM, signal.SIGINT]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        with trio.open_signal_receiver(*numbers) as signals:
            task_status.started()
            async for number in signals:
                name = signal.Signals(number).name
                if self.first.is_set():
                    log.warning("%s again: no more grace", name)
                    self.second.set()
                else:
                    log.info("%s: stopping; send it again to skip the grace", name)
                    self.first.set()
