"""Statistics: groups of failures, quantiles, sums."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workqueue.core.stats import (
    BUCKETS_SECONDS,
    ERROR_LENGTH_MAX,
    TypeSums,
    bucket_of,
    group_of,
    no_times,
    quantile,
)


@pytest.mark.parametrize(
    ("error", "group"),
    [
        ("KeyError: 'user'", "KeyError: 'user'"),
        ("Timeout: no answer from 10.0.0.7:5432 after 30.5 s", "Timeout: no answer from <n> after <n> s"),
        ("ValueError: a@b.example is no address", "ValueError: <email> is no address"),
        ("LookupError: job 3f3e9007-44ea-4625-8134-6ce2c9beb264 is gone", "LookupError: job <id> is gone"),
        ("OSError: https://example.com/a?b=1 refused", "OSError: <url> refused"),
        ("OSError: [Errno 2] No such file: '/tmp/x/y.pdf'", "OSError: [Errno <n>] No such file: '<path>'"),
        ("RuntimeError: <object at 0x7f00ab>", "RuntimeError: <object at <hex>>"),
        ("E: digest 9f86d081884c7d659a2feaa0c55ad0151234abcd differs", "E: digest <hex> differs"),
        ("E: first\nTraceback 1", "E: first"),
        ("", ""),
        ("E: and/or either/or", "E: and/or either/or"),
    ],
)
def test_what_differs_from_one_failure_to_the_next_is_taken_out(error: str, group: str):
    assert group_of(error) == group


@given(st.text(), st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_number_alone_never_makes_another_group(text: str, one: int, two: int):
    assert group_of(f"E: {one} {text}") == group_of(f"E: {two} {text}")


@given(st.text(max_size=3000))
def test_a_group_is_short_and_its_own_group(error: str):
    group = group_of(error)
    assert len(group) <= ERROR_LENGTH_MAX
    assert "\n" not in group


def test_a_very_long_error_takes_no_time():
    for error in ("a" * 1_000_000, "1" * 1_000_000, "/a" * 500_000, "a@" * 500_000, "0x" * 500_000):
        group_of(error)


@given(st.lists(st.floats(0, 1800), min_size=1, max_size=200), st.sampled_from([0.5, 0.95]))
def test_a_quantile_lies_in_the_bucket_of_the_true_one(times: list[float], share: float):
    buckets = no_times()
    for seconds in times:
        buckets[bucket_of(seconds)] += 1
    true = sorted(times)[max(0, -int(-share * len(times) // 1) - 1)]
    found = quantile(buckets, share)
    assert found is not None
    place = bucket_of(true)
    low = BUCKETS_SECONDS[place - 1] if place else 0.0
    assert low - 1e-9 <= found <= BUCKETS_SECONDS[place] + 1e-9


def test_without_times_there_is_no_quantile_and_beyond_the_last_bound_it_is_that():
    assert quantile(no_times(), 0.5) is None
    assert quantile([*no_times()[:-1], 3], 0.5) == BUCKETS_SECONDS[-1]


def test_sums_add_up():
    one = TypeSums(1, 2, 3, 4, 5, [1] * 13, [2] * 13)
    one.add(one)
    assert one == TypeSums(2, 4, 6, 8, 10, [2] * 13, [4] * 13)
