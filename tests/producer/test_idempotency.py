"""The Idempotency-Key header of POST /enqueue: the same key, the same answer, one job."""

import json

import pytest
import trio

from tests.producer.serving import connect, serving

pytestmark = pytest.mark.usefixtures("patient")

TASK = b'{"type":"a","retries":2}'
INVALID = "Idempotency-Key must be 1 to 255 visible ASCII characters, given once"


async def enqueue(client, key: str, body: bytes = TASK):
    return await client.post("/enqueue", content=body, headers={"Idempotency-Key": key})


@pytest.mark.parametrize("rows", [True, False])
async def test_the_same_key_gives_the_same_answer_and_one_job(client, redis_only, tasks, rows):
    served = client if rows else redis_only
    first, again = await enqueue(served, "k"), await enqueue(served, "k")
    assert (first.status_code, first.content) == (200, again.content)
    assert (again.status_code, again.headers["content-type"]) == (200, "application/json")
    assert ("job_id" in first.json()) == rows
    assert len(await tasks()) == 1
    other = await enqueue(served, "K")
    assert other.status_code == 200
    assert len(await tasks()) == 2, "keys are told apart letter by letter"


@pytest.mark.parametrize("rows", [True, False])
@pytest.mark.parametrize("body", [b'{"type":"a","retries":3}', b'{"type":"a", "retries":2}', TASK + b"\n"])
async def test_another_body_is_refused_be_it_by_a_space(client, redis_only, tasks, rows, body):
    served = client if rows else redis_only
    assert (await enqueue(served, "k")).status_code == 200
    answer = await enqueue(served, "k", body)
    assert (answer.status_code, answer.text) == (422, "idempotency key reused with another body")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert len(await tasks()) == 1


@pytest.mark.parametrize("rows", [True, False])
async def test_requests_that_race_make_one_job(client, redis_only, tasks, environ, rows):
    """In one process's batches, and in another process's."""
    answers: list[bytes] = []
    if not rows:
        environ = {name: value for name, value in environ.items() if not name.startswith("DATABASE")}

    async def send(served, key: str) -> None:
        answer = await enqueue(served, key)
        answers.append(key.encode() + answer.content)
        assert answer.status_code == 200

    async with serving(environ) as second, trio.open_nursery() as senders:
        for served in (client if rows else redis_only, second):
            for number in range(15):
                senders.start_soon(send, served, f"k{number % 3}")
                senders.start_soon(send, served, f"only-{number}")
    assert len(set(answers)) == 3 + 15
    assert len(await tasks()) == 3 + 15


@pytest.mark.parametrize("key", [b"", b"x" * 256, b"a b", b"\xc3\xbc", b"a\tb"])
async def test_what_is_no_key_is_refused(redis_only, tasks, key):
    async with await connect(redis_only) as connection:
        await connection.send(
            b"POST /enqueue HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: %b\r\nContent-Length: %d\r\n\r\n%b"
            % (key, len(TASK), TASK)
        )
        answer = await connection.answer()
    assert (answer.status, answer.body.decode()) == (400, INVALID)
    assert await tasks() == []


async def test_two_keys_are_none(redis_only, tasks):
    answer = await redis_only.post(
        "/enqueue", content=TASK, headers=[("Idempotency-Key", "a"), ("Idempotency-Key", "a")]
    )
    assert (answer.status_code, answer.text) == (400, INVALID)
    assert await tasks() == []


@pytest.mark.parametrize("key", ["!", "~" * 255, '"8e03978e-40d5-43e8-bc93-6894a57f9324"', "a,b;c=d"])
async def test_what_is_a_key(redis_only, tasks, key):
    assert (await enqueue(redis_only, key)).status_code == 200
    assert len(await tasks()) == 1


async def test_a_body_that_is_refused_uses_no_key_up(redis_only, tasks):
    assert (await enqueue(redis_only, "k", b"nonsense")).status_code == 400
    assert (await enqueue(redis_only, "k")).status_code == 200
    assert json.loads((await tasks())[0])["retries"] == 2


async def test_keys_are_kept_for_as_long_as_the_setting_says(redis_url, queue_name, queue):
    async with serving({"REDIS_URL": redis_url, "QUEUE_NAME": queue_name, "IDEMPOTENCY_TTL": "2.5"}) as client:
        assert (await enqueue(client, "k")).status_code == 200
    (key,) = await queue._command("KEYS", f"{{{queue_name}}}:idem:*")
    assert 0 < await queue._command("PTTL", key) <= 2500


async def test_the_document_describes_the_header(redis_only):
    operation = (await redis_only.get("/openapi.json")).json()["paths"]["/enqueue"]["post"]
    (parameter,) = operation["parameters"]
    assert (parameter["name"], parameter["in"], parameter["required"]) == ("Idempotency-Key", "header", False)
    assert parameter["schema"]["maxLength"] == 255
    assert "422" in operation["responses"]
