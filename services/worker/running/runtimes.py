"""Runtimes: where a handler runs. Trio's is the slot itself; a thread is another, and each kind to come is one more."""

import inspect
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Protocol, cast

import trio

from workqueue.core.asyncio_thread import AsyncioThread
from workqueue.core.errors import LoopEnded
from workqueue.core.job import Job
from workqueue.services.worker.running.attempt import Attempt


class NotGiven(Exception):
    """The machine did not give what the runtime needs, `attempt.lacking`: the job has not started."""


class Runtime(Protocol):
    """Runs handlers that are not coroutine functions of Trio; one for all slots."""

    async def run(self, attempt: Attempt) -> object:
        """Run the handler; its result. Raises what it raises, and NotGiven.

        Cancelled: it may go on where it cannot be stopped; `attempt.left_behind` is set once it has ended then.
        """


class Runtimes:
    """Each handler's own runtime."""

    def __init__(self, threads: Runtime, asyncio_: Runtime) -> None:
        self._threads = threads
        self._asyncio = asyncio_

    async def run(self, attempt: Attempt) -> object:
        """Runtime.run."""
        return await (self._threads if attempt.handler.runtime == "thread" else self._asyncio).run(attempt)


class AsyncioLoop:
    """The loop of asyncio that this worker has for such handlers."""

    def __init__(self, thread: AsyncioThread) -> None:
        self._thread = thread

    async def run(self, attempt: Attempt) -> object:
        """Runtime.run. What it has started ends with it; its clean-up may last for CLEAN_UP_SECONDS."""

        def left_behind(ended: trio.Event) -> None:
            attempt.left_behind = ended

        try:
            return await self._thread.call(attempt.handler.function, attempt.job, left_behind)
        except LoopEnded as error:
            attempt.lacking = str(error)
            raise NotGiven(str(error)) from error


class Threads:
    """A thread for each attempt. It cannot be stopped: it may go on after its attempt was interrupted or timed out."""

    def __init__(self, limiter: trio.CapacityLimiter) -> None:
        """`limiter` has room for every slot, so that a thread certainly starts."""
        self._limiter = limiter

    async def run(self, attempt: Attempt) -> object:
        """Runtime.run. A coroutine that the function returns is awaited: a plain function may wrap a coroutine one."""
        await trio.lowlevel.checkpoint_if_cancelled()
        token = trio.lowlevel.current_trio_token()
        ended = attempt.left_behind = trio.Event()
        function: Callable[[Job], object] = attempt.handler.function
        job = attempt.job
        made: list[Coroutine[object, object, object]] = []  # what the function returned, to be awaited
        is_over = False

        def in_thread() -> tuple[object, BaseException | None]:
            # An error is passed on as a value: on its way through Trio its traceback is read and written, which an
            # exception may refuse, and then its answer never came.
            try:
                result = function(job)
                if inspect.iscoroutine(result):
                    made.append(result)
                    if is_over:
                        result.close()
                return result, None
            except BaseException as error:  # noqa: BLE001 - it is raised below
                return None, error
            finally:
                with suppress(trio.RunFinishedError):  # the process is ending, and waits no more
                    token.run_sync_soon(ended.set)

        try:
            result, error = await trio.to_thread.run_sync(in_thread, abandon_on_cancel=True, limiter=self._limiter)
        except trio.Cancelled:
            is_over = True
            for coroutine in made:
                coroutine.close()  # it will not be awaited any more
            raise
        except RuntimeError as no_thread:
            attempt.left_behind, attempt.lacking = None, str(no_thread)
            raise NotGiven(str(no_thread)) from no_thread
        if error is not None:
            raise error
        return await cast("Awaitable[object]", result) if inspect.iscoroutine(result) else result
