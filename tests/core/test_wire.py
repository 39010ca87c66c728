import json
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workqueue.core.counters import Counters
from workqueue.core.errors import InvalidTask, RetriesNegative, TypeMissing
from workqueue.core.options import JobOptions
from workqueue.core.wire import (
    DEPTH_MAX,
    Submission,
    Task,
    decode_payload,
    decode_task,
    depth,
    encode_task,
    read_submission,
)

ID = "550e8400-e29b-41d4-a716-446655440000"
TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)
KNOWN = {"type", "payload", "retries", "attempts", "recoveries", "interruptions", "job_id"}


def nested(levels: int) -> bytes:
    """A body whose payload makes it nest so many levels deep."""
    return b'{"type":"x","payload":' + b'{"a":' * (levels - 1) + b"1" + b"}" * (levels - 1) + b"}"


@given(extra=st.dictionaries(TEXT.filter(lambda name: name not in KNOWN), JSON, max_size=4), attempts=st.integers(0, 9))
def test_a_task_keeps_what_it_does_not_know(extra, attempts):
    task = extra | {"type": "x", "retries": 1, "payload": {"n": 10**30, "empty": []}, "job_id": ID}
    decoded = decode_task(json.dumps(task).encode())
    again = encode_task(msgspec.structs.replace(decoded, counters=Counters(attempts)))
    assert json.loads(again) == task | {"attempts": attempts}


@pytest.mark.parametrize(
    "payload",
    [
        b'{"n": 12345678901234567890123, "x" : 1.50}',
        b'{"a":1,"a":2}',
        b'{"t":"\\u0000"}',
        b'{"b":1e999,"a":1' + b"0" * 5000 + b"}",
        b'{"\\u00e9":"\\/ \xc3\xa9 \\ud83d\\ude00", "tab":\t[ ]\n}',
    ],
)
def test_a_payload_travels_byte_for_byte(payload):
    line = b'{"type":"x","payload":' + payload + b"}"
    assert decode_task(line).payload == payload
    assert decode_task(encode_task(decode_task(line))).payload == payload
    assert read_submission(line).payload == payload


def test_null_counts_as_absent():
    line = b'{"type":"x","payload":null,"retries":null,"attempts":null,"job_id":null}'
    assert decode_task(line) == Task("x") == decode_task(b'{"type":"x"}')
    assert read_submission(b'{"type":"x","payload":null,"retries":null}') == Submission("x", b"{}")


def test_counters_and_id_are_read():
    line = f'{{"type":"x","attempts":4,"recoveries":1,"interruptions":2,"retries":9,"job_id":"{ID.upper()}"}}'
    assert decode_task(line.encode()) == Task("x", b"{}", JobOptions(9), Counters(4, 1, 2), UUID(ID))


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"{}",
        b'{"type":1}',
        b'{"type":""}',
        b'{"type":null}',
        b'{"type":"' + b"x" * 201 + b'"}',
        b'{"type":"a\\u0000b"}',
        b'{"type":"x","payload":[]}',
        b'{"type":"x","payload":"{}"}',
        b'{"type":"x","retries":1.5}',
        b'{"type":"x","retries":-1}',
        b'{"type":"x","retries":1000001}',
        b'{"type":"x","retries":1' + b"0" * 30 + b"}",
        b'{"type":"x","retries":true}',
        b'{"type":"x","retries":1' + b"0" * 5000 + b"}",
        b'{"type":"x","retries":1e3}',
        b'{"type":"x","retries":"3"}',
        b'{"type":"x","attempts":-1}',
        b'{"type":"x","attempts":2147483638}',
        b'{"type":"\\ud800"}',
        b'{"type":"x","more":"\\ud800"}',
        b'{"type":"x","payload":{"a":"\x00"}}',
        b'{"type":"x","payload":{"a":01}}',
        b"{'type':'x'}",
        b'{"type":"x","job_id":"no"}',
        b'{"type":"x","job_id":7}',
        b'{"type":"x","payload":{"a":NaN}}',
        b'{"type":"x","payload":{"a":"\xff"}}',
        b'{"type":"x"} {}',
        b'\xef\xbb\xbf{"type":"x"}',
        nested(10_000),
    ],
)
def test_what_is_no_task_is_refused(line):
    with pytest.raises(InvalidTask):
        decode_task(line)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", InvalidTask),
        (b"no", InvalidTask),
        (b"[]", InvalidTask),
        (b'{"type":"x"', InvalidTask),
        (b'{"type":"x"}x', InvalidTask),
        (b'{"type":5}', InvalidTask),
        (b'{"type":"x","retries":1.5}', InvalidTask),
        (b'{"type":"x","retries":1.0}', InvalidTask),
        (b'{"type":"x","retries":"3"}', InvalidTask),
        (b'{"type":"x","retries":1000001}', InvalidTask),
        (b'{"type":"x","retries":1' + b"0" * 30 + b"}", InvalidTask),
        (b'{"type":"x","retries":1' + b"0" * 5000 + b"}", InvalidTask),
        (b'{"type":"x","payload":[]}', InvalidTask),
        (b'{"type":"x","payload":7}', InvalidTask),
        (b'{"type":"x","payload":{"a":NaN}}', InvalidTask),
        (b'{"type":"x","payload":{"a":-Infinity}}', InvalidTask),
        (b'{"type":"x","payload":{"a":"\x00"}}', InvalidTask),
        (b'{"type":"x\\u0000"}', InvalidTask),
        (b'\xef\xbb\xbf{"type":"x"}', InvalidTask),
        (b'{"type":"x","payload":{"a":"\\ud800"}}', InvalidTask),
        (b'{"type":"x","payload":{"a":"\xc3("}}', InvalidTask),
        (b'{"type":"' + b"x" * 201 + b'"}', InvalidTask),
        (b"{}", TypeMissing),
        (b'{"type":null}', TypeMissing),
        (b'{"type":""}', TypeMissing),
        (b'{"Type":"x"}', TypeMissing),
        (b'{"type":"","retries":-1}', TypeMissing),
        (b'{"type":"x","retries":-1}', RetriesNegative),
    ],
)
def test_each_fault_of_a_body_is_told_apart(body, error):
    with pytest.raises(error) as caught:
        read_submission(body)
    assert type(caught.value) is error


def test_what_a_client_says_beside_the_task_is_ignored():
    body = f'{{"type":"x","attempts":7,"job_id":"{ID}","more":[1]}}'.encode()
    assert read_submission(body) == Submission("x", b"{}")


def test_a_body_may_nest_500_levels_and_no_more():
    assert read_submission(nested(DEPTH_MAX)).type == "x"
    for levels in (DEPTH_MAX + 1, 2_000, 100_000):
        with pytest.raises(InvalidTask):
            read_submission(nested(levels))


def test_a_body_may_have_many_brackets_and_nest_500_levels():
    wide = b'"b":[' + b"[]," * DEPTH_MAX + b"[]],"
    body = nested(DEPTH_MAX).replace(b'"payload":{', b'"payload":{' + wide)
    assert body.count(b"[") > DEPTH_MAX == depth(body)
    assert read_submission(body).type == "x"


def test_brackets_in_strings_are_no_depth():
    body = b'{"type":"x","payload":{"a":"' + b"[{" * 1000 + b'\\""}}'
    assert depth(body) == 2
    assert read_submission(body).type == "x"


@given(JSON)
def test_depth_is_what_json_says(value):
    def levels(inner: object) -> int:
        if isinstance(inner, dict):
            return 1 + max(map(levels, inner.values()), default=0)
        if isinstance(inner, list):
            return 1 + max(map(levels, inner), default=0)
        return 0

    assert depth(json.dumps(value).encode()) == levels(value)


@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_task_or_refused(line):
    for read in (decode_task, read_submission):
        try:
            read(line)
        except InvalidTask:
            continue


def test_the_largest_counters_of_a_task_together_number_a_run_that_postgres_can_keep():
    # Postgres would refuse their sum in every statement that ends the job, whatever became of it.
    line = b'{"type":"x","attempts":500000000,"recoveries":500000000,"interruptions":500000000}'
    task = decode_task(line)
    assert task.counters.run < 2**31
    with pytest.raises(InvalidTask):
        decode_task(line.replace(b"500000000", b"1000000000", 1))


@pytest.mark.parametrize(
    "payload",
    [
        b'{"n":1' + b"0" * 5000 + b"}",  # more digits than Python turns into an integer
        b'{"a":1e999,"n":1' + b"0" * 5000 + b"}",
        b'{"a":1e999,"deep":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"t":"\\ud800"}',
        b"[]",
    ],
)
def test_a_payload_that_no_handler_can_get_is_refused_and_nothing_else_is_raised(payload):
    with pytest.raises(InvalidTask, match=r"^payload: "):
        decode_payload(payload)


def test_numbers_beyond_a_float_reach_the_handler():
    assert decode_payload(b'{"a":1e999,"b":123456789012345678901234567890}') == {
        "a": float("inf"),
        "b": 123456789012345678901234567890,
    }
