from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workqueue.core.retry import Pauses, RetryPolicy, backoff


class Highest(Random):
    def uniform(self, a: float, b: float) -> float:
        return b


@given(failures=st.integers(1, 10_000), seed=st.integers())
def test_backoff_never_leaves_its_bounds(failures, seed):
    assert 0 <= backoff(failures, RetryPolicy(base_seconds=2, cap_seconds=60), Random(seed)) <= 60


@pytest.mark.parametrize(("failures", "seconds"), [(1, 2), (2, 4), (5, 32), (6, 60), (310, 60), (10_000, 60)])
def test_backoff_doubles_up_to_the_cap(failures, seconds):
    assert backoff(failures, RetryPolicy(base_seconds=2, cap_seconds=60), Highest()) == seconds


def test_jitter_is_full():
    waits = [backoff(5, RetryPolicy(), Random(seed)) for seed in range(500)]
    assert min(waits) < 1
    assert max(waits) > 15


def test_pauses_double_up_to_a_cap_until_they_are_reset():
    pauses = Pauses(0.5, 3)
    assert [pauses.next() for _ in range(5)] == [0.5, 1, 2, 3, 3]
    pauses.reset()
    assert [pauses.next() for _ in range(2)] == [0.5, 1]


def test_the_jitter_of_a_pause_takes_its_share_and_never_adds():
    pauses = Pauses(1, 1, jitter=0.5, random=Random(7))
    drawn = [pauses.next() for _ in range(500)]
    assert all(0.5 <= pause <= 1 for pause in drawn)
    assert min(drawn) < 0.55
    assert max(drawn) > 0.95
