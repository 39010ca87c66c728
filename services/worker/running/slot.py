"""A slot runs one attempt after the other. No exception of a handler leaves it.

A cancel scope, a task or a nursery for each job would cost more than a short job itself (a scope with a deadline is
half of everything that a no-op job costs). So one cancel scope lasts for thousands of attempts: it is cancelled, and
replaced, only when one of them takes too long or is interrupted.
"""

import contextvars
import logging
from collections.abc import Awaitable, Callable
from enum import StrEnum
from types import FrameType
from typing import NoReturn, cast

import trio

from workqueue.core.errors import CannotStart
from workqueue.core.outcome import Cancelled, Failed, Interrupted, NotStarted, Outcome, TimedOut
from workqueue.services.job_tree import JobTree
from workqueue.services.worker.running.attempt import Attempt, failed, raised, succeeded
from workqueue.services.worker.running.runtimes import NotGiven, Runtime
from workqueue.services.worker.running.tree import job_tree

log = logging.getLogger(__name__)

YIELD_SECONDS = 0.002  #: handlers that never wait let other tasks run after so long
ARM_SECONDS = 0.1  #: a timeout that is closer than this becomes the scope's deadline
WATCH_SECONDS = 0.05
CANNOT_START_DELAY_MS = 1000

TakeAtOnce = Callable[[], Attempt | None]
Take = Callable[[], Awaitable[Attempt | None]]
Ended = Callable[[Attempt, Outcome, float], None]
Outlived = Callable[[Attempt, trio.Event], Awaitable[None]]
LeftNursery = Callable[[Attempt], NoReturn]


class InterruptReason(StrEnum):
    """Why a running job is cancelled."""

    LEASE_LOST = "its worker lost its lease"
    CANCELLED = "a person cancelled it"


class Slot:
    """Runs what `take` returns.

    Mutable state: the attempt that runs now, the scope around it, whether that scope has a deadline or is cancelled
    already, and whether it was cancelled by `interrupt`; and the consumer's task and frame. The task, `watch` and
    `interrupt` run on one thread, so the attempt cannot change between a look at it and the cancellation.
    """

    __slots__ = ("_context", "_ended", "_interrupted", "_left_nursery", "_now", "_outlived", "_runtime", "_scope",
                 "_take", "_take_at_once", "_used_up", "_yielded_at", "attempt", "frame", "task")  # fmt: skip

    def __init__(
        self,
        take_at_once: TakeAtOnce,
        take: Take,
        ended: Ended,
        outlived: Outlived,
        left_nursery: LeftNursery,
        runtime: Runtime,
    ) -> None:
        """`take_at_once` returns a job that may run at once, or None: then `take` is called, whose None is the end.

        `ended` gets the attempt, its outcome and the seconds it took. `outlived` waits for a thread that goes on after
        its attempt has ended. `left_nursery` ends the process: the attempt has left a nursery open. `runtime` runs
        handlers that are no coroutine functions; the others run in the slot.
        """
        self._take_at_once = take_at_once
        self._take = take
        self._ended = ended
        self._outlived = outlived
        self._left_nursery = left_nursery
        self._runtime = runtime
        self._now = trio.lowlevel.current_clock().current_time
        self._scope = trio.CancelScope()
        self._used_up = False
        self._interrupted: InterruptReason | None = None
        self._yielded_at = self._now()
        self._context = contextvars.copy_context()
        self.attempt: Attempt | None = None
        self.frame: FrameType | None = None  #: of the consumer that runs `serve`, so that the watchdog can find its job
        self.task: trio.lowlevel.Task | None = None  #: the consumer's

    @property
    def seconds(self) -> float:
        """How long the attempt has been running; 0 where none does."""
        return 0.0 if self.attempt is None else self._now() - self.attempt.started_at

    def interrupt(self, reason: InterruptReason) -> None:
        """Cancel the attempt. Its outcome is Interrupted, with `reason`, unless it ends by itself before."""
        self._interrupted, self._used_up = reason, True
        self._scope.cancel()

    def cancel(self, *, grace_seconds: float) -> None:
        """A person cancels the job: a coroutine is cancelled, a thread is asked (`job.cancelled`) for `grace_seconds`.

        The outcome is Cancelled, unless the handler ends by itself before.
        """
        if self.attempt is None or self.attempt.give_up_at is not None:
            return
        self.attempt.give_up_at = self._now() + grace_seconds
        self._interrupted, self._used_up = InterruptReason.CANCELLED, True
        if self.attempt.handler.can_be_cancelled:
            self._scope.cancel()

    def watch(self) -> None:
        """Called each WATCH_SECONDS: give the scope the deadline of an attempt whose time is nearly over, and abandon
        the thread of a cancelled one whose grace is over."""
        attempt = self.attempt
        if attempt is None:
            return
        if attempt.give_up_at is not None:
            if self._now() >= attempt.give_up_at:
                self._scope.cancel()
        elif self._interrupted is None and (deadline := attempt.deadline) is not None:
            if self._used_up:  # extended since
                self._scope.deadline = max(self._scope.deadline, deadline)
            elif deadline < self._now() + ARM_SECONDS:
                self._arm(deadline)

    def tree(self, worker: str) -> JobTree | None:
        """What goes on inside the attempt that runs now; None: none does. `worker`: its name, for people."""
        if self.attempt is None or self.task is None:
            return None
        return job_tree(self.task, self._scope, self.attempt, worker)

    @property
    def is_overdue(self) -> bool:
        """Does a cancelled coroutine clean up for longer than it may?"""
        attempt = self.attempt
        return attempt is not None and attempt.give_up_at is not None and self._now() >= attempt.give_up_at

    def _arm(self, deadline: float) -> None:
        self._scope.deadline = deadline
        self._used_up = True

    async def serve(self) -> bool:
        """Run attempts until there are no more; False then.

        True: a handler set context variables. They must not reach the next job, so go on in another task. Raises only
        Cancelled, when we ourselves are cancelled; the attempt that ran is Interrupted then, its children have ended.
        """
        self._context = contextvars.copy_context()
        while True:
            left: BaseException | None = None
            self._used_up = has_run = False
            self._interrupted = None
            try:
                with trio.CancelScope() as self._scope:
                    goes_on = await self._run_attempts()
                    has_run = True
                    if goes_on is not None:
                        return goes_on
            except BaseException as error:
                if has_run and isinstance(error, RuntimeError):
                    # A handler entered a scope and did not leave it, as an async generator that was not run to its end
                    # does. Trio notices where our scope ends, and has repaired it then. Another task goes on.
                    log.error("a handler has left a cancel scope open: %s", str(error).partition("\n")[0])
                    return goes_on is not False
                if self.attempt is None:
                    raise  # no handler's: this task was cancelled between two jobs, or has a bug
                cancelled, left = _split(error)
                if cancelled is not None:
                    if trio.current_effective_deadline() > float("-inf"):
                        # No scope around the slot was cancelled: the handler kept this from a scope of its own.
                        # Raised on, it would stop this worker, and each one that gets the job.
                        self._end(raised(error, self.attempt.handler.policy))
                        if self._left_variables():
                            return True
                        continue
                    self._end(Interrupted())  # a stop; errors that were raised meanwhile are dropped
                    raise cancelled from None
            if (attempt := self.attempt) is not None:  # its scope was cancelled; `left` is what else it raised
                self._end(self._cut_short(attempt) if left is None else self._raised(attempt, left))
                if (left_behind := attempt.left_behind) is not None and not left_behind.is_set():
                    await self._outlived(attempt, left_behind)
            if self._left_variables():
                return True

    async def _run_attempts(self) -> bool | None:
        """None: the scope is used up. Between `self.attempt =` and `_end` nothing can raise but the handler."""
        task = trio.lowlevel.current_task()
        nurseries = len(task.child_nurseries)
        while (attempt := self._take_at_once() or await self._take()) is not None:
            handler = attempt.handler
            attempt.started_at = began = self._now()
            self.attempt = attempt
            if (timeout := attempt.timeout_seconds) is not None and timeout < ARM_SECONDS:
                self._arm(began + timeout)
            try:
                if handler.is_async:
                    result = await cast("Awaitable[object]", handler.function(attempt.job))
                else:
                    result = await self._runtime.run(attempt)
            except trio.Cancelled:
                raise
            except NotGiven as error:
                lacking = attempt.lacking
                outcome: Outcome = NotStarted(CANNOT_START_DELAY_MS, lacking) if lacking else failed(error)
            except CannotStart as error:  # raised by a user's handler it would give the job back for ever
                is_ours = handler.is_builtin
                outcome = NotStarted(CANNOT_START_DELAY_MS, str(error)) if is_ours else failed(error)
            except BaseExceptionGroup as group:
                if group.subgroup(trio.Cancelled) is not None:
                    raise  # it belongs to an outer scope; `serve` gets what that leaves of the group
                outcome = raised(group, handler.policy)
            except BaseException as error:  # noqa: BLE001 - sys.exit() in a handler as well: it harms only its job
                outcome = raised(error, handler.policy)
            else:
                outcome = succeeded(result, attempt.job)
            if len(task.child_nurseries) > nurseries:
                self._left_nursery(attempt)
            ended = self._end(outcome)
            try:  # as _left_variables does, without a call for each job
                if contextvars.copy_context() != self._context:
                    return True
            except BaseException:  # noqa: BLE001 - nothing is awaited in there
                return True
            if self._used_up:
                return None
            if ended - self._yielded_at > YIELD_SECONDS:
                await trio.lowlevel.checkpoint()
                self._yielded_at = self._now()
        return False

    def _left_variables(self) -> bool:
        """Did a handler set context variables? Where their values cannot be compared (arrays of numpy), it may have."""
        try:
            return contextvars.copy_context() != self._context
        except BaseException:  # noqa: BLE001 - nothing is awaited in there
            return True

    def _end(self, outcome: Outcome) -> float:
        ended = self._now()
        attempt, self.attempt = self.attempt, None
        if attempt is not None:
            self._ended(attempt, outcome, ended - attempt.started_at)
        return ended

    def _cut_short(self, attempt: Attempt) -> Outcome:
        if self._interrupted is InterruptReason.CANCELLED:
            return Cancelled()
        if self._interrupted is not None:
            return Interrupted(self._interrupted)
        return TimedOut((attempt.timeout_seconds or 0.0) + attempt.extended_seconds)

    def _raised(self, attempt: Attempt, error: BaseException) -> Outcome:
        """Of an attempt that was cut short, and raised an error of its own on its way out."""
        failure = raised(error, attempt.handler.policy)
        if self._interrupted is InterruptReason.CANCELLED and isinstance(failure, Failed):
            return Cancelled(f"cancelled; its clean-up failed: {failure.error}")
        return failure


def _split(error: BaseException) -> tuple[BaseException | None, BaseException | None]:
    """The part that is Trio's own, and the rest."""
    if isinstance(error, trio.Cancelled):
        return error, None
    if isinstance(error, BaseExceptionGroup):
        try:
            cancelled, rest = error.split(trio.Cancelled)
        except BaseException:  # noqa: BLE001 - a class of its own may do anything; nothing is awaited in there
            return None, error  # a cancellation of ours is raised again at the next checkpoint
        return cancelled, rest
    return None, error
