"""What workers publish of themselves, read with care: any program may write there."""

import msgspec
import pytest

from workqueue.services.published import BYTES_MAX, COUNT_MAX, Published, RunningJob, read_published


def test_a_description_is_read_as_it_was_written():
    said = Published(name="w", host="h", pid=7, concurrency=3, types=["x"], running=[RunningJob("id", "x", 1.5)])
    assert read_published(msgspec.json.encode(said)) == said


def test_members_may_be_absent_or_unknown():
    assert read_published(b'{"pid":7,"of a later version":[1]}') == Published(pid=7)


@pytest.mark.parametrize(
    "text",
    [
        b"", b"no JSON", b"[1]", b"\xff", b'{"pid":-1}', b'{"running":[1]}', b'{"uptime_seconds":1e13}',
        b'{"jobs_done":%d}' % (COUNT_MAX + 1), b'{"types":' + b"[" * 100_000, b'{"name":"%b"}' % (b"x" * BYTES_MAX),
    ],
)  # fmt: skip
def test_what_is_no_description_is_none(text):
    assert read_published(text) is None
