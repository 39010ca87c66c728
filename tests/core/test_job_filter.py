"""The filter as clients send it."""

import json
from datetime import UTC, datetime

import msgspec
import pytest

from workqueue.core.job_filter import ERROR_LENGTH_MAX, IDS_MAX, JobFilter, StatusFilter

ID = "01a224af-fb7f-738a-925f-ea8b9947bd5a"


def test_a_filter_is_read_from_json():
    text = b'{"status": "retrying", "type": "a", "created_after": "2026-01-01T00:00:00Z", "ids": ["%b"]}' % ID.encode()
    found = msgspec.json.decode(text, type=JobFilter)
    assert (found.status, found.type, found.created_after) == (
        StatusFilter.RETRYING,
        "a",
        datetime(2026, 1, 1, tzinfo=UTC),
    )
    assert [str(each) for each in found.ids or ()] == [ID]
    assert msgspec.json.decode(b"{}", type=JobFilter) == JobFilter()


@pytest.mark.parametrize(
    "text",
    [
        '{"status": "gone"}',
        '{"type": ""}',
        '{"type": "a\\u0000b"}',
        '{"error": ""}',
        json.dumps({"error": "x" * (ERROR_LENGTH_MAX + 1)}),
        '{"created_after": "2026-01-01T00:00:00"}',
        f'{{"ids": {json.dumps([ID] * (IDS_MAX + 1))}}}',
        '{"queue": "a b"}',
        '{"queue": ""}',
    ],
)
def test_what_is_no_filter_is_refused(text: str):
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=JobFilter)
