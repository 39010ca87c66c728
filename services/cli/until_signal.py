"""Work that a signal breaks off, with all of its clean-up."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from workqueue.services.signals import Stop

T = TypeVar("T")


async def until_signal(work: Callable[[], Awaitable[T]]) -> T | None:
    """What `work` returns; None: SIGINT or SIGTERM came first, and it was cancelled. Raises what it raises."""
    stop = Stop()
    result: T | None = None

    async def listen() -> None:
        await stop.first.wait()
        working.cancel()

    async with trio.open_nursery() as nursery:
        await nursery.start(stop.listen)
        nursery.start_soon(listen)
        with trio.CancelScope() as working:
            result = await work()
        nursery.cancel_scope.cancel()
    return None if working.cancelled_caught else result
