"""A process that dies between two trips: before a trip left, or after it took effect and before anybody heard of it."""

from collections.abc import Awaitable, Callable
from typing import TypeVar, TypeVarTuple

from workqueue.core.bridge import Bridge
from workqueue.core.queue import Queue
from workqueue.core.store import JobStore
from workqueue.core.store.pool import Pool

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Killed(Exception):
    """Stands for the end of a process, between two trips."""


class Mortal(Bridge):
    """A bridge whose process dies at its n-th crossing: before it, or after it took effect."""

    def __init__(self, bridge: Bridge, crossings: int, *, after: bool) -> None:
        super().__init__(bridge._loop)
        self._left = crossings
        self._after = after

    async def run(self, unit: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        self._left -= 1
        if self._left < 0:
            if self._after:
                await super().run(unit, *args)
            raise Killed
        return await super().run(unit, *args)


def mortal(
    bridge: Bridge, queue: Queue, store: JobStore | None, crossings: int, *, after: bool
) -> tuple[Queue, JobStore | None]:
    """The same queue and rows, over a bridge that dies at its n-th crossing."""
    dying = Mortal(bridge, crossings, after=after)
    mortal_queue = Queue(dying, queue._commands, queue._blocking, queue.keys)
    return mortal_queue, None if store is None else JobStore(Pool(dying, store._pool._pool, store._pool.schema))
