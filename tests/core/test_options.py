"""Options of a job, from a request or a task to the members of a task."""

import json
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workqueue.core.errors import InvalidOption, InvalidTask, RetriesNegative
from workqueue.core.options import (
    DEFAULTS,
    DELAY_SECONDS_MAX,
    EXCLUDED,
    FREE_NAMES,
    MOMENT_MAX,
    NAMES,
    PLAIN_NAMES,
    RETRIES_MAX,
    SENTENCES,
    Chosen,
    JobOptions,
    RequestedOptions,
    TaskOptions,
    are_plain,
    check_options,
    choose_options,
    members,
    options_of,
    read_options,
    until_seconds,
    values_of,
)

LATER = datetime(2100, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
MOMENTS = st.integers(-2_000_000_000_000_000, 200_000_000_000_000_000).map(
    lambda microseconds: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
)


def requested(**values: object) -> Chosen:
    asked = RequestedOptions(**values)  # type: ignore[arg-type]
    options = read_options(asked)
    check_options(options)
    return choose_options(options, asked)


def test_absent_options_are_the_defaults():
    assert requested().options is DEFAULTS
    assert options_of(values_of(TaskOptions())) is DEFAULTS
    assert requested(retries=0).options is DEFAULTS


@pytest.mark.parametrize("retries", [1, RETRIES_MAX])
def test_options_keep_their_values_from_the_request_to_the_task(retries):
    options = requested(retries=retries, timeout=2.5, run_at="2100-01-02T03:04:05.000678Z").options
    assert options == JobOptions(retries, 2.5, LATER)
    assert json.loads(b"{%b}" % members(options)) == {
        "retries": retries, "timeout": 2.5, "run_at": "2100-01-02T03:04:05.000678Z",
    }  # fmt: skip


@given(st.builds(JobOptions, st.integers(0, RETRIES_MAX), st.none() | st.floats(1e-9, 1e300),
                 st.none() | MOMENTS, st.none() | MOMENTS))  # fmt: skip
def test_what_stands_in_a_task_is_read_as_it_was_written(options):
    read = msgspec.json.decode(b"{%b}" % members(options), type=TaskOptions)
    assert options_of(values_of(read)) == options
    assert are_plain([options, DEFAULTS]) == (options == JobOptions(options.retries))


def test_retries_are_bounded_on_both_sides():
    with pytest.raises(InvalidTask, match=f"at most {RETRIES_MAX}"):
        requested(retries=RETRIES_MAX + 1)
    with pytest.raises(RetriesNegative):
        requested(retries=-1)


def test_retries_always_stand_in_a_task():
    assert members(DEFAULTS) == members(JobOptions()) == b'"retries":0'
    assert PLAIN_NAMES == ("retries",)


def test_requests_and_tasks_have_every_option():
    assert set(NAMES) == set(TaskOptions.__struct_fields__)
    relative = {"delay": "run_at", "expires_in": "expires_at"}
    assert {relative.get(name, name) for name in RequestedOptions.__struct_fields__} == set(NAMES)


NO_NUMBERS: tuple[object, ...] = (-1, "3", True, [], {}, 10**400)
NO_MOMENTS: tuple[object, ...] = (
    "", "tomorrow", "2100-01-02", "2100-01-02T03:04:05", 4102444800, True, "9999-12-31T23:59:59-14:00",
)  # fmt: skip
FAULTS: list[tuple[str, object]] = [
    *(("delay", value) for value in (*NO_NUMBERS, -0.001, DELAY_SECONDS_MAX + 1)),
    *((name, value) for name in ("timeout", "expires_in") for value in (*NO_NUMBERS, 0)),
    *(("run_at", value) for value in NO_MOMENTS),
]


@pytest.mark.parametrize(("name", "value"), FAULTS)
def test_what_no_job_can_have_is_told_in_one_sentence(name, value):
    with pytest.raises(InvalidOption) as refused:
        requested(**{name: value})
    assert str(refused.value) == f"{name} is not valid"
    assert str(refused.value) in SENTENCES


def test_a_delay_and_a_time_exclude_each_other():
    with pytest.raises(InvalidOption, match=EXCLUDED):
        requested(delay=3, run_at="2100-01-02T03:04:05Z")


def test_a_delay_is_told_as_a_time_too():
    before = datetime.now(UTC)
    chosen = requested(delay=60)
    assert chosen.delay == 60
    assert chosen.options.run_at is not None
    assert before <= chosen.options.run_at - timedelta(seconds=60) <= datetime.now(UTC)
    assert requested(delay=DELAY_SECONDS_MAX).delay == DELAY_SECONDS_MAX


@pytest.mark.parametrize("values", [{"delay": 0}, {"run_at": "1960-01-01T00:00:00Z"}, {"run_at": None, "delay": None}])
def test_the_past_means_now(values):
    assert requested(**values) == Chosen(DEFAULTS)


def test_times_of_any_offset_are_kept_in_one():
    chosen = requested(run_at="2100-01-02T05:04:05.000678+02:00")
    assert chosen.options.run_at == LATER
    task = TaskOptions(run_at=LATER.astimezone(timezone(timedelta(hours=-7))))
    assert options_of(values_of(task)) == chosen.options
    assert members(options_of(values_of(task))) == members(chosen.options)


def test_what_expires_in_ages_expires_never():
    assert requested(expires_in=1e12).options.expires_at == MOMENT_MAX
    assert requested(expires_in=0.5).options.expires_at is not None


def test_a_task_with_a_time_out_of_range_is_none():
    with pytest.raises(InvalidTask, match="`expires_at`"):
        options_of(values_of(TaskOptions(expires_at=datetime(9999, 12, 31, tzinfo=UTC))))


# --- unique keys


@pytest.mark.parametrize(
    ("until_", "kept", "in_task"),
    [
        ("ended", None, None),
        ("started", "started", "started"),
        (60, "60", 60),
        (0.5, "0.5", 0.5),
        (1e300, "6307200000", 6307200000),
    ],
)
def test_when_a_unique_key_is_free_again(until_, kept, in_task):
    options = requested(unique_key="k", unique_until=until_).options
    assert options.unique_until == kept
    assert until_seconds(options) == (None if kept in (None, "started") else float(kept))
    assert json.loads(b"{%b}" % members(options)).get("unique_until") == in_task
    task = msgspec.json.decode(b"{%b}" % members(options), type=TaskOptions)
    assert options_of(values_of(task)) == options


def test_what_a_unique_key_has_by_default_is_not_written_down():
    options = requested(unique_key="k", unique_until="ended", on_duplicate="keep").options
    assert options == JobOptions(unique_key="k")
    assert members(options) == b'"retries":0,"unique_key":"k"'
    assert not are_plain([options])


def test_without_a_key_the_rest_means_nothing():
    assert requested(unique_until=60, on_duplicate="replace").options == DEFAULTS
    assert options_of(values_of(TaskOptions(unique_until=60.0, on_duplicate="replace"))) is DEFAULTS


@pytest.mark.parametrize(
    "wrong",
    [
        b'{"unique_key":""}',
        b'{"unique_key":"a\\u0000"}',
        b'{"unique_until":0}',
        b'{"unique_until":"60"}',
        b'{"on_duplicate":"x"}',
        b'{"group":""}',
        b'{"group":7}',
    ],
)
def test_a_task_with_a_wrong_value_is_none(wrong):
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(wrong, type=TaskOptions)


def test_statements_of_jobs_without_a_key_take_no_arrays_for_one():
    assert {*NAMES} - {*FREE_NAMES} == {"unique_key", "unique_until", "on_duplicate"}
