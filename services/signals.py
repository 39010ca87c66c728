"""The signals that end a process, once and twice, as events; and before there is a loop to hear them."""

import logging
import os
import signal
from typing import NoReturn

import trio

log = logging.getLogger(__name__)


def end_at_signals() -> None:
    """Called first of all in a process: SIGTERM ends it at once, until `Stop.listen` knows better.

    Process 1 of a container has no default for it, so that while handlers were imported a stop was lost; and a
    KeyboardInterrupt in the middle of an import would come out as a traceback.
    """
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)


def _end(number: int, _: object) -> NoReturn:
    os._exit(0 if number == signal.SIGTERM else 128 + number)  # nothing was begun that would have to be ended


class Stop:
    """What an operator asked for.

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
