"""One run of one job, as a value. Nothing a handler does may leave this module as an exception of its own."""

import inspect
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import cast

import msgspec
import outcome
import trio

from core.errors import PermanentFailure, WorkQueueError
from core.handlers import Handler
from core.job import Job
from core.outcome import Failed, Interrupted, Outcome, Succeeded, TimedOut

RESULT_BYTES_MAX = 1024 * 1024
ERROR_LENGTH_MAX = 4 * 1024
TRACEBACK_LENGTH_MAX = 64 * 1024

#: Files whose frames stand above a handler's own in every traceback.
MACHINERY = frozenset(
    {__file__, inspect.unwrap(trio.to_thread.run_sync).__code__.co_filename, outcome.Value.unwrap.__code__.co_filename}
)

_encode = msgspec.json.Encoder().encode


class Attempt:
    """A run that can be interrupted from outside, and the thread that it may leave behind.

    Mutable state: the scope, cancelled by `interrupt`; `thread_ended`, set where a plain function has returned.
    """

    def __init__(self, handler: Handler, job: Job, limiter: trio.CapacityLimiter) -> None:
        """`limiter` of the threads has room for every consumer."""
        self._handler = handler
        self.job = job
        self._limiter = limiter
        self._scope = trio.CancelScope()
        self.thread_ended = trio.Event()
        if handler.is_async:
            self.thread_ended.set()

    def interrupt(self) -> None:
        """Cancel the run: a stop, or a lost lease. Its outcome is Interrupted, unless it ends by itself before."""
        self._scope.cancel()

    async def run(self) -> Outcome:
        """Run the handler to its end, its timeout or its interruption.

        Raises only Cancelled, when we ourselves are cancelled. A thread cannot be stopped: it may go on after its
        job was interrupted or timed out, until `thread_ended`.
        """
        timeout = self._handler.timeout_seconds
        try:
            with self._scope:  # inside of the try: its own Cancelled are gone before we look
                with trio.move_on_after(float("inf") if timeout is None else timeout):
                    return self._succeeded(await self._call())
                return TimedOut(timeout or 0.0)
        except trio.Cancelled:
            raise
        except BaseExceptionGroup as group:
            # Shutdown while a child of the handler fails: the Cancelled goes back to Trio, the failure stays here.
            cancelled, rest = group.split(trio.Cancelled)
            if cancelled is not None:
                raise cancelled from None
            return failed(rest or group)
        except BaseException as error:  # noqa: BLE001 - sys.exit() in a handler as well: one bad job harms only itself
            return failed(error)
        return Interrupted()

    async def _call(self) -> object:
        if self._handler.is_async:
            return await cast("Callable[[Job], Awaitable[object]]", self._handler.function)(self.job)
        token = trio.lowlevel.current_trio_token()

        def in_thread() -> object:
            try:
                return self._handler.function(self.job)
            finally:
                _tell(token, self.thread_ended)

        try:
            await trio.lowlevel.checkpoint_if_cancelled()
        except trio.Cancelled:
            self.thread_ended.set()
            raise
        # From here on the thread certainly starts: the limiter always has room.
        return await trio.to_thread.run_sync(in_thread, abandon_on_cancel=True, limiter=self._limiter)

    def _succeeded(self, result: object) -> Outcome:
        try:
            text = _encode(result)
        except (TypeError, ValueError, RecursionError) as error:  # ValueError: a lone surrogate, an integer too big
            return Failed(f"the result is no JSON value: {error}", permanent=True)
        if len(text) > RESULT_BYTES_MAX:
            return Failed(
                f"the result has {len(text)} bytes of JSON, at most {RESULT_BYTES_MAX} are kept", permanent=True
            )
        return Succeeded(text, self.job.artifacts)


def failed(error: BaseException) -> Failed:
    """A failure as it is kept: `Class: text` (our own errors: the text alone) and the traceback, both bounded."""
    text = _text(error)
    name = type(error).__name__
    if isinstance(error, WorkQueueError):  # said on purpose: where in our code helps nobody
        return Failed(text[:ERROR_LENGTH_MAX], None, permanent=isinstance(error, PermanentFailure))
    try:
        lines = "".join(traceback.format_exception(type(error), error, _own_frames(error.__traceback__), limit=-50))
    except Exception as broken:  # noqa: BLE001 - an exception that cannot be shown must not hide the failure
        lines = f"{name} (its traceback cannot be shown: {type(broken).__name__})"
    if len(lines) > TRACEBACK_LENGTH_MAX:
        half = TRACEBACK_LENGTH_MAX // 2 - 10
        lines = f"{lines[:half]}\n...\n{lines[-half:]}"
    shown = f"{name}: {text}" if text else name
    return Failed(shown[:ERROR_LENGTH_MAX], lines)


def _own_frames(frames: TracebackType | None) -> TracebackType | None:
    """Without the frames between us and the handler: they are the same each time."""
    while frames is not None and frames.tb_next is not None and frames.tb_frame.f_code.co_filename in MACHINERY:
        frames = frames.tb_next
    return frames


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:  # noqa: BLE001 - a __str__ that raises
        return f"(its text cannot be shown: {type(broken).__name__})"


def _tell(token: trio.lowlevel.TrioToken, event: trio.Event) -> None:
    with suppress(trio.RunFinishedError):  # the process is ending; nobody waits any more
        token.run_sync_soon(event.set)
