"""The one place where Trio and asyncio meet."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar, TypeVarTuple

import trio_asyncio  # type: ignore[import-untyped]  # the only module that knows it

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

log = logging.getLogger(__name__)


class Bridge:
    """Runs asyncio code for Trio tasks; about 40 us a crossing, so cross once a batch.

    Carries the loop itself: Hypercorn runs requests outside the task that opened it, where
    trio-asyncio's context variable is not set.
    """

    def __init__(self, loop: trio_asyncio.TrioEventLoop) -> None:
        self._loop = loop

    async def run(self, unit: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """Run `unit(*args)` to its end in asyncio and return its result or raise its error.

        Cancelling cancels the unit once, the asyncio way, and waits for it to end; a unit that ends with a result all
        the same returns it. An asyncio cancellation may get lost, so what must end is bounded inside the unit too.
        """

        async def coroutine() -> T:
            return await unit(*args)

        result: T = await self._loop.run_aio_coroutine(coroutine())
        return result


@asynccontextmanager
async def open_bridge() -> AsyncIterator[Bridge]:
    """An asyncio loop inside of this Trio task, for as long as the block lasts. Close clients before it ends."""
    async with trio_asyncio.open_loop() as loop:
        loop.set_exception_handler(_log_stray_error)
        yield Bridge(loop)


def _log_stray_error(loop: Any, context: dict[str, Any]) -> None:
    """Instead of asyncio's default handler, which ended in a hang under trio-asyncio: a line, and we go on."""
    error = context.get("exception")
    if isinstance(error, OSError | TimeoutError):  # an outage, met by a task of a library's own; others tell of it
        log.debug("asyncio: %s: %s", context.get("message"), error)
    else:
        log.warning("asyncio: %s", context.get("message"), exc_info=error)
