"""Signals before the loop runs, and after it. Imports nothing that takes time."""

import math
import os
import signal
from typing import NoReturn


def end_at_signals() -> None:
    """Called first of all in a process: SIGTERM and SIGHUP end it at once, until `Stop.listen` takes them.

    Process 1 of a container has no default for it, so that while handlers were imported a stop was lost; and a
    KeyboardInterrupt in the middle of an import would show a traceback.
    """
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
        signal.signal(signal.SIGHUP, _end)


def end_after(seconds: float) -> None:
    """End after so many seconds at the latest: for a process that may be stopping already, without a SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(math.ceil(seconds)))


def ignore_signals() -> None:
    """Called last of all: a signal that comes while Python ends must not make a clean end a death by that signal."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _end(number: int, _: object) -> NoReturn:
    os._exit(128 + number if number == signal.SIGINT else 0)  # nothing runs that would have to be ended
