from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workqueue.core.retry import RetryPolicy, backoff


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
