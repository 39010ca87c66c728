"""Who else works on this queue: what they know, for tasks of a type unknown here; and can we work beside them?"""

from collections.abc import Callable

import msgspec
import trio
from msgspec import Struct

from core.protocol import OLDEST, PROTOCOL, is_stranger
from core.queue import Queue

LOOK_SECONDS = 2.0  #: how long an answer is believed


class Published(Struct):
    """What a worker says of itself with each renewal of its lease; more fields may come."""

    name: str = ""
    host: str = ""
    pid: int = 0
    version: str = ""
    protocol: int = 1
    oldest: int = 1  #: protocol beside which it can work
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


async def find_stranger(queue: Queue, *, lease_seconds: float) -> str | None:
    """A worker that lives and beside which we cannot work, in words for a person; None: there is none.

    Asked before a lease is taken, so that of two that start in the same instant neither waits for the other.
    Raises QueueUnavailable.
    """
    for published, age_seconds in (await queue.workers()).values():
        try:
            worker = msgspec.json.decode(published, type=Published)
        except msgspec.DecodeError:
            continue
        if age_seconds < lease_seconds and is_stranger(worker.protocol, worker.oldest):
            return (
                f"worker {worker.name} (version {worker.version}) speaks protocol {worker.protocol} and works beside "
                f"{worker.oldest} and newer; this one speaks {PROTOCOL} and works beside {OLDEST} and newer. "
                "Stop that worker, or update this one"
            )
    return None
