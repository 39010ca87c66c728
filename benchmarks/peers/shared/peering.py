"""What the Python peers' scripts import: the workload's constants, and the meter that their handlers call.

Standard library only: it runs inside each peer's own environment.
"""

import asyncio
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

PAYLOAD = {
    "to": "someone@example.com",
    "subject": "Welcome!",
    "body": "a payload of about 100 bytes as it comes",
}
SLEEP_SECONDS = 0.1
AT_ONCE = 20  #: enqueue calls under way together, to fill a queue whose peer has no bulk

URL = os.environ.get("PEER_URL", "")
CONCURRENCY = int(os.environ.get("PEER_CONCURRENCY", "1"))
MODE = os.environ.get("PEER_MODE", "")


class Meter:
    """What the handlers call. It reports chunks of jobs done, so that a job costs no system call.

    A peer that runs jobs in several processes gets chunks of one job: each line is one write, whole however many write
    beside us.
    """

    def __init__(self) -> None:
        self._chunk = int(os.environ.get("PEER_CHUNK", "1"))
        self._report = os.open(os.environ.get("PEER_REPORT", os.devnull), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._pipe: int | None = None
        self._lock = threading.Lock()
        self._count = 0
        self._first = 0

    def done(self) -> None:
        """A job has been done."""
        with self._lock:
            if not self._count:
                self._first = time.monotonic_ns()
            self._count += 1
            if self._count >= self._chunk:
                os.write(self._report, b"%d %d %d\n" % (self._first, time.monotonic_ns(), self._count))
                self._count = 0

    def started(self) -> None:
        """A job whose latency is measured has started."""
        now = time.monotonic_ns()
        if self._pipe is None:
            self._pipe = os.open(os.environ["PEER_PIPE"], os.O_WRONLY)
        os.write(self._pipe, b"%d\n" % now)


async def at_once(call: Callable[[], Awaitable[Any]], jobs: int) -> None:
    """`many` of an asyncio peer that has no bulk."""

    async def some(count: int) -> None:
        for _ in range(count):
            await call()

    shares = [jobs // AT_ONCE + (number < jobs % AT_ONCE) for number in range(AT_ONCE)]
    await asyncio.gather(*(some(share) for share in shares))


def program(name: str) -> str:
    """A program of the peer's environment."""
    return os.path.join(os.path.dirname(sys.executable), name)


def become(*command: str) -> None:
    """Replace this process by a program."""
    os.execv(command[0], list(command))
