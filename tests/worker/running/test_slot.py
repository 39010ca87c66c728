"""A slot runs thousands of attempts under one scope; nothing of one reaches the next."""

import contextvars
from collections import deque
from collections.abc import Awaitable, Callable
from typing import NoReturn
from uuid import uuid4

import pytest
import trio
from trio.testing import MockClock

from workqueue.core.handlers import Handler
from workqueue.core.job import Job
from workqueue.core.outcome import Complete, Failed, Interrupted, Outcome, TimedOut
from workqueue.core.steps.lease import ClaimedTask, Lease
from workqueue.core.wire import Task
from workqueue.services.worker.running.attempt import Attempt
from workqueue.services.worker.running.runtimes import Threads
from workqueue.services.worker.running.slot import WATCH_SECONDS, YIELD_SECONDS, InterruptReason, Slot

Function = Callable[[Job], Awaitable[object]]


class Jobs:
    """What a slot is given, in order, and what came of it."""

    def __init__(self, *functions: Function, timeout: float | None = None) -> None:
        self._left = deque(functions)
        self._timeout = timeout
        self.outcomes: list[Outcome] = []
        self.scopes: list[trio.CancelScope] = []
        self.slot = Slot(
            lambda: None, self._take, self._ended, self._outlived, self._left_nursery, Threads(trio.CapacityLimiter(1))
        )

    async def run(self) -> bool:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch)
            left_variables = await self.slot.serve()
            nursery.cancel_scope.cancel()
        return left_variables

    async def _take(self) -> Attempt | None:
        self.scopes.append(self.slot._scope)
        if not self._left:
            return None
        job = Job(id="1", type="x", payload={}, attempt=1, retries=0)
        held = ClaimedTask.of(Lease(), 1, Task("x"), uuid4(), 0.0)
        handler = Handler("x", self._left.popleft(), True, self._timeout)
        return Attempt(handler, job, held, self._timeout)

    def _ended(self, attempt: Attempt, outcome: Outcome, seconds: float) -> None:
        self.outcomes.append(outcome)

    async def _outlived(self, attempt: Attempt, thread: trio.Event) -> None:
        await thread.wait()

    def _left_nursery(self, attempt: Attempt) -> NoReturn:
        raise AssertionError(f"{attempt.job.type} has left a nursery open")

    async def _watch(self) -> None:
        while True:
            self.slot.watch()
            await trio.sleep(WATCH_SECONDS)


async def quick(job: Job) -> object:
    return 1


async def waits(job: Job) -> object:
    await trio.sleep(0.01)
    return 2


async def hangs(job: Job) -> object:
    await trio.sleep_forever()


async def raises(job: Job) -> object:
    raise ValueError("no")


async def cleans_up_badly(job: Job) -> object:
    async def child() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("in cleanup")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        nursery.start_soon(child)
    return None


async def swallows(job: Job) -> object:
    try:
        await trio.sleep_forever()
    except trio.Cancelled:
        return "all the same"


DONE = Complete(b"1")


async def test_a_thousand_attempts_share_one_scope():
    jobs = Jobs(*[quick, raises] * 500, timeout=30)
    assert await jobs.run() is False
    assert len(jobs.outcomes) == 1000
    assert len(set(map(id, jobs.scopes))) == 1


@pytest.mark.parametrize(("bad", "kind"), [(hangs, TimedOut), (cleans_up_badly, Failed), (swallows, Complete)])
@pytest.mark.parametrize("timeout", [0.05, 20])
async def test_a_timeout_ends_its_own_attempt_and_no_other(bad, kind, timeout, autojump_clock: MockClock):
    jobs = Jobs(waits, bad, waits, bad, waits, timeout=timeout)
    await jobs.run()
    assert [type(outcome) for outcome in jobs.outcomes] == [Complete, kind, Complete, kind, Complete]


@pytest.mark.parametrize("timeout", [0.01, 0.1, 0.37, 5, 60])
async def test_a_timeout_comes_when_it_is_due(timeout, autojump_clock: MockClock):
    began = trio.current_time()
    await Jobs(hangs, timeout=timeout).run()
    assert trio.current_time() - began == pytest.approx(timeout, abs=0.001)


async def test_a_deadline_that_was_set_for_one_attempt_does_not_meet_the_next(autojump_clock: MockClock):
    async def just_in_time(job: Job) -> object:
        await trio.sleep(0.96)  # its scope has a deadline by now
        return 1

    jobs = Jobs(*[just_in_time] * 5, timeout=1)
    await jobs.run()
    assert jobs.outcomes == [DONE] * 5


async def test_no_timeout_means_none(autojump_clock: MockClock):
    async def takes_minutes(job: Job) -> object:
        await trio.sleep(300)
        return 1

    jobs = Jobs(takes_minutes)
    await jobs.run()
    assert jobs.outcomes == [DONE]


async def test_an_interrupted_attempt_is_followed_by_the_next(autojump_clock: MockClock):
    jobs = Jobs(hangs, quick)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(jobs.run)
        await trio.sleep(1)
        jobs.slot.interrupt(InterruptReason.LEASE_LOST)
    assert jobs.outcomes == [Interrupted(InterruptReason.LEASE_LOST), DONE]


@pytest.mark.parametrize("function", [hangs, cleans_up_badly])
async def test_a_stop_goes_through_and_leaves_one_interrupted(function, autojump_clock: MockClock):
    jobs = Jobs(quick, function, quick)
    with trio.move_on_after(1) as stop:
        await jobs.run()
    assert stop.cancelled_caught
    assert jobs.outcomes == [DONE, Interrupted()]


async def kept_cancellation() -> BaseException:
    """A Cancelled of a scope that has ended."""
    kept: list[BaseException] = []
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.sleep_forever()
        except trio.Cancelled as error:
            kept.append(error)
            raise
    return kept[0]


async def raises_a_kept_one(job: Job) -> object:
    raise await kept_cancellation()


async def raises_it_in_a_group(job: Job) -> object:
    raise BaseExceptionGroup("several", [await kept_cancellation(), ValueError("no")])


@pytest.mark.parametrize("function", [raises_a_kept_one, raises_it_in_a_group])
@pytest.mark.parametrize("timeout", [None, 0.05, 30])
async def test_a_cancellation_that_was_not_asked_for_is_a_failure_of_its_job(function, timeout):
    jobs = Jobs(quick, function, quick, function, waits, timeout=timeout)
    await jobs.run()
    assert [type(outcome) for outcome in jobs.outcomes] == [Complete, Failed, Complete, Failed, Complete]


async def test_a_stop_that_meets_a_kept_cancellation_is_a_stop(autojump_clock: MockClock):
    async def raises_when_stopped(job: Job) -> object:
        error = await kept_cancellation()
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            raise error from None

    jobs = Jobs(raises_when_stopped)
    with trio.move_on_after(1) as stop:
        await jobs.run()
    assert stop.cancelled_caught
    assert jobs.outcomes == [Interrupted()]


async def test_context_variables_end_the_task_and_not_the_slot():
    leak: contextvars.ContextVar[str] = contextvars.ContextVar("leak")

    async def leaks(job: Job) -> object:
        leak.set("x")
        return 1

    async def resets(job: Job) -> object:
        leak.reset(leak.set("x"))
        return 1

    jobs = Jobs(resets, leaks, quick)
    assert await jobs.slot.serve() is True
    assert jobs.outcomes == [DONE] * 2
    context = contextvars.copy_context()
    context.run(leak.set, "y")  # another task, begun with what it is begun with
    assert await jobs.slot.serve() is False
    assert jobs.outcomes == [DONE] * 3


async def test_handlers_that_never_wait_share_the_loop():
    turns = 0

    async def busy(job: Job) -> object:
        until = trio.current_time() + YIELD_SECONDS
        while trio.current_time() < until:
            pass
        return 1

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    jobs = Jobs(*[busy] * 20)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        await jobs.run()
        nursery.cancel_scope.cancel()
    assert turns >= 10


class Incomparable:
    """As an array of numpy: to ask it whether it equals another one raises."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("ambiguous")

    __hash__ = object.__hash__


async def test_context_variables_that_cannot_be_compared_end_the_task_and_not_the_slot():
    variable: contextvars.ContextVar[object] = contextvars.ContextVar("variable")
    variable.set(Incomparable())  # as a module does while it is imported

    async def sets(job: Job) -> object:
        variable.set(Incomparable())
        return 1

    jobs = Jobs(sets, quick)
    assert await jobs.slot.serve() is True
    assert jobs.outcomes == [DONE]


async def test_context_variables_of_a_job_that_was_cut_short_do_not_reach_the_next():
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")

    async def sets(job: Job) -> object:
        variable.set("x")
        await trio.sleep_forever()

    jobs = Jobs(sets, quick, timeout=0.01)
    assert await jobs.slot.serve() is True
    assert jobs.outcomes == [TimedOut(0.01)]


class NeverSplit(BaseExceptionGroup):
    """A group with methods of its own, which do not do what they should."""

    def subgroup(self, *_: object) -> "NeverSplit":  # type: ignore[override]
        return self

    def split(self, *_: object) -> None:  # type: ignore[override]
        raise ValueError("no")


class SplitsInto(NeverSplit):
    def split(self, *_: object) -> None:  # type: ignore[override]
        return None


@pytest.mark.parametrize("kind", [NeverSplit, SplitsInto])
async def test_a_group_that_cannot_be_split_is_a_failure_of_its_job(kind):
    async def raises_it(job: Job) -> object:
        raise kind("odd", [ValueError("x")])

    jobs = Jobs(raises_it, quick)
    assert await jobs.slot.serve() is False
    assert isinstance(jobs.outcomes[0], Failed)
    assert jobs.outcomes[1:] == [DONE]


async def test_a_scope_that_a_handler_leaves_open_does_not_end_the_slot(caplog):
    async def leaves(job: Job) -> object:
        trio.CancelScope().__enter__()  # as an async generator does that is not run to its end
        return 1

    jobs = Jobs(leaves, quick)
    assert await jobs.slot.serve() is False
    assert jobs.outcomes == [DONE, DONE]
    assert "has left a cancel scope open" in caplog.text
