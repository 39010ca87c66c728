from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workqueue.core.errors import PermanentFailure
from workqueue.core.policies import NO_POLICY, Backoff, Discard, Policy, Retry, Snooze, exception_types


class Highest(Random):
    def uniform(self, a: float, b: float) -> float:
        return b


@given(failures=st.integers(1, 10_000), seed=st.integers())
def test_backoff_never_leaves_its_bounds(failures, seed):
    assert 0 <= Backoff(base=2, cap=60).seconds(failures, Random(seed)) <= 60


@pytest.mark.parametrize(("failures", "seconds"), [(1, 2), (2, 4), (5, 32), (6, 60), (310, 60), (10_000, 60)])
def test_backoff_doubles_up_to_the_cap(failures, seconds):
    assert Backoff(base=2, cap=60).seconds(failures, Highest()) == seconds
    assert Backoff(base=2, cap=60, jitter=False).seconds(failures, Random()) == seconds


def test_jitter_is_full():
    waits = [Backoff().seconds(5, Random(seed)) for seed in range(500)]
    assert min(waits) < 1
    assert max(waits) > 15


@pytest.mark.parametrize("values", [{"base": -1}, {"cap": float("inf")}, {"base": float("nan")}, {"cap": "60"}])
def test_a_backoff_out_of_range_is_refused(values):
    with pytest.raises(ValueError, match=f"Backoff.{next(iter(values))}="):
        Backoff(**values)


@pytest.mark.parametrize("seconds", [-1, float("nan"), 1e10, None])
def test_what_a_handler_raises_names_what_is_wrong(seconds):
    with pytest.raises((ValueError, TypeError)):
        Snooze(seconds)
    if seconds is not None:
        with pytest.raises(ValueError, match=r"Retry.after="):
            Retry(after=seconds)


def test_without_a_policy_only_what_says_so_is_permanent():
    assert Discard is PermanentFailure
    assert NO_POLICY.is_permanent(Discard("no"))
    assert not NO_POLICY.is_permanent(ValueError())
    assert not NO_POLICY.is_permanent(ExceptionGroup("two", [Discard("no"), ValueError()]))


def test_retry_on_and_discard_on():
    policy = Policy(retry_on=(OSError,), discard_on=(FileNotFoundError,))
    assert policy.is_permanent(ValueError())
    assert not policy.is_permanent(ConnectionError())
    assert policy.is_permanent(FileNotFoundError())
    assert not policy.is_permanent(Retry())
    assert Policy(discard_on=(ValueError,)).is_permanent(UnicodeError())
    assert not Policy(discard_on=(ValueError,)).is_permanent(OSError())


def test_of_a_group_each_error_counts():
    policy = Policy(retry_on=(OSError,))
    assert policy.is_permanent(ExceptionGroup("two", [ValueError(), KeyError()]))
    assert not policy.is_permanent(ExceptionGroup("two", [ValueError(), ExceptionGroup("deeper", [OSError()])]))


def test_kinds_of_exceptions():
    assert exception_types("x", ValueError) == (ValueError,)
    assert exception_types("x", [ValueError, OSError]) == (ValueError, OSError)
    for wrong in (3, "ValueError", (ValueError, 3), object):
        with pytest.raises(ValueError, match="must be an exception class"):
            exception_types("x", wrong)
