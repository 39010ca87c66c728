"""Processes between two trips: one dies there, or something else happens before it goes on."""

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


class Interleaved(Bridge):
    """A bridge with something that happens before its n-th crossing. Mutable state: whether it has."""

    def __init__(self, bridge: Bridge, crossings: int, meanwhile: Callable[[], Awaitable[object]]) -> None:
        super().__init__(bridge._loop)
        self.has_run = False
        self._left = crossings
        self._meanwhile = meanwhile

    async def run(self, unit: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        self._left -= 1
        if self._left == -1:
            self.has_run = True
            await self._meanwhile()
        return await super().run(unit, *args)


def mortal(
    bridge: Bridge, queue: Queue, store: JobStore | None, crossings: int, *, after: bool
) -> tuple[Queue, JobStore | None]:
    """The same queue and rows, over a bridge that dies at its n-th crossing."""
    return _over(Mortal(bridge, crossings, after=after), queue, store)


def interleaved(
    bridge: Bridge, queue: Queue, store: JobStore | None, crossings: int, meanwhile: Callable[[], Awaitable[object]]
) -> tuple[Interleaved, Queue, JobStore | None]:
    """The same queue and rows, over a bridge that runs `meanwhile` before its n-th crossing."""
    other = Interleaved(bridge, crossings, meanwhile)
    return other, *_over(other, queue, store)


def _over(bridge: Bridge, queue: Queue, store: JobStore | None) -> tuple[Queue, JobStore | None]:
    over = Queue(bridge, queue._commands, queue._blocking, queue._listening, queue._ringing, queue.keys)
    return over, None if store is None else JobStore(Pool(bridge, store._pool._pool, store._pool.schema))
