"""One run of one job, and how its result or error becomes an Outcome."""

import inspect
import math
from pathlib import Path
from types import TracebackType

import msgspec
import outcome
import trio
from msgspec import Struct
from msgspec.structs import replace

from workqueue.core import asyncio_thread
from workqueue.core.errors import PermanentFailure, WorkQueueError
from workqueue.core.handlers import Handler
from workqueue.core.job import Job
from workqueue.core.outcome import Complete, Failed, Outcome, Paused, Snoozed
from workqueue.core.policies import NO_POLICY, Policy, RateLimited, Retry, Snooze
from workqueue.core.steps.lease import ClaimedTask
from workqueue.services.worker.running.tracebacks import Tracebacks

RESULT_BYTES_MAX = 1024 * 1024
ERROR_LENGTH_MAX = 4 * 1024
TRACEBACK_LENGTH_MAX = 64 * 1024

#: Files whose frames come before the handler's in every traceback.
MACHINERY = frozenset(
    {
        str(Path(__file__).with_name("slot.py")),
        str(Path(__file__).with_name("runtimes.py")),
        asyncio_thread.__file__,
        inspect.unwrap(trio.to_thread.run_sync).__code__.co_filename,
        outcome.Value.unwrap.__code__.co_filename,
    }
)

_encode = msgspec.json.Encoder().encode
_tracebacks = Tracebacks()  # a cache of source lines: of the process, no resource


class Attempt(Struct, eq=False, gc=False):
    """A job that is about to run, or runs.

    Mutable state: `started_at` and `give_up_at`, set by the slot that runs it; `left_behind` and `lacking`, set by its
    runtime; `extended_seconds`, set by the handler, maybe in a thread; `given_up`, set by the consumers.
    """

    handler: Handler
    job: Job
    claimed: ClaimedTask  #: what the job was claimed as
    timeout_seconds: float | None = None  #: the job's own, or its handler's
    is_admitted: bool = False  #: by Admission.admit, which is told when it has ended
    started_at: float = 0.0  #: trio's clock
    left_behind: trio.Event | None = None  #: set once what cannot be stopped has ended: a thread
    lacking: str = ""  #: what the machine did not give
    extended_seconds: float = 0.0  #: by so much its timeout is later
    give_up_at: float | None = None  #: a person has cancelled it, and its clean-up may last until then (trio's clock)
    given_up: bool = False  #: its outcome was handed over although it goes on

    @property
    def deadline(self) -> float | None:
        """When it has timed out (trio's clock); None: never."""
        timeout = self.timeout_seconds
        return None if timeout is None else self.started_at + timeout + self.extended_seconds


def succeeded(result: object, job: Job) -> Outcome:
    """The outcome of a handler that returned `result`; a permanent failure where that cannot be kept."""
    try:
        text = _encode(result)
    except (TypeError, ValueError, RecursionError) as error:  # ValueError: a lone surrogate, an integer too big
        return Failed(f"the result is no JSON value: {error}", permanent=True)
    if len(text) > RESULT_BYTES_MAX:
        return Failed(f"the result has {len(text)} bytes of JSON, at most {RESULT_BYTES_MAX} are kept", permanent=True)
    return Complete(text, job.artifacts)


def raised(error: BaseException, policy: Policy = NO_POLICY) -> Outcome:
    """The outcome of a handler that raised `error`; `policy`: the handler's. Raises nothing."""
    if isinstance(error, WorkQueueError):
        if isinstance(error, Snooze):
            return Snoozed(max(1, math.ceil(error.seconds * 1000)))
        if isinstance(error, RateLimited):
            return Paused(max(1, math.ceil(error.after * 1000)), error.group)
        if isinstance(error, Retry):
            return replace(failed(error), delay_ms=None if error.after is None else math.ceil(error.after * 1000))
    failure = failed(error)
    if policy is NO_POLICY:
        return failure
    try:
        return replace(failure, permanent=True) if policy.is_permanent(error) else failure
    except BaseException:  # noqa: BLE001 - classes with an __instancecheck__ of their own; nothing is awaited in there
        return failure


def failed(error: BaseException) -> Failed:
    """A failure as it is kept: `Class: text` (our own errors: the text alone) and the traceback, both bounded.

    Raises nothing, though the exception's own methods may: a failure that cannot be shown is a failure as well.
    """
    kind = type(error)
    try:
        return _failed(error, kind)
    except BaseException as broken:  # noqa: BLE001 - nothing is awaited in there
        return Failed(f"{kind.__name__[:200]} (it cannot be shown: {type(broken).__name__[:200]})")


def _failed(error: BaseException, kind: type[BaseException]) -> Failed:
    text = _text(error)
    name = kind.__name__
    if issubclass(kind, WorkQueueError):  # raised on purpose: the traceback is of no use
        return Failed(text[:ERROR_LENGTH_MAX], None, permanent=issubclass(kind, PermanentFailure))
    try:
        lines = _tracebacks.text(error, _own_frames(error.__traceback__))
    except Exception as broken:  # noqa: BLE001 - an exception that cannot be shown must not hide the failure
        lines = f"{name} (its traceback cannot be shown: {type(broken).__name__})"
    if len(lines) > TRACEBACK_LENGTH_MAX:
        half = TRACEBACK_LENGTH_MAX // 2 - 10
        lines = f"{lines[:half]}\n...\n{lines[-half:]}"
    shown = f"{name}: {text}" if text else name
    return Failed(shown[:ERROR_LENGTH_MAX], lines)


def _own_frames(frames: TracebackType | None) -> TracebackType | None:
    """Leave out the frames between the slot and the handler: they are the same each time."""
    while frames is not None and frames.tb_next is not None and frames.tb_frame.f_code.co_filename in MACHINERY:
        frames = frames.tb_next
    return frames


def _text(error: BaseException) -> str:
    try:
        return "".join([str(error)])  # a subclass of str becomes one
    except Exception as broken:  # noqa: BLE001 - a __str__ that raises
        return f"(its text cannot be shown: {type(broken).__name__})"
