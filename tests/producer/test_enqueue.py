"""The contract of POST /enqueue, line by line."""

import json

import pytest

from tests.producer.serving import serving
from workqueue.core.steps.submit import REFUSED

pytestmark = pytest.mark.usefixtures("patient")

DEEP = b"[" * 499 + b"]" * 499
LONE = b'{"type":"a","payload":{"x":"\\ud800"}}'
TYPE_200 = b"t" * 200


@pytest.mark.parametrize(
    ("body", "kind", "payload", "retries"),
    [
        (b'{"type":"a"}', "a", b"{}", 0),
        (b'{"type":"a","payload":null,"retries":null}', "a", b"{}", 0),
        (b' \n{"retries":3,"type":"a"}\t', "a", b"{}", 3),
        (b'{"type":"a","retries":1000000}', "a", b"{}", 1_000_000),
        (b'{"type":"a","payload":{"n":12345678901234567890123, "f":1.10}}', "a", None, 0),
        (b'{"type":"a","payload":{"nul":"\\u0000"}}', "a", b'{"nul":"\\u0000"}', 0),
        (b'{"type":"a","attempts":9,"job_id":"mine","unknown":[1]}', "a", b"{}", 0),
        (b'{"type":"' + TYPE_200 + b'"}', TYPE_200.decode(), b"{}", 0),
        ('{"type":"größe ☃","payload":{"k":"ü"}}'.encode(), "größe ☃", None, 0),
        (b'{"type":"a","payload":{"x":' + DEEP[2:-2] + b"}}", "a", None, 0),
    ],
)
async def test_a_task_is_accepted(client, tasks, queue_name, body, kind, payload, retries):
    answer = await client.post("/enqueue", content=body)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    said = answer.json()
    assert list(said) == ["status", "type", "retries", "queue_name", "job_id"]
    assert said | {"job_id": ""} == {
        "status": "queued",
        "type": kind,
        "retries": retries,
        "queue_name": queue_name,
        "job_id": "",
    }
    (task,) = await tasks()
    given = json.loads(task)
    assert (given["type"], given["retries"], given["attempts"]) == (kind, retries, 0)
    assert given["job_id"] == said["job_id"] != "mine"
    if payload is not None:
        assert b'"payload":' + payload in task
    row = (await client.get(f"/api/jobs/{said['job_id']}")).json()
    assert (row["status"], row["type"], row["retries"], row["attempts"]) == ("pending", kind, retries, 0)


@pytest.mark.parametrize(
    ("status", "sentence", "body"),
    [
        (400, "invalid JSON body", b""),
        (400, "invalid JSON body", b"nonsense"),
        (400, "invalid JSON body", b"[]"),
        (400, "invalid JSON body", b'"text"'),
        (400, "invalid JSON body", b"null"),
        (400, "invalid JSON body", b'{"type":"a"} x'),
        (400, "invalid JSON body", b'{"type":"a"}{"type":"a"}'),
        (400, "invalid JSON body", b'{"type":"a","payload":{"x":NaN}}'),
        (400, "invalid JSON body", b'{"type":"a","retries":NaN}'),
        (400, "invalid JSON body", LONE),
        (400, "invalid JSON body", b'{"type":"a","payload":{"x":"\xff"}}'),
        (400, "invalid JSON body", b'{"type":"a","payload":[]}'),
        (400, "invalid JSON body", b'{"type":"a","payload":"{}"}'),
        (400, "invalid JSON body", b'{"type":"a","payload":false}'),
        (400, "invalid JSON body", b'{"type":1}'),
        (400, "invalid JSON body", b'{"type":["a"]}'),
        (400, "invalid JSON body", b'{"type":"a","retries":1.5}'),
        (400, "invalid JSON body", b'{"type":"a","retries":"3"}'),
        (400, "invalid JSON body", b'{"type":"a","retries":true}'),
        (400, "invalid JSON body", b'{"type":"a","retries":1000001}'),
        (400, "invalid JSON body", b'{"type":"a","retries":' + b"9" * 30 + b"}"),
        (400, "invalid JSON body", b'{"type":"a","payload":{"x":' + DEEP + b"}}"),
        (400, "invalid JSON body", b'{"type":"a","payload":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_001),
        (400, "invalid JSON body", b'{"type":"' + TYPE_200 + b't"}'),
        (400, "type is required", b"{}"),
        (400, "type is required", b'{"type":null}'),
        (400, "type is required", b'{"type":""}'),
        (400, "type is required", b'{"Type":"a"}'),
        (400, "type is required", b'{"retries":-1}'),
        (400, "retries cannot be negative", b'{"type":"a","retries":-1}'),
        (413, "body too large", b'{"type":"a","payload":{"x":"' + b"x" * (1 << 20) + b'"}}'),
        (413, "body too large", b" " * ((1 << 20) + 1)),
    ],
)
async def test_a_task_is_refused(redis_only, tasks, status, sentence, body):
    answer = await redis_only.post("/enqueue", content=body)
    assert (answer.status_code, answer.text) == (status, sentence)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert await tasks() == []


async def test_without_postgres_the_answer_names_no_job_but_the_task_does(redis_only, tasks):
    answer = await redis_only.post("/enqueue", content=b'{"type":"a"}', headers={"Content-Type": "text/plain"})
    assert list(answer.json()) == ["status", "type", "retries", "queue_name"]
    assert "job_id" in json.loads((await tasks())[0])


async def test_a_body_of_exactly_the_limit_is_accepted(redis_only):
    head, tail = b'{"type":"a","payload":{"x":"', b'"}}'
    body = head + b"x" * ((1 << 20) - len(head) - len(tail)) + tail
    assert (await redis_only.post("/enqueue", content=body)).status_code == 200


async def test_the_limit_is_a_setting_and_counts_what_comes_in_pieces(redis_url, queue_name):
    async def pieces():
        for _ in range(30):
            yield b"x"

    async with serving({"REDIS_URL": redis_url, "QUEUE_NAME": queue_name, "MAX_BODY_BYTES": "20"}) as client:
        assert (await client.post("/enqueue", content=b'{"type":"a"}')).status_code == 200
        answer = await client.post("/enqueue", content=pieces())  # chunked: no Content-Length
        assert (answer.status_code, answer.text) == (413, "body too large")


async def test_a_large_limit_is_kept_too(redis_url, queue_name):
    # Quart has a limit of its own, 16 MiB: it must not be in the way.
    async with serving({"REDIS_URL": redis_url, "QUEUE_NAME": queue_name, "MAX_BODY_BYTES": str(1 << 26)}) as client:
        body = b'{"type":"a","payload":{"x":"' + b"x" * (17 << 20) + b'"}}'
        assert (await client.post("/enqueue", content=body)).status_code == 200


@pytest.mark.parametrize("path", ["/enqueue", "/enqueue?x=1"])
async def test_the_query_is_not_looked_at(redis_only, path):
    assert (await redis_only.post(path, content=b'{"type":"a"}')).status_code == 200


async def test_a_bad_job_harms_only_itself(client, nursery, tasks):
    """Case 8 of the protocol: NUL, surrogate, huge numbers, depth and size beside 99 good ones."""
    bad = [
        LONE,
        b'{"type":"a\\u0000"}',
        b'{"type":"a","retries":1' + b"0" * 30 + b"}",
        b'{"type":"a","payload":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_001,
        b'{"type":"a","payload":{"x":"' + b"x" * (1 << 20) + b'"}}',
    ]
    statuses: list[int] = []

    async def send(body: bytes) -> None:
        statuses.append((await client.post("/enqueue", content=body)).status_code)

    import trio

    async with trio.open_nursery() as senders:
        for number in range(99):
            senders.start_soon(send, b'{"type":"good","payload":{"n":%d,"nul":"\\u0000"}}' % number)
            if number < len(bad):
                senders.start_soon(send, bad[number])
    assert sorted(statuses) == [200] * 99 + [400] * 4 + [413]
    assert len(await tasks()) == 99
    listed = (await client.get("/api/jobs?limit=500")).json()
    assert len(listed) == 99
    assert REFUSED not in {row["error_message"] for row in listed}


async def test_a_bug_in_a_batch_is_told_once(redis_only, monkeypatch, caplog):
    async def broken(self: object, tasks: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("workqueue.core.queue.Queue.push", broken)
    answer = await redis_only.post("/enqueue", content=b'{"type":"a"}')
    assert (answer.status_code, answer.text) == (500, "internal error")
    assert caplog.text.count("Traceback") == 1
