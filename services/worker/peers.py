"""The other workers of this queue: which types they know, and whether this one can work beside them."""

from collections.abc import Callable

import trio

from workqueue.core.protocol import OLDEST, PROTOCOL, is_incompatible
from workqueue.core.queue import Queue
from workqueue.services.published import read_published

LOOK_SECONDS = 2.0  #: for which an answer is used
SHOWN_MAX = 100  #: characters of another worker's name


class Peers:
    """Asks Redis, at most every LOOK_SECONDS, which types the living workers know.

    Mutable state: the last answer and when it came.
    """

    def __init__(self, queue: Queue, clock: Callable[[], float] = trio.current_time) -> None:
        self._queue = queue
        self._clock = clock
        self._types: frozenset[str] = frozenset()
        self._looked_at = float("-inf")

    def knew(self, job_type: str) -> bool | None:
        """What `know` would answer without a trip; None: it would make one."""
        return None if self._clock() - self._looked_at > LOOK_SECONDS else job_type in self._types

    async def know(self, job_type: str) -> bool:
        """Does any worker that is alive run jobs of this type? Raises QueueUnavailable."""
        if self.knew(job_type) is None:
            types: set[str] = set()
            for published, _ in (await self._queue.workers()).values():
                if (worker := read_published(published)) is not None:
                    types.update(worker.types)
            self._types, self._looked_at = frozenset(types), self._clock()
        return job_type in self._types


async def find_incompatible_worker(queue: Queue, *, lease_seconds: float) -> str | None:
    """A worker of an incompatible release that is alive, in words for an operator; None: there is none.

    Called before a lease is taken, so that of two that start in the same instant neither waits for the other.
    Raises QueueUnavailable.
    """
    for published, age_seconds in (await queue.workers()).values():
        worker = read_published(published)
        if worker is not None and age_seconds < lease_seconds and is_incompatible(worker.protocol, worker.oldest):
            return (
                f"worker {worker.name[:SHOWN_MAX]} (version {worker.version[:SHOWN_MAX]}) speaks protocol "
                f"{worker.protocol} and works beside {worker.oldest} and newer; this one speaks "
                f"{PROTOCOL} and works beside {OLDEST} and newer. Stop that worker, or update this one"
            )
    return None
