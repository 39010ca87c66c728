from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from workqueue.core.errors import PermanentFailure
from workqueue.services.worker.handlers.payload import read


class Inner(Struct):
    size: int


class Outer(Struct):
    name: str
    inner: Inner | None = None
    many: list[int] = []


@pytest.mark.parametrize(
    ("payload", "sentence"),
    [
        ({}, "payload.name: missing"),
        ({"name": 5}, "payload.name: expected a string, got a whole number"),
        ({"name": "x", "inner": {}}, "payload.inner.size: missing"),
        ({"name": "x", "inner": {"size": "big"}}, "payload.inner.size: expected a whole number, got a string"),
        ({"name": "x", "many": [1, "2"]}, "payload.many[1]: expected a whole number, got a string"),
        ({"name": "x", "many": "2"}, "payload.many: expected a list, got a string"),
        ({"name": None}, "payload.name: expected a string, got null"),
    ],
)
def test_a_wrong_payload_fails_with_a_sentence_that_names_the_field(payload, sentence):
    with pytest.raises(PermanentFailure) as caught:
        read(payload, Outer)
    assert str(caught.value) == sentence


def test_what_is_not_asked_for_is_ignored():
    assert read({"name": "x", "more": [1]}, Outer) == Outer("x")


SCALAR = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
JSON = SCALAR | st.lists(SCALAR, max_size=3) | st.dictionaries(st.sampled_from(["size", "x"]), SCALAR, max_size=2)


@settings(suppress_health_check=[HealthCheck.too_slow])  # of a busy machine
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(["name", "inner", "many", "other"], JSON)))
def test_any_payload_is_read_or_refused_for_good(payload):
    with suppress(PermanentFailure):
        assert isinstance(read(payload, Outer), Outer)
