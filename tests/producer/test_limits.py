"""Limits over HTTP."""

from urllib.parse import quote

import httpx
import pytest

from workqueue.core.limits import GROUPS, Limit
from workqueue.core.queue import Queue
from workqueue.core.store import JobStore

JSON = {"Content-Type": "application/json"}


def path(scope: str) -> str:
    return f"/api/limits/{quote(scope, safe='')}"


async def put(client: httpx.AsyncClient, scope: str, **members: object) -> httpx.Response:
    return await client.put(path(scope), json=members)


async def delete(client: httpx.AsyncClient, scope: str) -> httpx.Response:
    return await client.request("DELETE", path(scope), json={})


async def acts(client: httpx.AsyncClient) -> list[tuple[str, object]]:
    return [(row["act"], row["target"]) for row in (await client.get("/api/audit")).json()]


@pytest.mark.parametrize(
    "scope",
    ["type:send_email", "group:acme", "groups", "type:mail/send", "group:größer 100%", "type:a?b#c", "group:'; DROP --",
     "group:a:b", "type:groups", "group:" + "x" * 200],
)  # fmt: skip
async def test_a_limit_is_set_shown_changed_and_deleted(client, scope: str):
    answer = await client.get(path(scope))
    assert (answer.status_code, answer.text) == (404, "no limit")
    answer = await put(client, scope, running=10)
    view = {"scope": scope, "running": 10, "rate": None, "per_seconds": None, "declared": False}
    assert (answer.status_code, answer.json()) == (200, view)
    assert list(answer.json()) == list(view)
    assert (await client.get(path(scope))).json() == view
    answer = await put(client, scope, rate=100, per_seconds=60)
    view |= {"running": None, "rate": 100, "per_seconds": 60}
    assert (answer.status_code, answer.json()) == (200, view), "the whole limit is another one"
    assert (await client.get("/api/limits")).json() == [view]
    answer = await put(client, scope, running=1, rate=5)
    assert answer.json() == view | {"running": 1, "rate": 5, "per_seconds": 1}
    answer = await delete(client, scope)
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await client.get("/api/limits")).json() == []
    answer = await delete(client, scope)
    assert (answer.status_code, answer.text) == (404, "no limit")
    assert await acts(client) == [
        ("delete limit", {"scope": scope}),
        ("set limit", {"scope": scope, "limit": {"running": 1, "rate": 5}}),
        ("set limit", {"scope": scope, "limit": {"rate": 100, "per_seconds": 60.0}}),
        ("set limit", {"scope": scope, "limit": {"running": 10}}),
    ]


async def test_a_change_is_in_redis_when_it_is_answered(client, queue: Queue, redis):
    await put(client, "type:x", running=10, rate=100, per_seconds=60)
    await put(client, "group:acme", running=2)
    limit = Limit(10, 100, 60.0)
    written = b"10 %d %d" % (limit.interval_us, limit.tolerance_us)
    assert await redis("HGETALL", f"{{{queue.name}}}:limits") == {b"v": b"2", b"type:x": written}
    assert await redis("HGETALL", f"{{{queue.name}}}:group_limits") == {b"group:acme": b"2 0 0"}
    await delete(client, "type:x")
    assert await redis("HGETALL", f"{{{queue.name}}}:limits") == {b"v": b"3"}


async def test_they_are_listed_by_scope_and_those_of_the_code_are_marked(client, store: JobStore, queue: Queue):
    declared = {"type:x": Limit(running=3), "type:y": Limit(rate=2)}
    await store.limits.declare(queue.name, declared, ["x", "y"])
    await put(client, "type:y", running=1)
    await put(client, "groups", running=5)
    await put(client, "group:b", running=7)
    listed = (await client.get("/api/limits")).json()
    assert [(each["scope"], each["running"], each["rate"], each["declared"]) for each in listed] == [
        ("group:b", 7, None, False), (GROUPS, 5, None, False), ("type:x", 3, None, True), ("type:y", 1, None, False),
    ]  # fmt: skip
    assert (await client.get(path("group:a"))).status_code == 404, "it has none of its own"
    assert (await client.get(path("type:x"))).json()["declared"]
    answer = await delete(client, "type:x")
    assert (answer.status_code, answer.text) == (404, "no limit"), "it is the code's"
    assert (await delete(client, "type:y")).status_code == 204
    view = {"scope": "type:y", "running": None, "rate": 2, "per_seconds": 1, "declared": True}
    assert (await client.get(path("type:y"))).json() == view


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({}, "running or rate is required"),
        ({"running": None, "rate": None}, "running or rate is required"),
        ({"running": 0}, "running is not valid"),
        ({"running": 1.5}, "running is not valid"),
        ({"running": 10**40}, "running is not valid"),
        ({"running": "10"}, "running is not valid"),
        ({"rate": -1}, "rate is not valid"),
        ({"rate": "100/60s"}, "rate is not valid"),
        ({"rate": 1, "per_seconds": 0}, "per_seconds is not valid"),
        ({"rate": 1, "per_seconds": [1]}, "per_seconds is not valid"),
        ({"running": 1, "per_seconds": 60}, "per_seconds is not valid"),
        ({"runing": 1}, "runing: unknown member; allowed are running, rate, per_seconds"),
    ],
)
async def test_what_is_wrong_is_said_and_changes_nothing(client, store: JobStore, queue: Queue, members, said: str):
    answer = await put(client, "type:x", **members)
    assert (answer.status_code, answer.text) == (400, said)
    assert await store.limits.version(queue.name) == 0
    assert await acts(client) == []


@pytest.mark.parametrize(
    "body", [b"", b"x", b"[]", b"5", b"null", b'{"running": "\xff"}', b'{"running": 1', b"{" * 10_000]
)
async def test_a_body_that_is_no_object_is_refused(client, body: bytes):
    answer = await client.put(path("type:x"), content=body, headers=JSON)
    assert (answer.status_code, answer.text) == (400, "invalid JSON body")


@pytest.mark.parametrize(
    "scope", ["x", "type:", "group:", "queue:x", "groups:x", "type:a\0b", "type:" + "x" * 201, "Groups"]
)
async def test_a_scope_that_there_cannot_be_is_refused(client, scope: str):
    for answer in (await client.get(path(scope)), await put(client, scope, running=1), await delete(client, scope)):
        assert (answer.status_code, answer.text) == (400, "scope is not valid")


async def test_there_is_an_end_to_their_number(client, store: JobStore, queue: Queue):
    await store.limits.declare(queue.name, {f"type:{number}": Limit(1) for number in range(100)}, [])
    answer = await put(client, "type:x", running=1)
    assert (answer.status_code, answer.text) == (409, "too many limits")
    assert (await put(client, "type:7", running=2)).status_code == 200
    assert (await put(client, "group:x", running=2)).status_code == 200


async def test_only_json_of_an_allowed_origin_acts(client):
    assert (await client.put(path("type:x"), content=b'{"running": 1}')).status_code == 415
    assert (await client.delete(path("type:x"))).status_code == 415
    answer = await client.put(path("type:x"), json={"running": 1}, headers={"Origin": "https://evil.example"})
    assert (answer.status_code, answer.text) == (403, "origin not allowed")
    assert (await client.post(path("type:x"), json={})).status_code == 405
    assert (await client.put("/api/limits", json={})).status_code == 405
    assert (await client.get("/api/limits")).json() == []


async def test_without_rows_there_are_none(redis_only):
    for answer in (
        await redis_only.get("/api/limits"),
        await redis_only.get(path("type:x")),
        await put(redis_only, "type:x", running=1),
        await delete(redis_only, "type:x"),
    ):
        assert (answer.status_code, answer.text) == (404, "jobs are stored only with DATABASE_URL")
