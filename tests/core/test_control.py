"""Control messages as they are sent."""

from uuid import UUID

import pytest

from workqueue.core.control import ControlMessage, read_message, write_message

RUN = UUID(int=1), UUID("01a224af-fb7f-738a-925f-ea8b9947bd5a")


def test_a_message_is_read_as_it_was_written():
    message = ControlMessage(cancel=[RUN], tree=[(UUID(int=2), *RUN)], workers=[(UUID(int=3), "quiet")], limits=7)
    assert read_message(write_message(message)) == message


def test_members_of_another_version_are_passed_over():
    text = write_message(ControlMessage(cancel=[RUN])).removesuffix(b"}") + b', "quiet": true}'
    assert read_message(text) == ControlMessage(cancel=[RUN])


@pytest.mark.parametrize("text", [b"", b"hello", b"[]", b'{"cancel": ["x"]}', b"\xff", b"[" * 100_000])
def test_a_message_of_another_program_says_nothing(text: bytes):
    assert read_message(text) == ControlMessage()
