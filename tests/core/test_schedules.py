"""Definitions of schedules, and when they are due."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import Raw

from workqueue.core.errors import InvalidOption
from workqueue.core.options import JobOptions
from workqueue.core.schedules import (
    ALIASES,
    SENTENCES,
    Missed,
    Overlap,
    Plan,
    first_time,
    job_options,
    make_schedule,
    next_times,
    plan,
)

BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
MOMENTS = st.integers(0, 3 * 365 * 86_400).map(lambda seconds: at("2025-01-01T00:00") + timedelta(seconds=seconds))


def cron(text: str, tz: str = "UTC", **members: object):
    return make_schedule("s", {"cron": text, "tz": tz, "type": "x", **members})


def every(seconds: float, **members: object):
    return make_schedule("s", {"every": seconds, "type": "x", **members})


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def times(schedule, after: str, count: int) -> list[str]:
    zone = ZoneInfo(schedule.tz)
    return [each.astimezone(zone).isoformat() for each in next_times(schedule, at(after), count)]


def test_the_times_of_an_expression():
    assert times(cron("*/5 * * * *"), "2026-06-01T12:00:00+00:00", 2) == [
        "2026-06-01T12:05:00+00:00",
        "2026-06-01T12:10:00+00:00",
    ]
    assert times(cron("0 9 * * mon-fri", "Europe/Berlin"), "2026-06-05T09:00:00+02:00", 2) == [
        "2026-06-08T09:00:00+02:00",
        "2026-06-09T09:00:00+02:00",
    ]
    assert times(cron("@hourly"), "2026-06-01T12:00:00.5+00:00", 1) == ["2026-06-01T13:00:00+00:00"]
    assert times(cron("0 0 29 2 *"), "2026-06-01T12:00:00+00:00", 1) == ["2028-02-29T00:00:00+00:00"]


def test_all_aliases_can_be_read():
    for alias in (*ALIASES, "@Daily"):
        assert len(next_times(cron(alias), NOON, 5)) == 5


def test_a_fixed_time_in_the_gap_of_spring_comes_right_after_it():
    # On 29 March 2026 the clocks of Berlin go from 02:00 to 03:00.
    assert times(cron("30 2 * * *", "Europe/Berlin"), "2026-03-28T02:30:00+01:00", 2) == [
        "2026-03-29T03:00:00+02:00",
        "2026-03-30T02:30:00+02:00",
    ]
    assert times(cron("0,30 2 * * *", "Europe/Berlin"), "2026-03-28T02:30:00+01:00", 2) == [
        "2026-03-29T03:00:00+02:00",  # once for both
        "2026-03-30T02:00:00+02:00",
    ]


def test_a_fixed_time_that_comes_twice_in_autumn_is_due_once():
    # On 25 October 2026 the clocks of Berlin go from 03:00 to 02:00.
    schedule = cron("30 2 * * *", "Europe/Berlin")
    expected = ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]
    assert times(schedule, "2026-10-24T02:30:00+02:00", 2) == expected
    # Asked within the second of the two hours, too: cronsim alone would answer with a time that has passed.
    assert times(schedule, "2026-10-25T02:10:00+01:00", 1) == expected[1:]
    assert times(schedule, "2026-10-25T02:40:00+01:00", 1) == expected[1:]


@pytest.mark.parametrize(("day", "runs"), [("2026-03-29", 23), ("2026-10-25", 25)])
def test_an_expression_with_a_star_follows_the_clock(day: str, runs: int):
    start = datetime.fromisoformat(day).replace(tzinfo=BERLIN)
    found = next_times(cron("0 * * * *", "Europe/Berlin"), start - timedelta(seconds=1), 30)
    assert sum(each.astimezone(BERLIN).date() == start.date() for each in found) == runs
    assert {b - a for a, b in pairwise(found)} == {timedelta(hours=1)}


def test_every_is_time_that_passes_whatever_the_clocks_do():
    anchor = at("2026-03-28T12:00:00+01:00")
    day = make_schedule("s", {"every": 86_400, "tz": "Europe/Berlin", "type": "x"})
    assert [each.astimezone(BERLIN).hour for each in next_times(day, anchor, 3)] == [13, 13, 13]
    assert next_times(every(30), NOON + timedelta(seconds=70), 2, anchor=NOON) == [
        NOON + timedelta(seconds=90),
        NOON + timedelta(seconds=120),
    ]


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["30 2 * * *", "0,30 2,3 * * *", "*/7 * * * *", "15 */2 * * *", "5 1-4 * * sun", "0 0 * * *"]),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "UTC"]),
    MOMENTS,
)
@example("30 2 * * *", "Europe/Berlin", at("2026-10-25T01:10"))
@example("0 0 * * *", "Africa/Cairo", at("2026-04-23T20:00"))
def test_times_rise_and_a_restart_in_the_middle_changes_none(text: str, tz: str, start: datetime):
    """A worker computes each time from the one before; another one may have computed that."""
    schedule, after = cron(text, tz), start.replace(tzinfo=UTC)
    at_once = next_times(schedule, after, 6)
    one_by_one: list[datetime] = []
    for _ in range(6):
        one_by_one += next_times(schedule, one_by_one[-1] if one_by_one else after, 1)
    assert at_once == one_by_one
    assert all(a < b for a, b in pairwise([after, *at_once]))


def test_an_expression_that_ends_has_no_more_times():
    assert next_times(cron("0 0 1 1 *"), datetime(9998, 6, 1, tzinfo=UTC), 5) == [datetime(9999, 1, 1, tzinfo=UTC)]
    assert len(next_times(every(300_000_000), datetime(9998, 1, 1, tzinfo=UTC), 5)) == 0
    with pytest.raises(InvalidOption, match="cron is not valid"):
        first_time(cron("0 0 1 1 *"), datetime(9999, 6, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "x",
        "@reboot", "@never", "*/0 * * * *", "5-1 * * * *", "0 0 31 2 *", "* * */20 * 1L", "* * * * MON#1/2",
        "٣ * * * *", "1" * 5000 + " * * * *", "* * * * *" + " " * 300, 5, ["* * * * *"], True, "* * * * \0",
    ],
)  # fmt: skip
def test_what_is_no_expression_is_refused(text: object):
    with pytest.raises(InvalidOption, match=r"^cron is not valid$"):
        make_schedule("s", {"cron": text, "type": "x"})


@settings(max_examples=500, deadline=None)
@given(st.text("0123456789*/,-#LW MONSATJAN@", max_size=30))
def test_no_text_makes_anything_but_a_schedule_or_our_error(text: str):
    try:
        schedule = cron(text)
    except InvalidOption:
        return
    assert len(next_times(schedule, NOON, 2)) >= 1


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"type": "x"}, "cron or every is required"),
        ({"cron": "* * * * *", "every": 5}, "cron and every exclude each other"),
        ({"every": 0.5}, "every is not valid"),
        ({"every": float("nan")}, "every is not valid"),
        ({"every": float("inf")}, "every is not valid"),
        ({"every": True}, "every is not valid"),
        ({"every": "30"}, "every is not valid"),
        ({"tz": "Europe/Nowhere"}, "tz is not valid"),
        ({"tz": "../../etc/passwd"}, "tz is not valid"),
        ({"tz": "/etc/localtime"}, "tz is not valid"),
        ({"tz": "localtime"}, "tz is not valid"),
        ({"tz": "Europe"}, "tz is not valid"),
        ({"tz": ""}, "tz is not valid"),
        ({"tz": "a\0"}, "tz is not valid"),
        ({"tz": 5}, "tz is not valid"),
        ({"type": ""}, "type is required"),
        ({"type": None}, "type is required"),
        ({"type": 5}, "type is not valid"),
        ({"type": "x" * 201}, "type is not valid"),
        ({"type": "\ud800"}, "type is not valid"),
        ({"payload": []}, "payload is not valid"),
        ({"payload": object()}, "payload is not valid"),
        ({"payload": Raw(b'{"a":' * 600 + b"1" + b"}" * 600)}, "payload is not valid"),
        ({"missed": "never"}, "missed is not valid"),
        ({"overlap": 5}, "overlap is not valid"),
        ({"jitter": -1}, "jitter is not valid"),
        ({"jitter": 86_401}, "jitter is not valid"),
        ({"retries": -1}, "retries cannot be negative"),
        ({"retries": 1.5}, "retries is not valid"),
        ({"retries": 1_000_001}, "retries is not valid"),
        ({"queue": "a b"}, "queue is not valid"),
        ({"timeout": 0}, "timeout is not valid"),
        ({"expires_in": "soon"}, "expires_in is not valid"),
    ],
)
def test_each_fault_has_a_sentence(members: dict[str, object], said: str):
    given = {"every": 60, "type": "x"} | members
    if "cron" in members or members == {"type": "x"}:
        given = members
    with pytest.raises(InvalidOption) as caught:
        make_schedule("s", given)
    assert str(caught.value) == said
    assert said in SENTENCES


@pytest.mark.parametrize("name", ["", "a/b", "a\n", "a" * 201, ".", "..", "\ud800", 5, None])
def test_a_name_is_a_segment_of_a_path(name: object):
    with pytest.raises(InvalidOption, match=r"^name is not valid$"):
        make_schedule(name, {"every": 60, "type": "x"})
    assert make_schedule("Jeden Tag: ü.1", {"every": 60, "type": "x"}).name == "Jeden Tag: ü.1"


def test_a_definition_is_kept_as_it_was_meant():
    schedule = cron(" 0  9 * * MON ", "Europe/Berlin", payload=Raw(b'{"a": 1e999}'), retries=3, queue="mail",
                    timeout=5, missed="all", overlap="wait", jitter=2)  # fmt: skip
    assert (schedule.cron, schedule.payload) == ("0 9 * * MON", '{"a": 1e999}')
    assert (schedule.missed, schedule.overlap, schedule.jitter) == (Missed.ALL, Overlap.WAIT, 2.0)
    assert job_options(schedule) == JobOptions(retries=3, queue="mail", timeout=5)
    assert make_schedule("s", {"every": 60, "type": "x", "payload": Raw(b"null"), "tz": None}).payload == "{}"


def test_when_its_options_expire_is_counted_from_each_job():
    expires_at = job_options(every(60, expires_in=90)).expires_at
    assert expires_at is not None
    assert 85 < (expires_at - datetime.now(UTC)).total_seconds() <= 90


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)


@pytest.mark.parametrize("schedule", [every(60), cron("* * * * *")], ids=["every", "cron"])
def test_in_time_there_is_one_job_whatever_the_policy(schedule):
    now = NOON + timedelta(seconds=20)
    assert plan(schedule, NOON, now, room=10) == Plan([NOON], NOON + minutes(1))


@pytest.mark.parametrize("make", [lambda **more: every(60, **more), lambda **more: cron("* * * * *", **more)])
def test_times_that_were_missed(make):
    now = NOON + minutes(10) + timedelta(seconds=70)
    after = NOON + minutes(12)
    assert plan(make(missed="once"), NOON, now, room=9) == Plan([NOON + minutes(11)], after)
    assert plan(make(missed="skip"), NOON, now, room=9) == Plan([NOON + minutes(11)], after)  # it is 10 s late
    several = plan(make(missed="all"), NOON, now, room=9)
    assert several == Plan([NOON + minutes(n) for n in range(9)], NOON + minutes(9))
    rest = plan(make(missed="all"), NOON + minutes(9), now, room=9)
    assert rest == Plan([NOON + minutes(n) for n in (9, 10, 11)], after)
    assert plan(make(missed="all", overlap="wait"), NOON, now, room=9) == Plan([NOON], NOON + minutes(1))
    assert plan(make(missed="all", overlap="skip"), NOON, now, room=9) == Plan([NOON + minutes(11)], after)


def test_what_is_late_is_skipped_where_that_is_wanted():
    now = NOON + minutes(70)
    hourly = {"missed": "skip"}
    assert plan(cron("0 * * * *", **hourly), NOON, now, room=9) == Plan([], NOON + minutes(120))
    assert plan(cron("0 * * * *", **hourly), NOON + minutes(60), now, room=9) == Plan([], NOON + minutes(120))
    assert plan(every(3600, **hourly), NOON, now, room=9) == Plan([], NOON + minutes(120))
    assert plan(cron("0 * * * *"), NOON, now, room=9) == Plan([NOON + minutes(60)], NOON + minutes(120))


def test_years_that_were_missed_are_not_walked_through():
    now = NOON + timedelta(days=20 * 365)
    found = plan(cron("* * * * *", "Europe/Berlin"), NOON, now, room=9)
    assert found == Plan([now], now + minutes(1))


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["30 2 * * *", "0,30 2,3 * * *", "*/7 * * * *", "15 */2 * * *"]),
    st.sampled_from(["Europe/Berlin", "Australia/Lord_Howe", "Africa/Cairo"]),
    MOMENTS,
    st.integers(0, 5 * 86_400),
    st.sampled_from(Missed),
)
def test_a_plan_leaves_the_times_to_come_as_they_are(text, tz, start, seconds, missed):
    """Whatever was missed, what follows is the first time after now, and no job is for a time that was no due time."""
    schedule = cron(text, tz, missed=missed)
    [due] = next_times(schedule, start.replace(tzinfo=UTC), 1)
    now = due + timedelta(seconds=seconds)
    found = plan(schedule, due, now, room=10_000)
    assert found.next_at == next_times(schedule, now, 1)[0]
    between = [due, *(each for each in next_times(schedule, due, 2000) if each <= now)]
    assert set(found.dues) <= set(between)
    if missed is Missed.ALL:
        assert found.dues == between
    if missed is Missed.ONCE:
        assert found.dues == between[-1:]
