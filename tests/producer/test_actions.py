"""POST /api/jobs/actions, GET /api/actions and POST /api/actions/<id>/stop."""

from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from tests.producer.rows import enqueue
from workqueue.core.queue import Queue
from workqueue.core.steps.actions import Actions
from workqueue.core.steps.acts import Acts
from workqueue.core.steps.piggyback import Piggyback
from workqueue.core.store import JobStore
from workqueue.services.http.responses import Refused
from workqueue.services.producer.actions import read_action

FAILED = "UPDATE jobs SET state = 'failed', failed_at = now(), error_message = 'Timeout'"


async def post(client: httpx.AsyncClient, **body: Any) -> httpx.Response:
    return await client.post("/api/jobs/actions", json=body)


STATUSES = "filter.status: must be one of pending, scheduled, retrying, processing, completed, failed, cancelled"


@pytest.fixture
def worker(queue: Queue, store: JobStore) -> Actions:
    """The part of a worker that carries actions out."""
    return Actions(queue, store, Acts(queue, store, Piggyback()))


async def test_a_dry_run_counts_and_an_action_is_carried_out(client, psql, worker: Actions):
    for _ in range(3):
        await enqueue(client)
    await psql(FAILED)
    wanted = {"action": "retry", "filter": {"status": "failed", "error": "timeout"}}
    answer = await post(client, **wanted, dry_run=True)
    assert (answer.status_code, answer.json()) == (200, {"matched": 3})
    answer = await post(client, **wanted, expected=3)
    assert (answer.status_code, answer.json()["matched"]) == (202, 3)
    path = f"/api/actions/{answer.json()['id']}"
    shown = (await client.get(path)).json()
    assert [shown[name] for name in ("action", "matched", "done", "failed", "state")] == ["retry", 3, 0, 0, "running"]
    assert (shown["filter"]["status"], shown["filter"]["error"]) == ("failed", "timeout")
    while await worker.run_once():
        pass
    shown = (await client.get(path)).json()
    assert [shown[name] for name in ("done", "failed", "state")] == [3, 0, "done"]
    assert await psql.value("SELECT count(*) FROM jobs WHERE state = 'pending'") == 3
    assert [each["id"] for each in (await client.get("/api/actions")).json()] == [answer.json()["id"]]


async def test_an_action_is_stopped(client, psql, worker: Actions):
    await enqueue(client)
    answer = await post(client, action="cancel", filter={}, expected=1)
    stopped = await client.post(f"/api/actions/{answer.json()['id']}/stop", json={})
    assert (stopped.status_code, stopped.json()["state"]) == (200, "stopped")
    assert not await worker.run_once()
    assert await psql.value("SELECT state FROM jobs") == "pending"


@pytest.mark.parametrize(("expected", "status"), [(0, 409), (9, 409), (10, 202), (20, 202), (30, 202), (31, 409)])
async def test_what_matches_must_be_near_what_was_expected(client, psql, queue_name, expected: int, status: int):
    await psql(
        "INSERT INTO jobs (id, queue, type, payload, retries, state)"
        " SELECT gen_random_uuid(), $1, 'x', '{}', 0, 'pending' FROM generate_series(1, 20)",
        queue_name,
    )
    answer = await post(client, action="cancel", filter={}, expected=expected)
    assert answer.status_code == status, answer.text
    if status == 409:
        assert answer.text == f"20 jobs match, and {expected} were expected"
        assert await psql("SELECT * FROM actions") == []


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "invalid JSON body"),
        (b"{", "invalid JSON body"),
        (b"[]", "body: expected object, got array"),
        (b"{}", "body: object missing required field action"),
        (b'{"action": "eat", "filter": {}}', "action: must be one of cancel, retry, run-now, delete"),
        (b'{"action": "retry"}', "body: object missing required field filter"),
        (b'{"action": "retry", "filter": {}, "expected": -1}', "expected: expected float >= 0.0"),
        (b'{"action": "retry", "filter": {}, "expected": true}', "expected: expected float | null, got bool"),
        (
            b'{"action": "retry", "filter": {"state": "failed"}}',
            "filter: state: unknown member; allowed are status, type, queue, group, "
            "created_after, created_before, error, ids",
        ),
        (b'{"action": "retry", "filter": {"status": "x"}}', STATUSES),
        (b'{"action": "retry", "filter": {"type": ""}}', "filter.type: expected str of length >= 1"),
        (b'{"action": "retry", "filter": {"ids": ["x"]}}', "filter.ids[0]: invalid UUID"),
        (b'{"action": "retry", "filter": {"created_after": "2026-01-01T00:00:00"}}', "filter.created_after: expected "
         "datetime with a timezone component"),
        (b'{"action": "retry", "filter": {}, "dry_run": 1}', "dry_run: expected bool, got int"),
        (
            b'{"action": "retry", "filter": {}, "more": 1}',
            "body: more: unknown member; allowed are action, filter, expected, dry_run",
        ),
    ],
)  # fmt: skip
def test_a_wrong_body_gets_one_sentence_that_names_the_member(body: bytes, sentence: str):
    with pytest.raises(Refused) as refused:
        read_action(body)
    assert (refused.value.status, refused.value.message) == (400, sentence)


@pytest.mark.parametrize("name", ["type", "error"])
def test_a_nul_is_refused(name: str):
    with pytest.raises(Refused, match=rf"^filter.{name}: "):
        read_action(b'{"action": "retry", "filter": {"%b": "a\\u0000b"}}' % name.encode())


def test_a_thousand_ids_may_be_named():
    ids = ",".join(f'"{uuid4()}"' for _ in range(1000))
    body = '{"action": "retry", "expected": 1, "filter": {"ids": [%s]}}'
    assert len(read_action((body % ids).encode()).filter.ids or ()) == 1000
    with pytest.raises(Refused, match=r"filter\.ids: expected array of length <= 1000"):
        read_action((body % f'{ids},"{uuid4()}"').encode())


async def test_without_a_number_that_is_expected_nothing_is_changed(client, psql):
    await enqueue(client)
    answer = await post(client, action="cancel", filter={})
    assert (answer.status_code, answer.text) == (409, "1 jobs match: send this number as `expected`")
    assert await psql("SELECT * FROM actions") == []


async def test_a_refused_body_changes_nothing(client, psql):
    answer = await post(client, action="retry", filter={"status": "x"}, expected=0)
    assert (answer.status_code, answer.text) == (400, STATUSES)
    assert await psql("SELECT * FROM actions") == []


async def test_only_json_acts_because_a_hostile_page_cannot_send_it(client, psql):
    answer = await client.post("/api/jobs/actions", content=b'{"action": "delete", "filter": {}, "expected": 0}')
    assert (answer.status_code, answer.text) == (415, "Content-Type must be application/json")
    assert await psql("SELECT * FROM actions") == []


async def test_what_is_no_action_is_not_found(client):
    for action_id, status, sentence in ((uuid4(), 404, "action not found"), ("x", 400, "not an action id")):
        for answer in (
            await client.get(f"/api/actions/{action_id}"),
            await client.post(f"/api/actions/{action_id}/stop", json={}),
        ):
            assert (answer.status_code, answer.text) == (status, sentence)


async def test_without_rows_there_is_nothing_to_act_on(redis_only):
    for answer in (
        await post(redis_only, action="cancel", filter={}, expected=0),
        await redis_only.get("/api/actions"),
        await redis_only.get(f"/api/actions/{UUID(int=1)}"),
    ):
        assert (answer.status_code, answer.text) == (404, "jobs are stored only with DATABASE_URL")
