"""A line of the log is one event, whatever a payload, a type or an error has in it."""

import logging
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workqueue.services.logs import Seldom, _Lines, _StandardError, printable

FORGED = "x\n2026-11-20T09:30:00.123Z error workqueue.services.health: forged\r\x1b[2K\u202e\u2028\x85"


def line(message: str, *arguments: object, **more: object) -> str:
    record = logging.LogRecord("a.b", logging.WARNING, "", 0, message, arguments, None)
    record.__dict__.update(more)
    return _Lines().format(record)


def test_a_newline_in_a_value_begins_no_line():
    shown = line("job %s failed: %s", "1", FORGED)
    assert "\n" not in shown
    assert "\\x0a2026" in shown
    assert not any(code in shown for code in "\r\x1b\u202e\u2028\x85")


def test_what_follows_a_line_is_indented():
    shown = line("failed", traceback=f"Traceback:\n  File\nValueError: {FORGED}")
    first, *rest = shown.split("\n")
    assert first.endswith("a.b: failed")
    assert all(more.startswith("  ") for more in rest)
    try:
        raise ValueError(FORGED)
    except ValueError:
        shown = line("a bug", exc_info=sys.exc_info())
    assert all(more.startswith("  ") for more in shown.split("\n")[1:])
    assert "Traceback" in shown


@given(st.text())
def test_text_is_one_line_that_a_terminal_shows_as_it_is(text):
    shown = printable(text)
    assert len(shown.splitlines()) <= 1
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in shown)


def test_a_line_that_is_due_often_is_written_seldom(caplog):
    now = 0.0
    seldom = Seldom(10.0, clock=lambda: now)
    for _ in range(100):
        seldom.warning(logging.getLogger("x"), "%d of them", 3)
    now = 11.0
    seldom.warning(logging.getLogger("x"), "%d of them", 3)
    assert [record.getMessage() for record in caplog.records] == [
        "3 of them",
        "3 of them (and 99 more times since it was logged last)",
    ]


@pytest.mark.parametrize("text", ["plain", "größe", "日本", "emoji 🎉", "\N{COMBINING ACUTE ACCENT}"])
def test_ordinary_text_stays_what_it_is(text):
    assert printable(text) == text


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
def test_a_line_that_cannot_be_written_is_no_error(capsys):
    """What logging itself says of it stays in Python's buffer, which makes the status of the process 120."""
    with Path("/dev/full").open("wb", buffering=0) as full:
        handler = _StandardError(full.fileno())
        for _ in range(3):
            handler.emit(logging.LogRecord("x", logging.INFO, "", 0, "line", None, None))
        assert handler._left_out == 3
    assert capsys.readouterr().err == ""
