"""POST /enqueue with thousands of bodies against a model of the contract, written from its words alone."""

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workqueue.core.settings import Settings
from workqueue.core.wire import DEPTH_MAX
from workqueue.services.producer.app import create_app

HUGE = st.integers(-(10**40), 10**40)
TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
VALUE = st.recursive(
    st.none() | st.booleans() | HUGE | st.floats(allow_nan=True) | TEXT | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["a", "", None, "t" * 200, "t" * 201, "größe"]) | VALUE,
        "payload": st.dictionaries(TEXT, VALUE, max_size=4) | VALUE,
        "retries": st.sampled_from([0, 1, -1, 1_000_000, 1_000_001, 1.0, True, "1", None]) | HUGE,
        "attempts": VALUE,
        "job_id": VALUE,
        "Type": TEXT,
    },
)
BODY = (
    FIELDS.map(lambda fields: json.dumps(fields).encode())
    | FIELDS.map(lambda fields: json.dumps(fields, ensure_ascii=False, indent=1).encode("utf-8", "surrogatepass"))
    | VALUE.map(lambda value: json.dumps(value).encode())
    | st.binary(max_size=40)
    | st.integers(DEPTH_MAX - 5, DEPTH_MAX + 5).map(
        lambda depth: b'{"type":"a","payload":' + b'{"a":' * (depth - 1) + b"1" + b"}" * depth
    )
    | st.tuples(FIELDS, st.sampled_from([b" ", b"\n", b"x", b"{}", b"\0", b","])).map(
        lambda pair: json.dumps(pair[0]).encode() + pair[1]
    )
)

INVALID = (400, "invalid JSON body")


def says_the_contract(body: bytes) -> tuple[int, str]:
    try:
        fields = json.loads(body.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return INVALID
    if not isinstance(fields, dict) or _depth(fields) > DEPTH_MAX or _has_lone_surrogate(fields):
        return INVALID
    kind, payload, retries = (fields.get(name) for name in ("type", "payload", "retries"))
    if kind is not None and not isinstance(kind, str):
        return INVALID
    if payload is not None and not isinstance(payload, dict):
        return INVALID
    if retries is not None and (type(retries) is not int or retries > 1_000_000):
        return INVALID
    if not kind:
        return 400, "type is required"
    if len(kind) > 200 or "\0" in kind:
        return INVALID
    if retries is not None and retries < 0:
        return 400, "retries cannot be negative"
    return 200, kind


def _refuse(constant: str) -> object:
    raise ValueError(constant)


def _depth(value: object) -> int:
    """Level by level: Hypothesis's tracer and a recursion of 500 are too much for Python 3.12."""
    depth, level = 0, [value]
    while level := [item for item in level if isinstance(item, dict | list)]:
        depth += 1
        level = [inner for item in level for inner in (item.values() if isinstance(item, dict) else item)]
    return depth


def _has_lone_surrogate(value: object) -> bool:
    level = [value]
    while level:
        if any("\ud800" <= letter <= "\udfff" for item in level if isinstance(item, str) for letter in item):
            return True
        keys = [key for item in level if isinstance(item, dict) for key in item]
        values = [inner for item in level if isinstance(item, dict) for inner in item.values()]
        level = keys + values + [inner for item in level if isinstance(item, list) for inner in item]
    return False


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=BODY)
async def test_every_body_is_answered_as_the_contract_says(redis_url, queue_name, body):
    # pytest-trio runs each example in a loop of its own, but an async fixture only once: so the app starts here.
    app = create_app(Settings(redis_url=redis_url, queue_name=queue_name))
    async with app.test_app() as running:
        answer = await running.test_client().post("/enqueue", data=body)
        content = await answer.get_data(as_text=True)
    status, words = says_the_contract(body)
    if status == 200:
        assert answer.status_code == 200, content
        assert json.loads(content)["type"] == words
    else:
        assert (answer.status_code, content) == (status, words)
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
