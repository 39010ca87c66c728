"""From rows and published descriptions to the JSON of the API, and back from a cursor to a position."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import msgspec
import pytest

from workqueue.services.producer.views import (
    RUNNING_MAX,
    TYPES_MAX,
    read_cursor,
    read_job_id,
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
    view = worker_view(lease, msgspec.json.encode(large), 1.23456)
    assert (len(view.types), len(view.running), view.jobs_done) == (TYPES_MAX, RUNNING_MAX, 3)
    assert (view.id, view.seen_seconds_ago) == (lease, 1.235)
    assert worker_view(lease, b"\xff", timedelta(0).total_seconds()).name == ""
