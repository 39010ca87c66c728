"""Dead letters as entries of their list: whatever the bytes are, they are shown, named and kept."""

import base64
import json
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from workqueue.core.counters import NEVER_RUN, Counters
from workqueue.core.dead_letter import (
    DeadLetter,
    dead_letter,
    dead_letter_id,
    describe_task,
    is_dead_letter_id,
    read_dead_letter,
    task_to_retry,
)
from workqueue.core.errors import InvalidTask
from workqueue.core.options import JobOptions
from workqueue.core.wire import Task, decode_task, encode_task

JOB = UUID("0199c2f4-7d1e-7b52-8c0a-4f1d22aa9e31")


@pytest.mark.parametrize("line", [b'{"type":1}', b"\xff\0", "\N{SNOWMAN}\n".encode(), b""])
def test_the_task_is_kept_whole_whatever_it_is(line):
    entry = json.loads(dead_letter(line, "why"))
    assert entry["reason"] == "why"
    assert entry["at"].endswith("Z")
    kept = entry["task"].encode() if "task" in entry else base64.b64decode(entry["task_base64"])
    assert kept == line


@given(st.binary() | st.text(st.characters(codec="utf-8")).map(str.encode), st.text(st.characters(codec="utf-8")))
def test_what_was_written_is_read(line: bytes, reason: str):
    entry = dead_letter(line, reason)
    letter = read_dead_letter(entry)
    assert (letter.task, letter.reason, letter.id) == (line, reason, dead_letter_id(entry))
    assert letter.at is not None
    assert abs((datetime.now(UTC) - letter.at).total_seconds()) < 60


@given(st.binary())
@example(b'{"reason":"why","at":"2026-01-01T00:00:00","task":"a time of no zone"}')
@example(b'{"reason":"why","at":"2026-01-01T00:00:00Z","task_base64":"?"}')
@example(b'{"reason":"why","at":"2026-01-01T00:00:00Z"}')
@example(b'{"reason":"\\ud800","at":"2026-01-01T00:00:00Z","task":"x"}')
@example(b'{"reason":"\xff","at":"2026-01-01T00:00:00Z","task":"x"}')
@example(b"[" * 5000)
def test_what_another_program_has_written_is_the_task_itself(entry: bytes):
    assert read_dead_letter(entry) == DeadLetter(dead_letter_id(entry), entry)


@given(st.binary())
def test_an_id_is_one_and_no_other_text_is(entry: bytes):
    assert is_dead_letter_id(dead_letter_id(entry))
    assert not is_dead_letter_id(dead_letter_id(entry)[:-1])
    assert not is_dead_letter_id(dead_letter_id(entry) + "\n")


TASKS = st.builds(
    Task,
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=200),
    st.integers(-(10**40), 10**40).map(lambda number: b'{"n": %d}' % number),
    st.builds(JobOptions, st.integers(0, 1_000_000)),
    st.builds(Counters, *[st.integers(0, 500_000_000)] * 3),
    st.none() | st.just(JOB),
    st.sampled_from([b"", b'"mine":[1.50,12345678901234567890]']),
)


@given(TASKS)
def test_a_task_that_is_retried_has_never_run_and_is_the_same_otherwise(task: Task):
    letter = read_dead_letter(dead_letter(encode_task(task), "E: x"))
    again = decode_task(encode_task(task_to_retry(letter)))
    assert again.counters == NEVER_RUN
    assert [getattr(again, name) for name in ("type", "payload", "options", "job_id", "extra")] == [
        task.type, task.payload, task.options, task.job_id, task.extra,
    ]  # fmt: skip
    assert describe_task(letter) == (task.type, task.job_id, True)


@pytest.mark.parametrize(
    ("line", "named"),
    [
        (b"\xff", None), (b"no JSON", None), (b"[]", None), (b'{"type":1}', None), (b"{}", None),
        (b'{"type":"a","retries":-1}', "a"), (b'{"type":"a","x":"\xff"}', None),
        (b'{"type":"%b"}' % (b"a" * 201), None),
    ],
)  # fmt: skip
def test_what_is_no_task_cannot_be_retried_and_says_its_type_if_it_has_one(line: bytes, named: str | None):
    letter = read_dead_letter(dead_letter(line, "why"))
    assert describe_task(letter) == (named, None, False)
    with pytest.raises(InvalidTask):
        task_to_retry(letter)
