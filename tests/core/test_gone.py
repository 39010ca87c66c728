"""What is noted of workers that are gone."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from workqueue.core.gone import PUBLISHED_MAX, Became, Gone, read_gone, said, write_gone

GONE = Gone(UUID(int=1), True, Became(3, 2, 1), '{"name":"w"}')


def test_it_is_read_as_it_was_written_with_the_time_that_redis_puts_before_it():
    ended_at, gone = read_gone(b"1764385200123 " + write_gone(GONE)) or pytest.fail("it cannot be read")
    assert (ended_at, gone) == (datetime(2025, 11, 29, 3, 0, 0, 123_000, UTC), GONE)


def test_another_version_may_leave_members_out_or_have_more():
    text = b'1764385200123 {"lease":"00000000-0000-0000-0000-000000000001","why":"?"}'
    assert (read_gone(text) or pytest.fail("it cannot be read"))[1] == Gone(UUID(int=1))


@pytest.mark.parametrize(
    "entry",
    [
        b"",
        b"x",
        b"1",
        b"1 ",
        b"1 {}",
        b"1 []",
        b"x {}",
        "²".encode() + b" {}",
        b"9" * 15 + b" {}",
        b"1 " + b"[" * 10_000,
    ],
)
def test_what_another_program_wrote_is_passed_over(entry: bytes):
    assert read_gone(entry) is None


def test_what_a_worker_said_is_text_and_bounded():
    assert said(b"\xff") == "\ufffd"
    assert said(b"x" * PUBLISHED_MAX) == "x" * PUBLISHED_MAX
    assert said(b"x" * (PUBLISHED_MAX + 1)) == ""
