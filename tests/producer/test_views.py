"""From rows and published descriptions to the JSON of the API, and back from a cursor to a position."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import msgspec
import pytest

from workqueue.core.gone import Became, Gone
from workqueue.services.producer.views import (
    RUNNING_MAX,
    TYPES_MAX,
    gone_view,
    read_cursor,
    read_job_id,
    with_asked,
    worker_view,
    write_cursor,
)
from workqueue.services.published import Published, RunningJob


@pytest.mark.parametrize("moment", ["1969-12-31T23:59:59.999999", "2026-11-28T12:00:00.000001", "9999-01-01T00:00:00"])
def test_a_cursor_is_the_position_of_its_row(moment):
    place = datetime.fromisoformat(moment).replace(tzinfo=UTC), uuid4()
    assert read_cursor(write_cursor(place)) == place


@pytest.mark.parametrize("text", ["x", "", "\u2603", "A" * 31, "A" * 36, "f_" + "_" * 30])
def test_another_text_is_no_cursor(text):
    assert read_cursor(text) is None


@pytest.mark.parametrize("text", ["{%s}", "urn:uuid:%s", " %s", "%s\n", "x"])
def test_a_job_id_is_a_uuid_as_we_write_it(text):
    job_id = uuid4()
    assert read_job_id(str(job_id)) == read_job_id(str(job_id).upper()) == job_id
    assert read_job_id(text.replace("%s", str(job_id))) is None
    assert read_job_id(job_id.hex) is None


def test_what_a_worker_publishes_is_bounded_and_may_be_anything():
    lease = UUID(int=1)
    large = Published(types=["t"] * (TYPES_MAX + 1), running=[RunningJob()] * (RUNNING_MAX + 1), jobs_done=3)
    view = worker_view(lease, msgspec.json.encode(large), 1.23456, lease_seconds=15)
    assert (len(view.types), len(view.running), view.jobs_done) == (TYPES_MAX, RUNNING_MAX, 3)
    assert (view.id, view.seen_seconds_ago) == (lease, 1.235)
    assert worker_view(lease, b"\xff", timedelta(0).total_seconds(), lease_seconds=15).name == ""


@pytest.mark.parametrize(
    ("published", "seen", "state"),
    [
        ({"state": "quiet"}, 1, "quiet"),
        ({"state": "of a later release"}, 1, "working"),
        ({}, 14, "working"),
        ({}, 16, "silent"),
        ({"lease_seconds": 60, "state": "stopping"}, 16, "stopping"),
        ({"lease_seconds": 60, "state": "stopping"}, 61, "silent"),
    ],
)
def test_a_worker_is_in_the_state_that_it_names_unless_it_is_silent(published, seen, state):
    view = worker_view(UUID(int=1), msgspec.json.encode(published), seen, lease_seconds=15)
    assert (view.state, view.asked, view.ended_at, view.became) == (state, None, None, None)


@pytest.mark.parametrize(
    ("state", "wish", "asked"),
    [
        ("working", None, None), ("working", "quiet", "quiet"), ("quiet", "quiet", None), ("stopping", "quiet", None),
        ("quiet", "resume", "resume"), ("working", "resume", None), ("quiet", "stop", "stop"),
        ("stopping", "stop", None), ("working", "of a later release", None), ("silent", "stop", "stop"),
    ],
)  # fmt: skip
def test_what_a_worker_was_asked_is_shown_until_it_does_so(state, wish, asked):
    view = worker_view(UUID(int=1), b"{}", 1, lease_seconds=15)
    assert with_asked(msgspec.structs.replace(view, state=state), wish).asked == asked


def test_a_worker_that_is_gone_is_shown_for_an_hour_without_what_it_ran():
    ended_at = datetime(2026, 1, 1, tzinfo=UTC)
    published = msgspec.json.encode(Published(name="w", running=[RunningJob()], jobs_done=7, state="quiet")).decode()
    for is_clean, state in ((True, "stopped"), (False, "gone")):
        gone = Gone(UUID(int=1), is_clean, Became(1, 2, 3), published)
        view = gone_view(ended_at, gone, ended_at.timestamp() + 3599)
        assert view is not None
        assert (view.name, view.running, view.jobs_done, view.state) == ("w", [], 7, state)
        assert (view.seen_seconds_ago, view.ended_at, view.became) == (3599, ended_at, Became(1, 2, 3))
        assert gone_view(ended_at, gone, ended_at.timestamp() + 3601) is None
        assert (gone_view(ended_at, Gone(UUID(int=1)), ended_at.timestamp() - 5) or view).seen_seconds_ago == 0
