"""The one place where Trio and asyncio meet."""

import contextvars
import errno
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar, TypeVarTuple

import trio
import trio_asyncio  # type: ignore[import-untyped]  # the only module that knows it

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

log = logging.getLogger(__name__)

NO_THREAD = "can't start new thread"  #: the text of Python's error where the machine gives no thread
CALLBACKS_MAX = 64  #: of asyncio's callbacks that are run in one turn of Trio's loop


class Bridge:
    """Runs asyncio code for Trio tasks; about 40 us a crossing, so cross once a batch.

    Carries the loop itself: Hypercorn runs requests outside the task that opened it, where
    trio-asyncio's context variable is not set.
    """

    def __init__(self, loop: trio_asyncio.TrioEventLoop) -> None:
        self._loop = loop
        # asyncio code gets the context variables of the start, not those of the caller: each limit of time leaves a
        # timer behind that lasts until it is due, and would keep a whole request in memory for so long
        # (12 KiB each; a producer that was read 700 times a second held 150 MB of them).
        self._context = contextvars.copy_context()

    async def run(self, unit: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """Run `unit(*args)` to its end in asyncio and return its result or raise its error.

        Cancelling cancels the unit once, the asyncio way, and waits for it to end; a unit that ends with a result all
        the same returns it. An asyncio cancellation may get lost, so what must end is bounded inside the unit too.
        """

        async def coroutine() -> T:
            return await unit(*args)

        task = self._context.copy().run(self._loop.create_task, coroutine())
        try:
            result: T = await self._loop.run_aio_future(task)
        except RuntimeError as error:
            if str(error) != NO_THREAD:
                raise
            raise OSError(errno.EAGAIN, f"{NO_THREAD} to look a name up") from error
        return result


@asynccontextmanager
async def open_bridge() -> AsyncIterator[Bridge]:
    """An asyncio loop inside of this Trio task, for as long as the block lasts. Close clients before it ends."""
    async with trio_asyncio.open_loop() as loop:
        loop.set_exception_handler(_log_stray_error)
        _run_all_that_is_ready(loop)
        yield Bridge(loop)


def _run_all_that_is_ready(loop: Any) -> None:
    """Let the loop run its callbacks as asyncio does: all that are ready, then Trio's other tasks.

    trio-asyncio runs one in a turn of Trio's loop, under a cancel scope of its own; a trip to Redis makes seven. Its
    method is private: pyproject.toml bounds the version, and test_bridge.py fails where it is gone.
    """
    run_one = loop._main_loop_one

    async def run_some(no_wait: bool = False) -> None:
        await run_one(no_wait)
        with suppress(trio.WouldBlock):
            for _ in range(CALLBACKS_MAX - 1):
                await run_one(no_wait=True)

    loop._main_loop_one = run_some


def _log_stray_error(loop: Any, context: dict[str, Any]) -> None:
    """Log the error and go on. asyncio's default handler ended in a hang under trio-asyncio."""
    error = context.get("exception")
    if isinstance(error, OSError | TimeoutError):  # an outage, met by a library's own task; the watch logs it
        log.debug("asyncio: %s: %s", context.get("message"), error)
    else:
        log.warning("asyncio: %s", context.get("message"), exc_info=error)
