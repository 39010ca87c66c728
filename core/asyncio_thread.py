"""An asyncio loop in a thread of its own, for handlers whose libraries know asyncio only.

It is a plain loop, not the one inside of Trio (core/bridge.py): what such libraries do with it is what they do
anywhere, and one that blocks it holds up other handlers of its kind, not the worker. About 50 us a call.
"""

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, cast

import trio

from workqueue.core.errors import LoopEnded

CLEAN_UP_SECONDS = 4.0  #: for so long a cancelled call is waited for; shorter than a stop waits

log = logging.getLogger(__name__)

#: The tasks that a call has started, and those that these have started.
_started: contextvars.ContextVar[set["asyncio.Task[Any]"]] = contextvars.ContextVar("workqueue asyncio tasks")


class AsyncioThread:
    """Mutable state: the loop, while it runs."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve calls until cancelled; started() once it does. Calls that go on then are cancelled, and waited for
        for CLEAN_UP_SECONDS."""
        serves, ended = trio.Event(), trio.Event()
        token = trio.lowlevel.current_trio_token()

        async def serve() -> None:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            self._loop.set_task_factory(_new_task)
            token.run_sync_soon(serves.set)
            await self._stop.wait()

        def main() -> None:
            try:
                # By its name, because trio-asyncio changes what the policy makes.
                with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                    runner.run(serve())
            finally:
                self._loop = None
                with suppress(trio.RunFinishedError):
                    token.run_sync_soon(ended.set)

        async with trio.open_nursery() as nursery:
            own = trio.CapacityLimiter(1)  # it takes the place of no job's thread
            nursery.start_soon(lambda: trio.to_thread.run_sync(main, abandon_on_cancel=True, limiter=own))
            await serves.wait()
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                if (loop := self._loop) is not None and self._stop is not None:
                    with suppress(RuntimeError):  # it has ended by itself
                        loop.call_soon_threadsafe(self._stop.set)
                with trio.move_on_after(CLEAN_UP_SECONDS, shield=True):
                    await ended.wait()

    async def call(
        self, function: Callable[[Any], object], argument: object, left_behind: Callable[[trio.Event], None]
    ) -> object:
        """Await `function(argument)` in the loop, in a copy of the caller's context; its result, or its error raised.

        Tasks that it has started and not awaited are cancelled when it ends. Cancelled: so is it, and is waited for for
        CLEAN_UP_SECONDS; `left_behind` gets an event that is set once it has ended after all. Raises LoopEnded.
        """
        token, ended = trio.lowlevel.current_trio_token(), trio.Event()
        answers: list[tuple[object, BaseException | None]] = []
        tasks: list[asyncio.Task[Any]] = []
        context = contextvars.copy_context()
        loop = self._loop
        is_cancelled = False

        def finished(task: "asyncio.Task[Any]") -> None:
            try:
                answers.append(task.result())
            except BaseException as error:  # noqa: BLE001 - raised by the caller
                answers.append((None, error))
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(ended.set)

        def begin() -> None:
            assert loop is not None  # noqa: S101 - checked below
            if is_cancelled:
                with suppress(trio.RunFinishedError):
                    token.run_sync_soon(ended.set)
                return
            tasks.append(loop.create_task(_whole(function, argument), context=context))
            tasks[0].add_done_callback(finished)

        def cancel() -> None:
            for task in tasks:
                task.cancel()

        try:
            if loop is None:
                raise RuntimeError("it does not run")
            loop.call_soon_threadsafe(begin)
        except RuntimeError as error:
            raise LoopEnded(f"asyncio's loop: {error}") from error
        try:
            await ended.wait()
        except trio.Cancelled:
            is_cancelled = True
            left_behind(ended)
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(cancel)
            with trio.move_on_after(CLEAN_UP_SECONDS, shield=True):
                await ended.wait()
            raise
        [(result, raised)] = answers
        if raised is not None:
            raise raised
        return result


async def _whole(function: Callable[[Any], object], argument: object) -> tuple[object, BaseException | None]:
    """The call and the end of all that it has started. Its error is a value: asyncio ends the loop for SystemExit."""
    started: set[asyncio.Task[Any]] = set()
    _started.set(started)
    try:
        return await cast("Awaitable[object]", function(argument)), None
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # noqa: BLE001 - raised by the caller
        return None, error
    finally:
        while left := [task for task in started if not task.done()]:
            for task in left:
                task.cancel()
            await asyncio.wait(left)


def _new_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> "asyncio.Task[Any]":
    task = asyncio.Task(coroutine, loop=loop, **options)
    if (started := _started.get(None)) is not None:
        started.add(task)
        task.add_done_callback(started.discard)
    return task
