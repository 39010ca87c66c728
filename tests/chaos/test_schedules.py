"""Due times that are missing, or that have made two jobs, are named."""

from datetime import UTC, datetime, timedelta

from workqueue.services.chaos.schedules import judge_due_times

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def times(*seconds: int, twice: int | None = None) -> list[tuple[datetime, int]]:
    return [(BEGIN + timedelta(seconds=each), 2 if each == twice else 1) for each in seconds]


def test_each_due_time_with_one_job_is_well():
    assert judge_due_times(times(0, 1, 2, 3)) == []


def test_a_gap_and_a_due_time_that_fired_twice_are_named():
    [gap] = judge_due_times(times(0, 1, 3))
    assert "00:00:01" in gap
    assert "00:00:03" in gap
    [twice] = judge_due_times(times(0, 1, 2, twice=1))
    assert "has 2 jobs" in twice


def test_a_schedule_that_never_fired_is_named():
    assert judge_due_times([]) == ["chaos.tick has never made a job"]
