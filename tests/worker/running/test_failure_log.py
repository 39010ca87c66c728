"""Failures in the log: few lines, each traceback seldom, and no failure that is not counted."""

import logging

import trio
from trio.testing import MockClock

from tests.worker.claimed import claimed_task
from workqueue.core.job import RunOutcome
from workqueue.core.outcome import Fail
from workqueue.services.worker.running.failure_log import LINES_MAX, TRACEBACK_SECONDS, FailureLog

FRAMES = 'Traceback (most recent call last):\n  File "handlers.py", line 7, in handle\n    raise ValueError(n)\n'


def tell(failures: FailureLog, *, job_type: str = "x", traceback: str | None = None, error: str = "broken") -> None:
    fail = Fail(error, RunOutcome.FAILED, traceback)
    failures.tell(logging.ERROR, "failed", claimed_task(1, job_type), fail)


async def test_failures_beyond_the_lines_of_a_second_are_counted(autojump_clock: MockClock, caplog):
    failures = FailureLog()
    for _ in range(LINES_MAX + 30):
        tell(failures)
    assert len(caplog.messages) == LINES_MAX
    failures.tell_rest()
    assert len(caplog.messages) == LINES_MAX, "the second has not passed"
    await trio.sleep(1.5)
    failures.tell_rest()
    assert caplog.messages[LINES_MAX:] == ["30 more failures in 1.5 s are not shown one by one"]
    tell(failures)
    failures.tell_rest(at_once=True)
    assert len(caplog.messages) == LINES_MAX + 2, "the next second has lines of its own, and left none out"


async def test_a_worker_that_ends_tells_the_rest_at_once(autojump_clock: MockClock, caplog):
    failures = FailureLog()
    for _ in range(LINES_MAX + 1):
        tell(failures)
    failures.tell_rest(at_once=True)
    assert caplog.messages[-1].startswith("1 more failures in 0.0 s")


async def test_the_same_frames_are_shown_once_a_minute_whatever_the_error_says(autojump_clock: MockClock, caplog):
    failures = FailureLog()

    def shown() -> list[bool]:
        return [getattr(record, "traceback", None) is not None for record in caplog.records]

    for number in range(3):
        tell(failures, traceback=f"{FRAMES}ValueError: {number}")
    assert shown() == [True, False, False]
    tell(failures, traceback=f"{FRAMES}ValueError: 1", job_type="another")
    tell(failures, traceback=FRAMES.replace("line 7", "line 8"))
    assert shown()[3:] == [True, True]
    await trio.sleep(TRACEBACK_SECONDS + 1)
    tell(failures, traceback=f"{FRAMES}ValueError: 1")
    assert shown()[5:] == [True]


async def test_a_long_error_is_cut(autojump_clock: MockClock, caplog):
    tell(FailureLog(), error="x" * 10_000)
    assert len(caplog.messages[0]) < 700
