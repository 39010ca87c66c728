"""GET /api/dead, GET /api/dead/<id>, POST /api/dead/retry and DELETE /api/dead, with rows and without."""

import base64
import json
import re
from uuid import UUID

import httpx
import msgspec
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.producer.rows import claim, enqueue, finish
from tests.producer.serving import serving
from tests.support.proxy import Proxy, through
from workqueue.core.dead_letter import dead_letter, dead_letter_id
from workqueue.core.job import JobState
from workqueue.core.queue import Queue
from workqueue.services.producer.dead import NO_CHOICE
from workqueue.services.producer.views import TASK_SHOWN_MAX, dead_letter_view

JSON = {"Content-Type": "application/json"}
JOB_ID = "0199c2f4-7d1e-7b52-8c0a-4f1d22aa9e31"
TASK = b'{"type":"a","payload":{"n":12345678901234567890},"retries":1,"attempts":2,"job_id":"%b"}' % JOB_ID.encode()


@pytest.fixture(params=["redis_only", "client"])
def each(request: pytest.FixtureRequest) -> httpx.AsyncClient:
    """A producer without rows, and one with them."""
    found: httpx.AsyncClient = request.getfixturevalue(request.param)
    return found


async def put(redis, queue: Queue, *entries: bytes) -> list[str]:
    await redis("RPUSH", queue.keys.dead, *entries)
    return [dead_letter_id(entry) for entry in entries]


async def act(client: httpx.AsyncClient, name: str, body: object, headers: dict[str, str] = JSON) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    method, path = ("DELETE", "/api/dead") if name == "delete" else ("POST", "/api/dead/retry")
    return await client.request(method, path, content=content, headers=headers)


# --- the list


async def test_an_entry_is_shown_with_its_task_and_why_it_is_there(each, redis, queue):
    entry = dead_letter(TASK, "E: x")
    [named] = await put(redis, queue, entry)
    answer = await each.get("/api/dead")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert (answer.headers["x-total-count"], "link" in answer.headers) == ("1", False)
    assert answer.json() == [{
        "id": named, "at": json.loads(entry)["at"], "reason": "E: x", "type": "a", "job_id": JOB_ID, "is_task": True,
        "task": TASK.decode(), "task_bytes": len(TASK), "encoding": "text",
    }]  # fmt: skip
    assert (await each.get(f"/api/dead/{named}")).json() == answer.json()[0]


async def test_what_is_no_task_is_shown_as_what_it_is(each, redis, queue):
    entries = [
        (dead_letter(b'{"type":"a","retries":-1}', "why"), "why", "a", '{"type":"a","retries":-1}', "text"),
        (dead_letter(b"\xff\0", "why"), "why", None, base64.b64encode(b"\xff\0").decode(), "base64"),
        (b"hello", None, None, "hello", "text"),
        (b"\xfe", None, None, base64.b64encode(b"\xfe").decode(), "base64"),
        (b'{"reason":1}', None, None, '{"reason":1}', "text"),
    ]
    await put(redis, queue, *[entry for entry, *_ in entries])
    shown = (await each.get("/api/dead")).json()
    assert [
        (each["reason"], each["type"], each["task"], each["encoding"], each["is_task"]) for each in reversed(shown)
    ] == [(*rest, False) for _, *rest in entries]
    assert [each["at"] is None for each in reversed(shown)] == [False, False, True, True, True]


async def test_the_task_is_cut_in_the_list_and_whole_by_its_id(each, redis, queue):
    task = b'{"type":"a","payload":{"text":"%b"}}' % (b"x" * 700_000)
    [named] = await put(redis, queue, dead_letter(task, "why"))
    [listed] = (await each.get("/api/dead")).json()
    assert (listed["task"], listed["task_bytes"]) == (task[:TASK_SHOWN_MAX].decode(), len(task))
    assert (await each.get(f"/api/dead/{named}")).json()["task"] == task.decode()


async def test_pages_lead_from_the_newest_to_the_oldest_while_the_list_changes(each, redis, queue):
    ids = await put(redis, queue, *[b"%d" % number for number in range(120)])
    seen: list[str] = []
    path = "/api/dead?limit=7"
    while path:
        answer = await each.get(path)
        seen += [entry["task"] for entry in answer.json()]
        await put(redis, queue, b"new")
        await redis("LPOP", queue.keys.dead)
        leads = re.fullmatch(r'<(.*)>; rel="next"', answer.headers.get("link", ""))
        path = leads[1] if leads else ""
    assert seen == [str(number) for number in range(119, 119 - len(seen), -1)]
    assert len(seen) >= 100
    assert (await each.get("/api/dead")).headers["x-total-count"] == str(len(ids))
    assert len((await each.get("/api/dead")).json()) == 50


async def test_an_empty_list_is_an_array_without_a_link(each):
    answer = await each.get("/api/dead")
    assert (answer.json(), answer.headers["x-total-count"], "link" in answer.headers) == ([], "0", False)


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("limit=0", "limit: must be a whole number from 1 to 500"),
        ("limit=501", "limit: must be a whole number from 1 to 500"),
        ("limit=1&limit=2", "limit: must be given once"),
        ("cursor=x", "cursor: must be one from the Link header of an answer"),
        ("cursor=%E2%98%83", "cursor: must be one from the Link header of an answer"),
        ("type=a", "type: unknown parameter; allowed are limit, cursor"),
    ],
)
async def test_a_bad_parameter_is_named(redis_only, query: str, sentence: str):
    answer = await redis_only.get(f"/api/dead?{query}")
    assert (answer.status_code, answer.text) == (400, sentence)


@pytest.mark.parametrize(
    ("named", "status", "sentence"),
    [
        ("0" * 16, 404, "dead letter not found"),
        ("0" * 15, 400, "not the id of a dead letter"),
        ("A" * 16, 400, "not the id of a dead letter"),
    ],
)
async def test_what_is_no_entry_is_not_found(each, redis, queue, named: str, status: int, sentence: str):
    await put(redis, queue, b"x")
    answer = await each.get(f"/api/dead/{named}")
    assert (answer.status_code, answer.text) == (status, sentence)


@given(st.binary() | st.text().map(lambda text: json.dumps({"reason": text, "at": "2026-01-01T00:00:00Z"}).encode()))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_whatever_lies_there_is_json_in_an_answer(entry: bytes):
    for whole in (False, True):
        assert json.loads(msgspec.json.encode(dead_letter_view(entry, whole=whole)))["id"] == dead_letter_id(entry)


# --- acts


async def test_entries_are_retried_and_deleted_by_their_ids(each, redis, queue, tasks):
    entries = [dead_letter(b'{"type":"%b","attempts":3}' % letter, "E: x") for letter in (b"a", b"b", b"c")]
    ids = await put(redis, queue, *entries, b"no task")
    answer = await act(each, "retry", {"ids": [ids[0], ids[3], "0" * 16]})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    [reason] = answer.json()["reasons"]
    assert answer.json() == {"retried": 1, "kept": 1, "reasons": [reason], "missing": ["0" * 16], "left": 0}
    assert reason["id"] == ids[3]
    assert reason["why"].startswith("no valid task: ")
    assert await tasks() == [b'{"type":"a","payload":{},"retries":0,"attempts":0}']
    answer = await act(each, "delete", {"ids": [ids[1], ids[0]]})
    assert (answer.status_code, answer.json()) == (200, {"deleted": 1, "missing": [ids[0]], "left": 0})
    assert await redis.list(queue.keys.dead) == [entries[2], b"no task"]


async def test_all_are_retried_and_deleted(each, redis, queue, tasks):
    await put(redis, queue, dead_letter(b'{"type":"a"}', "E: x"), b"no task", dead_letter(b'{"type":"b"}', "E: x"))
    answer = (await act(each, "retry", {"all": True})).json()
    assert (answer["retried"], answer["kept"]) == (2, 1)
    assert [json.loads(task)["type"] for task in await tasks()] == ["a", "b"]
    assert (await act(each, "delete", {"all": True})).json() == {"deleted": 1, "missing": [], "left": 0}
    assert (await each.get("/api/dead")).json() == []


async def test_a_failed_job_that_lies_there_is_retried_by_its_row(client, redis, queue, store, tasks):
    job_id = await enqueue(client)
    await finish(store, job_id, await claim(store, queue, job_id), JobState.FAILED, error="E: x")
    await redis("DEL", queue.name)
    await put(redis, queue, dead_letter(TASK.replace(JOB_ID.encode(), str(job_id).encode()), "E: x"))
    assert (await act(client, "retry", {"all": True})).json()["retried"] == 1
    assert (await client.get(f"/api/jobs/{job_id}")).json()["status"] == "pending"
    assert [UUID(json.loads(task)["job_id"]) for task in await tasks()] == [job_id]


@pytest.mark.parametrize("name", ["retry", "delete"])
@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "invalid JSON body"), (b"{", "invalid JSON body"), (b"\xff", "invalid JSON body"),
        (b'{"ids":' + b"[" * 5000, NO_CHOICE),
        ({}, NO_CHOICE), ([], NO_CHOICE), (None, NO_CHOICE), ("all", NO_CHOICE), ({"all": False}, NO_CHOICE),
        ({"all": 1}, NO_CHOICE), ({"ids": []}, NO_CHOICE), ({"ids": "0" * 16}, NO_CHOICE), ({"ids": ["x"]}, NO_CHOICE),
        ({"ids": ["0" * 16], "all": True}, NO_CHOICE), ({"ids": None, "all": True}, NO_CHOICE),
        ({"ids": ["0" * 16] * 1001}, NO_CHOICE),
        ({"all": True, "type": "a"}, NO_CHOICE),  # a filter that is not known must not mean all
    ],
    ids=lambda value: repr(value)[:30],
)  # fmt: skip
async def test_a_body_that_is_not_understood_changes_nothing(redis_only, redis, queue, name, body, sentence):
    await put(redis, queue, dead_letter(b'{"type":"a"}', "E: x"))
    answer = await act(redis_only, name, body)
    assert (answer.status_code, answer.text) == (400, sentence)
    assert (await redis_only.get("/api/dead")).headers["x-total-count"] == "1"


@pytest.mark.parametrize("name", ["retry", "delete"])
async def test_only_json_of_our_own_pages_acts(each, redis, queue, name: str):
    await put(redis, queue, dead_letter(b'{"type":"a"}', "E: x"))
    for headers, status, sentence in (
        ({}, 415, "Content-Type must be application/json"),
        ({"Content-Type": "text/plain"}, 415, "Content-Type must be application/json"),
        (JSON | {"Origin": "https://evil.example"}, 403, "origin not allowed"),
    ):
        answer = await act(each, name, {"all": True}, headers)
        assert (answer.status_code, answer.text) == (status, sentence)
    too_large = await act(each, name, {"ids": ["0" * 2**20]})
    assert (too_large.status_code, too_large.text) == (413, "body too large")
    assert len(await redis.list(queue.keys.dead)) == 1


# --- outages


async def test_without_redis_each_request_says_that_it_failed(redis_url, redis_proxy: Proxy, queue_name, redis, queue):
    [named] = await put(redis, queue, dead_letter(b'{"type":"a"}', "E: x"))
    async with serving({"REDIS_URL": through(redis_url, redis_proxy), "QUEUE_NAME": queue_name}) as client:
        assert (await client.get("/api/dead")).status_code == 200
        redis_proxy.go_away()
        unknown = "failed to change the dead letters: it is not known which were changed"
        for answer, sentence in (
            (await client.get("/api/dead"), "failed to list dead letters"),
            (await client.get(f"/api/dead/{named}"), "failed to read dead letter"),
            (await act(client, "retry", {"all": True}), unknown),
            (await act(client, "delete", {"ids": [named]}), unknown),
        ):
            assert (answer.status_code, answer.text) == (500, sentence)
        redis_proxy.heal()
    assert len(await redis.list(queue.keys.dead)) == 1


async def test_without_postgres_nothing_is_retried_and_the_list_is_shown(
    environ, postgres_proxy: Proxy, store, redis, queue, tasks
):
    await put(redis, queue, dead_letter(TASK, "E: x"))
    variables = environ | {"DATABASE_URL": through(environ["DATABASE_URL"], postgres_proxy)}
    async with serving(variables) as client:
        assert (await client.get("/ready")).status_code in {200, 503}
        postgres_proxy.go_away()
        with trio.fail_after(30):
            while (await act(client, "retry", {"ids": ["0" * 16]})).status_code != 500:
                await trio.sleep(0.1)
        answer = await act(client, "retry", {"all": True})
        assert answer.status_code == 500
        assert len((await client.get("/api/dead")).json()) == 1
    assert await tasks() == []


async def test_a_producer_without_the_rows_of_the_queue_pushes_nothing(client, redis_url, redis, queue, tasks):
    """It would take the task of a job with a row for all there is."""
    await enqueue(client)
    await redis("DEL", queue.name)
    await put(redis, queue, dead_letter(TASK, "E: x"))
    async with serving({"REDIS_URL": redis_url, "QUEUE_NAME": queue.name}) as without:
        assert (await act(without, "retry", {"all": True})).status_code == 500
    assert await tasks() == []
