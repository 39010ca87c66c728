"""The queues of an installation over HTTP."""

import httpx
import pytest

from tests.support.wait import until
from workqueue.core.queue import Queue
from workqueue.core.queue.client import QUEUES_MAX
from workqueue.core.store import JobStore

JSON = {"Content-Type": "application/json"}


async def enqueue(client: httpx.AsyncClient, **options: object) -> httpx.Response:
    return await client.post("/enqueue", json={"type": "x", **options})


async def change(client: httpx.AsyncClient, name: str, act: str, body: str = "{}") -> httpx.Response:
    return await client.post(f"/api/queues/{name}/{act}", headers=JSON, content=body)


async def test_an_answer_says_which_queue_and_which_list(client, redis, queue_name):
    answer = (await enqueue(client, queue="mail", delay=60)).json()
    assert list(answer) == ["status", "type", "retries", "queue_name", "job_id", "run_at", "queue"]
    assert (answer["queue"], answer["queue_name"]) == ("mail", f"{{{queue_name}}}:q:mail")
    answer = (await enqueue(client, queue="mail")).json()
    assert await redis("LLEN", answer["queue_name"]) == 1
    answer = (await enqueue(client, queue="default")).json()
    assert (list(answer), answer["queue_name"]) == (["status", "type", "retries", "queue_name", "job_id"], queue_name)


@pytest.mark.parametrize("name", ["", "a b", "ü", "a" * 65, "a:b", 3, [], True, "a\n"])
async def test_a_bad_name_is_refused(client, name):
    answer = await enqueue(client, queue=name)
    assert (answer.status_code, answer.text) == (400, "queue is not valid")
    assert (await client.get("/api/jobs")).json() == []


async def test_jobs_are_shown_with_their_queue_and_found_by_it(client):
    mail = (await enqueue(client, queue="mail")).json()["job_id"]
    plain = (await enqueue(client)).json()["job_id"]
    assert (await client.get(f"/api/jobs/{mail}")).json()["queue"] == "mail"
    assert (await client.get(f"/api/jobs/{plain}")).json()["queue"] == "default"
    assert [job["id"] for job in (await client.get("/api/jobs?queue=mail")).json()] == [mail]
    assert [job["id"] for job in (await client.get("/api/jobs?queue=default&status=pending")).json()] == [plain]
    answer = await client.get("/api/jobs?queue=a%20b")
    assert (answer.status_code, answer.text) == (400, "queue: must have 1 to 64 letters, digits, - and _")
    body = '{"action": "cancel", "filter": {"queue": "mail"}, "dry_run": true}'
    assert (await client.post("/api/jobs/actions", headers=JSON, content=body)).json() == {"matched": 1}


async def test_the_list_says_what_is_in_each(client, queue: Queue, queue_name):
    await enqueue(client)
    for more in ({}, {}, {"delay": 60}):
        await enqueue(client, queue="mail", **more)
    default, mail = (await client.get("/api/queues")).json()
    assert list(default) == [
        "name", "key", "waiting", "scheduled", "running", "oldest_seconds", "paused", "done_per_minute",
        "failed_per_minute",
    ]  # fmt: skip
    assert (default["name"], default["key"], default["waiting"], default["scheduled"]) == ("default", queue_name, 1, 0)
    assert (mail["name"], mail["key"], mail["waiting"], mail["scheduled"]) == (
        "mail", queue.keys.ready_of("mail"), 2, 1,
    )  # fmt: skip
    assert 0 <= mail["oldest_seconds"] < 30
    assert (mail["running"], mail["paused"], mail["done_per_minute"], mail["failed_per_minute"]) == (0, False, 0, 0)
    overview = (await client.get("/api/overview")).json()
    assert (overview["waiting"], overview["scheduled"]) == (3, 1)


async def test_what_ended_in_the_last_minute_is_counted(client, store: JobStore, psql, queue_name):
    await enqueue(client, queue="mail")
    await psql(
        "INSERT INTO stats (queue, span, at, type, enqueued, done, failed, retried, cancelled, waits, runs) "
        "VALUES ($1, 60, date_trunc('minute', now()), 'x', 0, 10, 4, 0, 0, '{}', '{}')", queue_name
    )  # fmt: skip
    await psql("INSERT INTO queue_stats VALUES ($1, date_trunc('minute', now()), 'mail', 3, 1)", queue_name)
    default, mail = (await client.get("/api/queues")).json()
    assert (default["done_per_minute"], default["failed_per_minute"]) == (7, 3)
    assert (mail["done_per_minute"], mail["failed_per_minute"]) == (3, 1)


async def test_a_queue_is_paused_and_resumed(client, store: JobStore, queue: Queue):
    await enqueue(client, queue="mail")
    answer = await change(client, "mail", "pause")
    assert (answer.status_code, answer.json()) == (200, {"name": "mail", "paused": True})
    assert [each["paused"] for each in (await client.get("/api/queues")).json()] == [False, True]
    assert (await store.pauses.read(queue.name)).queues == {"mail"}
    await client.post("/api/types/x/pause", headers=JSON)
    paused = await store.pauses.read(queue.name)
    assert paused.queues == {"mail"}
    assert paused.types == {"x"}
    answer = await change(client, "mail", "resume")
    assert (answer.status_code, answer.json()) == (200, {"name": "mail", "paused": False})
    assert (await store.pauses.read(queue.name)).types == {"x"}
    assert (await change(client, "default", "pause")).json()["paused"] is True
    rows = (await client.get("/api/audit")).json()
    assert [row["act"] for row in rows][:2] == ["pause queue", "resume queue"]


async def test_what_is_wrong_is_said_and_changes_nothing(client, store: JobStore, queue: Queue):
    answer = await change(client, "nail", "pause")
    assert (answer.status_code, answer.text) == (404, "queue not found")
    answer = await change(client, "a%20b", "pause")
    assert (answer.status_code, answer.text) == (400, "a queue has 1 to 64 letters, digits, - and _")
    await enqueue(client, queue="mail")
    bodies = {"{}": 400, '{"confirm": 3}': 400, '{"confirm": "mail", "more": 1}': 400, '{"confirm": "nail"}': 409}
    for body, status in bodies.items():
        answer = await change(client, "mail", "purge", body)
        assert (answer.status_code, answer.text) == (status, "confirm: must be the name of the queue")
    assert (await change(client, "mail", "purge", "x")).text == "invalid JSON body"
    assert (await store.pauses.read(queue.name)).queues == frozenset()


async def test_a_purge_is_an_action_on_all_that_waits(client):
    for _ in range(3):
        await enqueue(client, queue="mail")
    answer = await change(client, "mail", "purge", '{"confirm": "mail"}')
    assert (answer.status_code, answer.json()["matched"]) == (200, 3)
    action = (await client.get(f"/api/actions/{answer.json()['id']}")).json()
    assert (action["action"], action["filter"]["queue"], action["filter"]["status"]) == ("cancel", "mail", "pending")


async def test_there_is_a_limit_to_their_number(client, queue: Queue, redis):
    await redis("SADD", queue.keys.queues, *(f"q{number}" for number in range(QUEUES_MAX)))
    answer = await enqueue(client, queue="one-more")
    assert (answer.status_code, answer.text) == (400, "too many queues")
    assert (await enqueue(client, queue="q7")).status_code == 200
    lines = '{"type":"x","queue":"one-more"}\n{"type":"x","queue":"q7"}\n{"type":"x"}\n'
    answer = await client.post("/api/jobs/batch", content=lines, headers={"Content-Type": "application/x-ndjson"})
    first, second, third = answer.text.splitlines()
    assert first == '{"index":0,"error":"too many queues"}'
    assert "job_id" in second
    assert "job_id" in third
    assert len((await client.get("/api/jobs")).json()) == 3


async def test_without_rows_jobs_have_queues_and_none_can_be_listed(redis_only, queue: Queue):
    answer = (await enqueue(redis_only, queue="mail")).json()
    assert answer["queue"] == "mail"

    async def waits() -> bool:
        return (await queue.depths()).others["mail"].ready == 1

    await until(waits)
    for name in ("pause", "resume", "purge"):
        answer = await change(redis_only, "mail", name)
        assert (answer.status_code, answer.text) == (404, "jobs are stored only with DATABASE_URL")
    assert (await redis_only.get("/api/queues")).status_code == 404
