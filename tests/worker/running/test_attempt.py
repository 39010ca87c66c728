import functools
import gc
import sys
import threading
import traceback

import pytest
import trio
from trio.testing import MockClock

from tests.support.attempts import OneAttempt
from workqueue.core.errors import CannotStart, PermanentFailure
from workqueue.core.handlers import Handler
from workqueue.core.job import Job, Standalone
from workqueue.core.outcome import Complete, Failed, Interrupted, NotStarted, TimedOut
from workqueue.services.worker.running.attempt import RESULT_BYTES_MAX, TRACEBACK_LENGTH_MAX, failed
from workqueue.services.worker.running.slot import InterruptReason


def attempt(function, *, timeout: float | None = 5, is_async: bool = True) -> OneAttempt:
    job = Job(id="1", type="x", payload={"n": 1}, attempt=1, retries=0, context=Standalone(keeps_artifacts=True))
    return OneAttempt(Handler("x", function, is_async, timeout), job)


async def returns(job: Job) -> object:
    job.attach("a", b"1")
    return {"n": job.payload["n"]}


async def raises(job: Job) -> object:
    raise ValueError("no width")


async def exits(job: Job) -> object:
    sys.exit(3)


async def interrupts(job: Job) -> object:
    raise KeyboardInterrupt


async def hangs(job: Job) -> object:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
    return None


async def child_fails(job: Job) -> object:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(raises, job)
    return None


async def fails_while_cleaning_up(job: Job) -> object:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        nursery.start_soon(_cleans_up_badly)
    return None


async def _cleans_up_badly() -> None:
    try:
        await trio.sleep_forever()
    finally:
        raise ValueError("in cleanup")


async def group_of_exits(job: Job) -> object:
    raise BaseExceptionGroup("many", [SystemExit(1), ValueError("x")])


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("I have no words")


async def unspeakable(job: Job) -> object:
    raise Unspeakable


async def swallows_its_timeout(job: Job) -> object:
    try:
        await trio.sleep_forever()
    except trio.Cancelled:
        return "done all the same"
    return None


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (returns, Complete),
        (raises, Failed),
        (exits, Failed),
        (interrupts, Failed),
        (child_fails, Failed),
        (hangs, TimedOut),
        (fails_while_cleaning_up, Failed),
        (group_of_exits, Failed),
        (unspeakable, Failed),
        (swallows_its_timeout, Complete),
    ],
)
async def test_whatever_a_handler_does_becomes_an_outcome(function, kind, autojump_clock: MockClock):
    assert isinstance(await attempt(function).run(), kind)


@pytest.mark.parametrize("function", [hangs, fails_while_cleaning_up])
async def test_shutdown_goes_through_a_handler_and_harms_nobody_else(function, autojump_clock: MockClock):
    with trio.move_on_after(1) as shutdown:
        await attempt(function).run()
    assert shutdown.cancelled_caught


async def test_who_is_interrupted_says_so_and_its_children_have_ended(autojump_clock: MockClock):
    ended = trio.Event()

    async def with_child(job: Job) -> object:
        async def child() -> None:
            try:
                await trio.sleep_forever()
            finally:
                ended.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
        return None

    run = attempt(with_child, timeout=None)
    tell, told = run.slot._ended, []

    def note(*arguments) -> None:
        told.append(ended.is_set())
        tell(*arguments)

    run.slot._ended = note
    async with trio.open_nursery() as nursery:

        async def interrupt() -> None:
            await trio.sleep(1)
            run.slot.interrupt(InterruptReason.LEASE_LOST)

        nursery.start_soon(interrupt)
        assert await run.run() == Interrupted("its worker lost its lease")
    assert told == [True], "before it is told that it has ended: from then on its job may run elsewhere"


async def test_the_result_and_the_artifacts_come_along():
    outcome = await attempt(returns).run()
    assert isinstance(outcome, Complete)
    assert outcome.result == b'{"n":1}'
    assert [artifact.name for artifact in outcome.artifacts] == ["a"]


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (object(), "the result is no JSON value"),
        ("\ud800", "the result is no JSON value"),
        ("x" * RESULT_BYTES_MAX, f"at most {RESULT_BYTES_MAX} are kept"),
    ],
)
async def test_a_result_that_cannot_be_kept_is_a_failure_for_good(result, said):
    async def function(job: Job) -> object:
        return result

    outcome = await attempt(function).run()
    assert isinstance(outcome, Failed)
    assert outcome.permanent
    assert said in outcome.error


async def test_an_error_is_told_with_its_class_and_the_frames_of_the_handler():
    outcome = await attempt(raises).run()
    assert isinstance(outcome, Failed)
    assert outcome.error == "ValueError: no width"
    assert outcome.traceback is not None
    assert outcome.traceback.count("File ") == 1, outcome.traceback
    assert "in raises" in outcome.traceback


async def test_our_own_errors_are_told_by_their_text_alone_and_may_be_for_good():
    async def function(job: Job) -> object:
        raise PermanentFailure("payload.width: missing")

    outcome = await attempt(function).run()
    assert isinstance(outcome, Failed)
    assert (outcome.error, outcome.permanent) == ("payload.width: missing", True)
    assert outcome.traceback is None, "a user's mistake has no traceback"


def test_a_traceback_of_ten_megabytes_is_cut():
    try:
        raise ValueError("x" * 10_000_000)
    except ValueError as error:
        outcome = failed(error)
    assert outcome.traceback is not None
    assert len(outcome.traceback) <= TRACEBACK_LENGTH_MAX
    assert len(outcome.error) <= 4096
    assert traceback  # the whole one would have been longer


async def test_an_error_in_a_thread_shows_only_the_frames_of_the_handler():
    def function(job: Job) -> object:
        raise ValueError("no width")

    outcome = await attempt(function, is_async=False).run()
    assert isinstance(outcome, Failed)
    assert outcome.traceback is not None
    assert outcome.traceback.count("File ") == 1, outcome.traceback


async def test_a_plain_function_runs_in_a_thread():
    def function(job: Job) -> object:
        assert threading.current_thread() is not threading.main_thread()
        return job.id

    run = attempt(function, is_async=False)
    outcome = await run.run()
    assert isinstance(outcome, Complete)
    assert outcome.result == b'"1"'
    assert run.thread is None, "it has ended with its attempt"


async def test_sys_exit_in_a_thread_is_a_failure():
    def function(job: Job) -> object:
        sys.exit(1)

    assert isinstance(await attempt(function, is_async=False).run(), Failed)


async def test_a_thread_that_takes_too_long_fails_its_job_and_says_when_it_ends():
    released = threading.Event()

    def function(job: Job) -> object:
        released.wait(10)
        return None

    run = attempt(function, timeout=0.05, is_async=False)
    assert await run.run() == TimedOut(0.05)
    assert run.thread is not None
    assert not run.thread.is_set()
    released.set()
    with trio.fail_after(5):
        await run.thread.wait()


async def test_a_plain_function_whose_worker_ends_before_it_starts_leaves_no_thread():
    def function(job: Job) -> object:
        raise AssertionError("it must not run")

    run = attempt(function, is_async=False)
    with trio.CancelScope() as stop:
        stop.cancel()
        await run.run()
    assert run.outcome in (Interrupted(), None)
    assert run.thread is None


# --- coroutines behind plain functions


async def waits_a_little(job: Job) -> object:
    await trio.sleep(0.01)
    return threading.current_thread() is threading.main_thread()


@functools.wraps(waits_a_little)
def wrapped(job: Job) -> object:
    return waits_a_little(job)


@pytest.mark.parametrize("function", [wrapped, lambda job: waits_a_little(job)])
async def test_a_coroutine_that_a_plain_function_returns_is_awaited(function):
    assert await attempt(function, is_async=False).run() == Complete(b"true")


async def test_such_a_coroutine_has_its_timeout():
    outcome = await attempt(lambda job: hangs(job), timeout=0.5, is_async=False).run()
    assert outcome == TimedOut(0.5)


async def test_such_a_coroutine_that_comes_too_late_is_closed():
    may_return, returned = threading.Event(), threading.Event()

    def late(job: Job) -> object:
        may_return.wait(10)
        try:
            return hangs(job)
        finally:
            returned.set()

    one = attempt(late, timeout=0.1, is_async=False)
    assert await one.run() == TimedOut(0.1)
    may_return.set()
    assert one.thread is not None
    await one.thread.wait()
    gc.collect()  # a coroutine that was never awaited would be a warning, and so an error


# --- exceptions that do not let themselves be shown


class Traceless(ValueError):
    @property
    def __traceback__(self):  # type: ignore[override]
        raise RuntimeError("no traceback")


class Bottomless(ValueError):
    @property
    def __traceback__(self):  # type: ignore[override]
        return self

    tb_frame = tb_next = property(lambda self: self)


class Wordless(ValueError):
    def __str__(self):
        raise SystemExit(3)


class Itself(ValueError):
    def __str__(self):
        raise self


class Shapeless(ValueError):
    @property  # type: ignore[misc]
    def __class__(self):
        raise KeyboardInterrupt


class Text(str):
    def __getitem__(self, key):
        raise OSError("no part")

    def __len__(self):
        raise OSError("no length")

    def __bool__(self):
        raise OSError("no truth")


class Odd(ValueError):
    def __str__(self):
        return Text("odd")


class Unnamed(ValueError):
    __notes__ = property(lambda self: [][0])


class Broken(ExceptionGroup):
    def split(self, condition):
        raise RuntimeError("no parts")

    subgroup = derive = split


def broken_group() -> Broken:
    return Broken("several", [ValueError("x")])


HOSTILE = [Traceless, Wordless, Itself, Shapeless, Odd, Unnamed, broken_group]


@pytest.mark.parametrize("make", HOSTILE)
@pytest.mark.parametrize("is_async", [True, False])
async def test_an_exception_that_cannot_be_shown_is_a_failure(make, is_async):
    async def raises_it(job: Job) -> object:
        raise make()

    def raises_it_in_a_thread(job: Job) -> object:
        raise make()

    with trio.fail_after(10):
        outcome = await attempt(raises_it if is_async else raises_it_in_a_thread, is_async=is_async).run()
    assert isinstance(outcome, Failed)
    assert outcome.error
    assert type(outcome.error) is str


@pytest.mark.parametrize("make", HOSTILE)
def test_a_failure_is_told_whatever_its_exception_does(make):
    assert isinstance(failed(make()), Failed)


class Shifty(dict):
    def items(self):
        raise KeyboardInterrupt

    def __iter__(self):
        raise MemoryError


@pytest.mark.parametrize(
    "result",
    [Shifty(a=1), float("nan"), 1 << 100, {1: {2}}, object(), "\ud800", [[]] * 3, b"x", iter([]), {"a": Wordless}],
)
async def test_a_result_is_kept_or_a_failure(result):
    async def returns_it(job: Job) -> object:
        return result

    with trio.fail_after(10):
        assert isinstance(await attempt(returns_it).run(), Complete | Failed)


async def test_a_thread_that_cannot_be_had_is_no_run(monkeypatch):
    def no_thread(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("trio._threads.start_thread_soon", no_thread)
    outcome = await attempt(lambda job: 1, is_async=False).run()
    assert outcome == NotStarted(1000, "can't start new thread")


async def test_a_handler_that_says_so_itself_has_failed():
    def as_if(job: Job) -> object:
        raise RuntimeError("can't start new thread")

    assert isinstance(await attempt(as_if, is_async=False).run(), Failed)


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_users_handler_that_raises_our_own_sign_of_it_has_failed(is_async):
    """It would go back uncounted each time, for ever."""

    def as_if(job: Job) -> object:
        raise CannotStart("no")

    async def as_if_async(job: Job) -> object:
        raise CannotStart("no")

    assert await attempt(as_if_async if is_async else as_if, is_async=is_async).run() == Failed("no")
