"""The description that a worker publishes, read with care: any program may write there."""

import msgspec
import pytest

from workqueue.services.published import BYTES_MAX, Published, read_published


def test_what_is_published_can_be_read():
    published = Published(name="w", protocol=2, oldest=2, types=["a"], jobs_done=3, state="quiet", lease_seconds=2)
    assert read_published(msgspec.json.encode(published)) == published


def test_another_version_may_leave_members_out_or_have_more():
    assert read_published(b'{"name":"w","news":[1]}') == Published(name="w")


@pytest.mark.parametrize(
    "text", [b"", b"\xff", b"[]", b"null", b'{"pid":-1}', b'{"pid":1e300}', b'{"types":[1]}', b"[" * 100_000]
)
def test_what_cannot_be_read_is_none(text):
    assert read_published(text) is None


def test_its_length_is_bounded():
    padded = b'{"name":"w"}' + b" " * (BYTES_MAX - 12)
    assert read_published(padded) == Published(name="w")
    assert read_published(padded + b" ") is None
