"""What a limit may be, and that a rate with its interval and tolerance is never more than it says, and hardly less."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workqueue.core.errors import InvalidOption
from workqueue.core.limits import (
    PER_SECONDS_MAX,
    RATE_MAX,
    RUNNING_MAX,
    Limit,
    Limits,
    check_scope,
    make_limit,
    read_rate,
)

RATES = st.builds(
    Limit,
    rate=st.integers(1, 500) | st.integers(1, RATE_MAX),
    per_seconds=st.sampled_from([0.001, 0.5, 1.0, 60.0, 3600.0]) | st.floats(0.001, PER_SECONDS_MAX),
)


def starts(limit: Limit, gaps: list[float]) -> list[int]:
    """Microseconds at which jobs start that ask after these gaps, in intervals, where GCRA refuses some: as
    _lanes.lua does it."""
    now, not_before, found = 0, 0, []
    for gap in gaps:
        now += int(gap * limit.interval_us)
        if not_before - now <= limit.tolerance_us:
            not_before = max(now, not_before) + limit.interval_us
            found.append(now)
    return found


def most_within(found: list[int], window_us: float) -> int:
    """The most of them in any time of this length."""
    return max(
        (sum(1 for at in found[first:] if at < found[first] + window_us) for first in range(len(found))), default=0
    )


@given(RATES, st.lists(st.floats(0, 3), max_size=300))
def test_in_no_time_of_its_length_are_there_more_starts_than_a_rate_says(limit: Limit, gaps: list[float]):
    assert most_within(starts(limit, gaps), limit.per_seconds * 1e6) <= (limit.rate or 0)


@given(st.integers(1, 400), st.floats(0.01, 3600), st.floats(0, 500))
def test_under_the_heaviest_load_a_rate_is_reached_and_not_passed(rate: int, per_seconds: float, idle: float):
    """Jobs ask all the time, after a time without any; as many as may at first, then one an interval."""
    limit = Limit(rate=rate, per_seconds=per_seconds)
    found = starts(limit, [idle] + [0.0] * rate + [1.0] * rate + [idle] + [0.0] * rate + [1.0] * rate)
    most = most_within(found, per_seconds * 1e6)
    assert most <= rate
    assert most >= 0.95 * rate


@given(RATES)
def test_in_the_long_run_a_rate_is_used_to_95_percent(limit: Limit):
    assert limit.rate is not None
    period_us = limit.per_seconds * 1e6
    exact = (period_us + limit.tolerance_us) / limit.rate
    assert exact <= limit.interval_us < exact + 1, "the rest of a microsecond is lost"
    assert period_us / exact >= 0.95 * limit.rate
    if limit.rate / limit.per_seconds <= 10_000:
        assert period_us / limit.interval_us >= 0.95 * limit.rate


@given(st.none() | st.integers(1, RUNNING_MAX), RATES)
def test_what_is_valid_is_made_and_read_as_it_was_written(running: int | None, rate: Limit):
    assert make_limit(running, rate.rate, rate.per_seconds) == Limit(running, rate.rate, rate.per_seconds)
    assert make_limit(rate=rate.rate) == Limit(None, rate.rate, 1.0)
    tenths = math.ceil(rate.per_seconds * 10) / 10
    if tenths <= 99_999_999:
        assert read_rate(f"{rate.rate}/{tenths:.1f}s") == (rate.rate, tenths)


NO_RUNNING: list[object] = [0, -1, True, 1.0, "1", [], RUNNING_MAX + 1]
NO_RATE: list[object] = [0, -1, True, 1.0, "1/s", RATE_MAX + 1]
NO_PERIOD: list[object] = [0, -1, 0.0009, True, "1", math.inf, math.nan, PER_SECONDS_MAX + 1]


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({}, "running or rate is required"),
        ({"running": None, "rate": None}, "running or rate is required"),
        *(({"running": each}, "running is not valid") for each in NO_RUNNING),
        *(({"rate": each}, "rate is not valid") for each in NO_RATE),
        *(({"rate": 1, "per_seconds": each}, "per_seconds is not valid") for each in NO_PERIOD),
        ({"per_seconds": 5}, "per_seconds is not valid"),
        ({"running": 1, "per_seconds": 5}, "per_seconds is not valid"),
    ],
)
def test_what_no_limit_can_be_is_named(members: dict[str, object], said: str):
    with pytest.raises(InvalidOption, match=f"^{said}$"):
        make_limit(**members)


@pytest.mark.parametrize(
    ("text", "rate"),
    [("100/60s", (100, 60.0)), ("5/m", (5, 60.0)), ("1000/h", (1000, 3600.0)), ("1/d", (1, 86_400.0)),
     ("3/s", (3, 1.0)), ("1/0.5s", (1, 0.5)), ("2/1.5m", (2, 90.0)), ("7/365d", (7, PER_SECONDS_MAX))],
)  # fmt: skip
def test_a_rate_is_a_number_and_a_time(text: str, rate: tuple[int, float]):
    assert read_rate(text) == rate


@pytest.mark.parametrize(
    "text",
    ["", "5", "5/", "/s", "5/x", "5/60", "0/s", "5/0s", "-5/s", "5/-1s", "5/s ",
     "5 / s", "5.5/s", "5/.s", "5/366d", "٥/s", None, 5, b"5/s"],
)  # fmt: skip
def test_what_is_no_rate_is_refused(text: object):
    with pytest.raises(InvalidOption):
        read_rate(text)


@pytest.mark.parametrize("scope", ["groups", "type:x", "type:a:b/c", "type:größer", "group:acme", "group:" + "x" * 200])
def test_a_scope_is_a_type_or_a_group_or_all_groups(scope: str):
    assert check_scope(scope) == scope


@pytest.mark.parametrize(
    "scope",
    ["", "x", "type", "type:", "group:", "groups:", "groups:x", "queue:x", "Type:x",
     "type:a\0b", "type:" + "x" * 201, "group:" + "x" * 201],
)  # fmt: skip
def test_other_scopes_are_refused(scope: str):
    with pytest.raises(InvalidOption, match=r"^scope is not valid$"):
        check_scope(scope)


def test_a_persons_limit_goes_before_that_of_the_code():
    declared, of = {"type:x": Limit(1), "type:y": Limit(2)}, {"type:x": Limit(3), "groups": Limit(4)}
    assert Limits(1, of, declared).effective == {"type:x": Limit(3), "type:y": Limit(2), "groups": Limit(4)}
