"""Who else works on this queue, and what they know: for tasks of a type that is unknown here."""

from collections.abc import Callable

import msgspec
import trio
from msgspec import Struct

from core.queue import Queue

LOOK_SECONDS = 2.0  #: how long an answer is believed


class Published(Struct):
    """What a worker says of itself with each renewal of its lease; more fields may come."""

    name: str = ""
    host: str = ""
    pid: int = 0
    version: str = ""
    protocol: int = 1
    concurrency: int = 0
    types: list[str] = []
    running: list["RunningJob"] = []
    jobs_done: int = 0
    jobs_failed: int = 0
    uptime_seconds: float = 0.0


class RunningJob(Struct):
    """One of the jobs that run now."""

    job_id: str
    type: str
    seconds: float


class Peers:
    """Asks Redis, at most every LOOK_SECONDS, which types the living workers know.

    Mutable state: the last answer and when it came.
    """

    def __init__(self, queue: Queue, clock: Callable[[], float] = trio.current_time) -> None:
        self._queue = queue
        self._clock = clock
        self._types: frozenset[str] = frozenset()
        self._looked_at = float("-inf")

    async def know(self, job_type: str) -> bool:
        """Does any living worker run jobs of this type? Raises QueueUnavailable."""
        if self._clock() - self._looked_at > LOOK_SECONDS:
            types: set[str] = set()
            for published, _ in (await self._queue.workers()).values():
                try:
                    types.update(msgspec.json.decode(published, type=Published).types)
                except msgspec.DecodeError:
                    continue  # of a version that says it otherwise
            self._types, self._looked_at = frozenset(types), self._clock()
        return job_type in self._types
