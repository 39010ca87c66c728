import pytest
from hypothesis import given
from hypothesis import strategies as st

from workqueue.core.job import RunOutcome
from workqueue.core.outcome import (
    Complete,
    Fail,
    Failed,
    GiveBack,
    Interrupted,
    NotStarted,
    Retry,
    TimedOut,
    decide,
)


@given(failures=st.integers(0, 5), retries=st.integers(0, 5), timed_out=st.booleans())
def test_a_job_fails_at_most_retries_plus_one_times(failures, retries, timed_out):
    outcome = TimedOut(3) if timed_out else Failed("x")
    assert isinstance(decide(outcome, failures=failures, retries=retries), Retry if failures < retries else Fail)


@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [
        (Complete(b"1"), Complete(b"1")),
        (Failed("E: x", "trace", permanent=True), Fail("E: x", RunOutcome.FAILED, "trace")),
        (Failed("E: x", "trace"), Retry("E: x", RunOutcome.FAILED, "trace")),
        (TimedOut(3), Retry("timed out after 3 s", RunOutcome.TIMED_OUT)),
        (Interrupted(), GiveBack(interrupted=True)),
        (NotStarted(500), GiveBack(interrupted=False, delay_ms=500)),
    ],
)
def test_what_follows_from_an_outcome(outcome, verdict):
    assert decide(outcome, failures=0, retries=9) == verdict


def test_interruptions_have_a_bound():
    def again(interruptions: int) -> object:
        return decide(Interrupted(), failures=0, retries=9, interruptions=interruptions, max_interruptions=3)

    assert again(1) == GiveBack(interrupted=True)
    assert again(2) == Fail("interrupted 3 times by the stop of its worker", RunOutcome.INTERRUPTED)


def test_an_interruption_is_no_failure_even_when_no_retry_is_left():
    assert decide(Interrupted(), failures=3, retries=0) == GiveBack(interrupted=True)
