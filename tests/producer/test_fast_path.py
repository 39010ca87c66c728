"""POST /enqueue is answered beside Quart; its route is still there. Both give the same answer to everything."""

from importlib import import_module

import pytest

from tests.producer.serving import serving
from workqueue.services.http import asgi

pytestmark = pytest.mark.usefixtures("patient")

BODIES = [
    b'{"type":"a"}',
    b'{"type":"a","retries":1000000,"payload":{"x":"\\u0000"}}',
    '{"type":"größe ☃"}'.encode(),
    b"",
    b"nonsense",
    b"[]",
    b'{"type":"a","payload":{"x":"\xff"}}',
    b"{}",
    b'{"type":"a","retries":-1}',
    b'{"type":"a","payload":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_001,
    b"x" * 2_000,  # above the limit below
]
ORIGIN = "https://app.example"
HEADERS = [
    {},
    {"Origin": ORIGIN},
    {"Origin": "https://evil.example"},
    {"Idempotency-Key": "k"},
    {"Idempotency-Key": "two words"},
    {"Idempotency-Key": ""},
    {"Content-Type": "text/plain", "Origin": ORIGIN, "Idempotency-Key": "other"},
]


@pytest.fixture
async def both(redis_url, queue_name, monkeypatch):
    """Two producers of one queue: as it is, and with Quart answering everything."""
    environ = {
        "REDIS_URL": redis_url, "QUEUE_NAME": queue_name, "ALLOWED_ORIGINS": ORIGIN, "MAX_BODY_BYTES": "1500",
    }  # fmt: skip
    async with serving(environ) as fast:
        monkeypatch.setattr(import_module("workqueue.services.producer.app"), "protect", _protect_without_direct)
        async with serving(environ) as quart:
            yield fast, quart


def _protect_without_direct(app, settings, table, direct, streams):
    assert direct
    return asgi.protect(app, settings, table, streams=streams)


def shown(answer) -> tuple[object, ...]:
    headers = sorted((name, value) for name, value in answer.headers.multi_items() if name != "date")
    return answer.status_code, answer.content, headers


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
async def test_both_ways_give_the_same_answer(both, body):
    for headers in HEADERS:
        fast, quart = [shown(await client.post("/enqueue", content=body, headers=headers)) for client in both]
        assert fast == quart, headers
    for path in ("/enqueue?x=1", "/enqueue/", "/%65nqueue", "//enqueue"):
        fast, quart = [shown(await client.post(f"{client.base_url}{path}", content=body)) for client in both]
        assert fast == quart, path


async def test_both_ways_refuse_a_key_that_came_with_another_body(both):
    fast, _ = both
    key = {"Idempotency-Key": "k"}
    assert (await fast.post("/enqueue", content=b'{"type":"a"}', headers=key)).status_code == 200
    answers = [shown(await client.post("/enqueue", content=b'{"type":"b"}', headers=key)) for client in both]
    assert answers[0] == answers[1]
    assert answers[0][:2] == (422, b"idempotency key reused with another body")


@pytest.mark.parametrize(
    "broken", ["workqueue.core.queue.Queue.push", "workqueue.services.producer.enqueue.read_submission"]
)
async def test_both_ways_answer_a_bug_alike(both, monkeypatch, caplog, broken):
    def bug(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(broken, bug)
    fast, quart = [shown(await client.post("/enqueue", content=b'{"type":"a"}')) for client in both]
    assert fast == quart
    assert fast[:2] == (500, b"internal error")
    assert caplog.text.count("ZeroDivisionError: a bug") == 2


async def test_both_ways_answer_an_outage_alike(both, queue, monkeypatch):
    await queue._command("SET", queue.name, "of another type")
    fast, quart = [shown(await client.post("/enqueue", content=b'{"type":"a"}')) for client in both]
    assert fast == quart
    assert fast[:2] == (500, b"failed to enqueue task")


async def test_quart_is_not_asked(both, monkeypatch):
    asked: list[str] = []

    async def counted(self, request):
        asked.append(request.path)
        raise ZeroDivisionError("Quart was asked")

    monkeypatch.setattr("quart_trio.QuartTrio.handle_request", counted)
    fast, quart = both
    assert (await fast.post("/enqueue", content=b'{"type":"a"}')).status_code == 200
    assert asked == []
    assert (await quart.post("/enqueue", content=b'{"type":"a"}')).status_code == 500
    assert asked == ["/enqueue"]
