"""Each act of a person leaves a row, with the name of its token; GET /api/audit shows them."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.producer.published import publish
from tests.producer.rows import claim, finish
from tests.producer.serving import serving
from tests.producer.tokens import API_TOKENS, bearer
from workqueue.core.api_tokens import Role
from workqueue.core.dead_letter import dead_letter, dead_letter_id
from workqueue.core.job import JobState
from workqueue.core.store import JobStore
from workqueue.services.producer.api import ROUTES

OPS = bearer("operate")


@pytest.fixture
async def guarded(store: JobStore, environ: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(environ | {"API_TOKENS": API_TOKENS}) as client:
        yield client


async def audit(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    answer = await client.get("/api/audit", headers=bearer("admin"))
    assert answer.status_code == 200, answer.text
    return answer.json()


async def enqueue(client: httpx.AsyncClient) -> UUID:
    return UUID((await client.post("/enqueue", json={"type": "a"}, headers=OPS)).json()["job_id"])


def of(row: dict[str, Any]) -> tuple[object, ...]:
    return row["who"], row["act"], row["target"], row["count"]


async def test_acts_on_a_job_leave_their_rows(guarded, psql, store, queue):
    job_id = await enqueue(guarded)
    target = {"ids": [str(job_id)]}
    for act in ("cancel", "retry", "run-now"):
        if act == "run-now":
            await psql("UPDATE jobs SET run_at = now() + interval '1 h'")
        assert (await guarded.post(f"/api/jobs/{job_id}/{act}", json={}, headers=OPS)).status_code == 200
    await finish(store, job_id, await claim(store, queue, job_id), JobState.COMPLETED)
    assert (await guarded.request("DELETE", f"/api/jobs/{job_id}", json={}, headers=OPS)).status_code == 204
    rows = await audit(guarded)
    assert [of(row) for row in rows] == [
        ("operate-1", act, target, 1) for act in ("delete", "run-now", "retry", "cancel")
    ]
    assert [row["id"] for row in rows] == sorted((row["id"] for row in rows), reverse=True)
    assert await psql.value("SELECT max(at) - min(at) < interval '1 min' FROM audit")


async def test_the_row_is_of_the_acts_own_transaction(guarded, psql):
    job_id = await enqueue(guarded)
    await psql("ALTER TABLE audit ADD CONSTRAINT none CHECK (act = 'never') NOT VALID")
    answer = await guarded.post(f"/api/jobs/{job_id}/cancel", json={}, headers=OPS)
    assert answer.status_code == 500
    assert await psql.value("SELECT state FROM jobs") == "pending", "no act without its row"
    body = {"action": "cancel", "filter": {}, "expected": 1}
    assert (await guarded.post("/api/jobs/actions", json=body, headers=OPS)).status_code == 500
    assert await psql.value("SELECT count(*) FROM actions") == 0


async def test_what_was_refused_or_changed_nothing_leaves_no_row(guarded):
    job_id = await enqueue(guarded)
    for path in (f"/api/jobs/{job_id}/retry", f"/api/jobs/{UUID(int=1)}/cancel", "/api/jobs/x/cancel"):
        assert (await guarded.post(path, json={}, headers=OPS)).status_code in {400, 404, 409}
    assert (await guarded.post(f"/api/jobs/{job_id}/cancel", json={}, headers=bearer("read"))).status_code == 403
    assert (await guarded.post(f"/api/jobs/{job_id}/cancel", json={})).status_code == 401
    body: dict[str, Any] = {"action": "cancel", "filter": {}}
    assert (await guarded.post("/api/jobs/actions", json=body | {"dry_run": True}, headers=OPS)).status_code == 200
    assert (await guarded.post("/api/jobs/actions", json=body, headers=OPS)).status_code == 409
    assert await audit(guarded) == []


async def test_an_action_on_many_jobs_and_its_stop_leave_rows(guarded):
    await enqueue(guarded)
    await enqueue(guarded)
    body = {"action": "cancel", "filter": {"type": "a", "status": "pending"}, "expected": 2}
    action_id = (await guarded.post("/api/jobs/actions", json=body, headers=OPS)).json()["id"]
    for _ in range(2):  # the second has nothing to stop
        answer = await guarded.post(f"/api/actions/{action_id}/stop", json={}, headers=bearer("admin"))
        assert answer.status_code == 200
    assert [of(row) for row in await audit(guarded)] == [
        ("admin-1", "stop", {"action": action_id}, 0),
        ("operate-1", "cancel", {"action": action_id, "filter": {"type": "a", "status": "pending"}}, 2),
    ]


async def test_pausing_a_type_and_resuming_it_leave_rows(guarded):
    for act in ("pause", "resume"):
        assert (await guarded.post(f"/api/types/send%2Fmail/{act}", json={}, headers=OPS)).status_code == 200
    assert [of(row) for row in await audit(guarded)] == [
        ("operate-1", act, {"type": "send/mail"}, None) for act in ("resume", "pause")
    ]


async def test_acts_on_schedules_leave_rows(guarded):
    path, body = "/api/schedules/daily", {"cron": "@daily", "type": "a"}
    for role in ("read", "enqueue"):
        assert (await guarded.put(path, json=body, headers=bearer(role))).status_code == 403
    assert (await guarded.put(path, json=body, headers=OPS)).status_code == 200
    for act in ("pause", "resume", "run-now"):
        assert (await guarded.post(f"{path}/{act}", json={}, headers=OPS)).status_code == 200
    assert (await guarded.request("DELETE", path, json={}, headers=OPS)).status_code == 204
    assert (await guarded.request("DELETE", path, json={}, headers=OPS)).status_code == 404
    assert [of(row) for row in await audit(guarded)] == [
        ("operate-1", "delete schedule", {"schedule": "daily"}, None),
        ("operate-1", "run schedule now", {"schedule": "daily"}, 1),
        ("operate-1", "resume schedule", {"schedule": "daily"}, None),
        ("operate-1", "pause schedule", {"schedule": "daily"}, None),
        ("operate-1", "put schedule", {"schedule": "daily"}, None),
    ]


async def test_what_is_done_to_a_queue_leaves_rows(guarded):
    assert (await guarded.post("/enqueue", json={"type": "a", "queue": "mail"}, headers=OPS)).status_code == 200
    bodies: dict[str, dict[str, str]] = {"pause": {}, "resume": {}, "purge": {"confirm": "mail"}}
    for act, body in bodies.items():
        assert (await guarded.post(f"/api/queues/mail/{act}", json=body, headers=OPS)).status_code == 200
    purged, *others = [of(row) for row in await audit(guarded)]
    target: Any = purged[2]
    assert (purged[:2], target["filter"], purged[3]) == (
        ("operate-1", "purge queue"), {"status": "pending", "queue": "mail"}, 1,
    )  # fmt: skip
    assert others == [("operate-1", f"{act} queue", {"queue": "mail"}, None) for act in ("resume", "pause")]


async def test_what_is_done_to_a_limit_leaves_rows(guarded):
    path, scope = "/api/limits/type:send/mail", {"scope": "type:send/mail"}
    for role in ("read", "enqueue"):
        assert (await guarded.put(path, json={"running": 1}, headers=bearer(role))).status_code == 403
    assert (await guarded.put(path, json={"running": 0}, headers=OPS)).status_code == 400
    assert (await guarded.put(path, json={"running": 1}, headers=OPS)).status_code == 200
    assert (await guarded.request("DELETE", path, json={}, headers=OPS)).status_code == 204
    assert (await guarded.request("DELETE", path, json={}, headers=OPS)).status_code == 404
    assert [of(row) for row in await audit(guarded)] == [
        ("operate-1", "delete limit", scope, None),
        ("operate-1", "set limit", scope | {"limit": {"running": 1}}, None),
    ]


def test_each_route_that_operates_is_one_of_those_here():
    """A new act leaves a row as well, and has its test here."""
    job, dead, action = "/api/jobs/{job_id}", "/api/dead", "/api/actions/{action_id}"
    assert {route.key for route in ROUTES if route.role is Role.OPERATE} == {
        ("POST", f"{job}/cancel"), ("POST", f"{job}/retry"), ("POST", f"{job}/run-now"), ("DELETE", job),
        ("POST", "/api/jobs/actions"), ("POST", f"{action}/stop"), ("POST", f"{dead}/retry"), ("DELETE", dead),
        ("POST", "/api/types/{job_type}/pause"), ("POST", "/api/types/{job_type}/resume"),
        *(("POST", f"/api/queues/{{queue_name}}/{act}") for act in ("pause", "resume", "purge")),
        *(("POST", f"/api/workers/{{worker_id}}/{act}") for act in ("quiet", "resume", "stop")),
        *(("POST", f"/api/schedules/{{schedule_name}}/{act}") for act in ("pause", "resume", "run-now")),
        *((method, "/api/schedules/{schedule_name}") for method in ("PUT", "DELETE")),
        *((method, "/api/limits/{scope}") for method in ("PUT", "DELETE")),
    }  # fmt: skip


async def test_acts_on_dead_letters_leave_rows(guarded, redis, queue):
    entries = [dead_letter(b'{"type":"%d"}' % number, "E: x") for number in range(4)]
    ids = [dead_letter_id(entry) for entry in entries]
    await redis("RPUSH", queue.keys.dead, *entries)
    for method, path, body in (
        ("POST", "/api/dead/retry", {"ids": ids[:1]}),
        ("DELETE", "/api/dead", {"ids": ids[1:2]}),
        ("POST", "/api/dead/retry", {"all": True}),
        ("DELETE", "/api/dead", {"all": True}),
    ):
        assert (await guarded.request(method, path, json=body, headers=OPS)).status_code == 200
    assert [of(row) for row in await audit(guarded)] == [
        ("operate-1", "dead delete", {"all": True}, 0),
        ("operate-1", "dead retry", {"all": True}, 2),
        ("operate-1", "dead delete", {"ids": ids[1:2]}, 1),
        ("operate-1", "dead retry", {"ids": ids[:1]}, 1),
    ]


async def test_what_a_worker_is_asked_leaves_its_row_and_without_one_it_is_not_asked(guarded, queue, psql):
    worker = await publish(queue, b'{"name":"host.1"}')
    for act in ("quiet", "resume", "stop"):
        assert (await guarded.post(f"/api/workers/{worker}/{act}", json={}, headers=OPS)).status_code == 200
    assert (await guarded.post(f"/api/workers/{UUID(int=1)}/stop", json={}, headers=OPS)).status_code == 404
    assert (await guarded.post(f"/api/workers/{worker}/quiet", json={}, headers=bearer("read"))).status_code == 403
    assert [of(row) for row in await audit(guarded)] == [
        ("operate-1", f"worker {act}", {"worker": str(worker), "name": "host.1"}, 1)
        for act in ("stop", "resume", "quiet")
    ]
    await psql("ALTER TABLE audit ADD CONSTRAINT none CHECK (act = 'never') NOT VALID")
    answer = await guarded.post(f"/api/workers/{worker}/quiet", json={}, headers=OPS)
    assert (answer.status_code, answer.text) == (500, "failed to ask the worker: it is not known whether it was asked")
    assert await queue.asked([worker]) == {worker: "stop"}


async def test_a_dead_letter_that_is_retried_by_its_row_is_one_act(guarded, redis, queue, psql):
    job_id = await enqueue(guarded)
    await psql("UPDATE jobs SET state = 'failed', failed_at = now()")
    entry = dead_letter(b'{"type":"a","job_id":"%b"}' % str(job_id).encode(), "E: x")
    await redis("RPUSH", queue.keys.dead, entry)
    assert (await guarded.post("/api/dead/retry", json={"all": True}, headers=OPS)).json()["retried"] == 1
    assert [of(row) for row in await audit(guarded)] == [("operate-1", "dead retry", {"all": True}, 1)]


async def test_without_rows_acts_on_dead_letters_and_workers_are_logged(redis_url, queue_name, queue, redis, caplog):
    entry = dead_letter(b'{"type":"a"}', "E: x")
    await redis("RPUSH", queue.keys.dead, entry)
    environ = {"REDIS_URL": redis_url, "QUEUE_NAME": queue_name, "API_TOKENS": API_TOKENS}
    async with serving(environ) as client:
        with caplog.at_level("INFO"):
            assert (await client.request("DELETE", "/api/dead", json={"all": True}, headers=OPS)).status_code == 200
            worker = await publish(queue, b'{"name":"host.1"}')
            assert (await client.post(f"/api/workers/{worker}/quiet", json={}, headers=OPS)).status_code == 200
        assert 'dead delete by token operate-1: 1 of {"all":true}' in caplog.text
        assert f'worker quiet by token operate-1: 1 of {{"worker":"{worker}","name":"host.1"}}' in caplog.text
        answer = await client.get("/api/audit", headers=bearer("admin"))
        assert (answer.status_code, answer.text) == (404, "jobs are stored only with DATABASE_URL")


async def test_without_tokens_the_rows_name_no_one(client):
    job_id = UUID((await client.post("/enqueue", json={"type": "a"})).json()["job_id"])
    await client.post(f"/api/jobs/{job_id}/cancel", json={})
    [row] = (await client.get("/api/audit")).json()
    assert of(row) == (None, "cancel", {"ids": [str(job_id)]}, 1)


async def test_a_session_acts_in_the_name_of_its_token(guarded):
    job_id = await enqueue(guarded)
    secret = OPS["Authorization"].removeprefix("Bearer ")
    await guarded.post("/api/session", json={"token": secret})
    assert (await guarded.post(f"/api/jobs/{job_id}/cancel", json={})).status_code == 200
    assert [row["who"] for row in await audit(guarded)] == ["operate-1"]


async def test_pages_are_walked_by_ids(guarded, psql, queue_name):
    await psql(
        "INSERT INTO audit (queue, who, act, target) SELECT $1, 'x', 'cancel', '{}' FROM generate_series(1, 5)",
        queue_name,
    )
    await psql("INSERT INTO audit (queue, act, target) VALUES ('of another queue', 'cancel', '{}')")
    seen, path = [], "/api/audit?limit=2"
    while path:
        answer = await guarded.get(path, headers=bearer("admin"))
        seen.append([row["id"] for row in answer.json()])
        path = answer.links.get("next", {}).get("url", "")
    assert seen == [[5, 4], [3, 2], [1]]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("limit=0", "limit: must be a whole number from 1 to 500"),
        ("before=x", "before: must be the id of an act"),
        ("before=-1", "before: must be the id of an act"),
        ("before=99999999999999999", "before: must be the id of an act"),
        ("before=1&before=2", "before: must be given once"),
        ("page=2", "page: unknown parameter; allowed are limit, before"),
    ],
)
async def test_a_query_is_read_strictly(client, query: str, said: str):
    answer = await client.get(f"/api/audit?{query}")
    assert (answer.status_code, answer.text) == (400, said)
    assert (await client.get("/api/audit?limit=&before=")).json() == []
