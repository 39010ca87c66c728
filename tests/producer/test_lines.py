"""Bodies of bulk requests, cut into pieces anywhere: the same jobs come out as when they arrive whole."""

import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workqueue.services.producer.lines import Cutter, Elements, Lines

TEXT = st.text(st.sampled_from('ab"\\[]{},: \n\u2603'), max_size=12)
VALUE = st.recursive(
    st.none() | st.integers(-9, 9) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


def cut(cutter: Cutter, body: bytes, sizes: list[int]) -> list[bytes | None]:
    found: list[bytes | None] = []
    begin = 0
    while begin < len(body):
        size = sizes[begin % len(sizes)]
        found += cutter.feed(body[begin : begin + size])
        begin += size
    return found + cutter.end()


SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=5)


@settings(max_examples=150, deadline=None)
@given(values=st.lists(VALUE, max_size=6), sizes=SIZES, indent=st.sampled_from([None, 0, 1]), ascii_=st.booleans())
def test_an_array_is_cut_at_its_own_commas(values, sizes, indent, ascii_):
    body = json.dumps(values, indent=indent, ensure_ascii=ascii_).encode()
    found = cut(Elements(10_000), b" \n" + body + b"\r\n", sizes)
    assert [json.loads(element or b"") for element in found] == values


@settings(max_examples=60, deadline=None)
@given(values=st.lists(VALUE, max_size=6), sizes=SIZES, blank=st.sampled_from([b"", b"\r\n", b" \n\n"]))
def test_ndjson_is_cut_at_its_line_ends(values, sizes, blank):
    body = b"".join(json.dumps(value).encode() + b"\n" + blank for value in values)
    assert [json.loads(line or b"") for line in cut(Lines(10_000), body, sizes)] == values
    assert [json.loads(line or b"") for line in cut(Lines(10_000), body.rstrip(), sizes)] == values


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"[]", []),
        (b"[ \n ]", []),
        (b"[,]", [b"", b""]),
        (b"[1,]", [b"1", b""]),
        (b"[1", [b"1", b""]),
        (b"[1,", [b"1", b""]),
        (b"[", [b""]),
        (b'["a', [b'"a']),
        (b'["a\\', [b'"a']),
        (b"[1] 2", [b"1", b"2"]),
        (b"[1]]", [b"1", b"]"]),
        (b"[1}", [b"1"]),
        (b"[{} {}, 3]", [b"{} {}", b"3"]),
        (b'[nonsense, {"a":nonsense}, 3]', [b"nonsense", b'{"a":nonsense}', b"3"]),
        (b'["\\"],[", 3]', [b'"\\"],["', b"3"]),
    ],
)
def test_what_is_no_array_is_cut_into_what_is_no_job(body, found):
    for size in (1, 2, 3, 100):
        assert cut(Elements(100), body, [size]) == found


@pytest.mark.parametrize("size", [1, 3, 7, 64, 1000])
def test_a_job_that_is_too_large_harms_no_other(size):
    string = b'{"s":"' + b'x\\"]},\\\\' * 20 + b'"}'
    nested = b'{"n":' + b"[" * 50 + b"]" * 50 + b"}"
    body = b",".join([b"1", string, b"2", nested, b" " * 101, b"3"])
    assert cut(Elements(100), b"[" + body + b"]", [size]) == [b"1", None, b"2", None, None, b"3"]
    lines = [b"1", b"x" * 100, b"x" * 101, b"2", b"y" * 1000, b"3"]
    assert cut(Lines(100), b"\n".join(lines), [size]) == [b"1", b"x" * 100, None, b"2", None, b"3"]


@pytest.mark.parametrize("cutter", [Elements(1000), Lines(1000)])
def test_of_a_job_that_is_too_large_nothing_is_kept(cutter):
    cutter.feed(b'["')
    tracemalloc.start()
    for _ in range(1000):
        cutter.feed(b"x" * 10_000)
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()
