"""/health, /ready, /metrics and /api/overview, with workers as they publish themselves."""

import json
from uuid import UUID, uuid4

import pytest

from tests.producer.published import PUBLISHED, publish
from tests.support.wait import is_ready, until
from workqueue.core.gone import Gone, write_gone
from workqueue.core.ids import new_ids
from workqueue.core.queue.client import SHOWN_BYTES_MAX


async def test_health_is_ok(redis_only):
    answer = await redis_only.get("/health")
    assert (answer.status_code, answer.text) == (200, "ok")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


async def test_ready_once_both_answered(client):
    await until(lambda: is_ready(client))
    assert (await client.get("/ready")).text == "ready"


async def test_metrics_are_the_five_fields_summed_over_living_workers(redis_only, queue, queue_name):
    await publish(queue, json.dumps(PUBLISHED).encode())
    await publish(queue, json.dumps(PUBLISHED | {"jobs_done": 5, "concurrency": 2}).encode())
    for _ in range(3):
        await redis_only.post("/enqueue", json={"type": "a"})
    answer = await redis_only.get("/metrics")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.text == (
        f'{{"total_jobs_in_queue":3,"jobs_done":15,"jobs_failed":6,"worker_concurrency":6,"queue_name":"{queue_name}"}}'
    )


async def test_what_waits_in_the_front_list_is_ready_too(redis_only, queue):
    await redis_only.post("/enqueue", json={"type": "a"})
    await queue._command("LMOVE", queue.keys.ready, queue.keys.front, "LEFT", "RIGHT")  # a worker that waited
    assert (await redis_only.get("/metrics")).json()["total_jobs_in_queue"] == 1


async def test_the_overview_tells_everything_at_once(client, queue, queue_name):
    await until(lambda: is_ready(client))
    await publish(queue, json.dumps(PUBLISHED).encode())
    await client.post("/enqueue", json={"type": "a"})
    await queue.schedule([(60_000, b"x"), (60_000, b"y")])
    await queue._command("RPUSH", queue.keys.dead, b"z")
    answer = (await client.get("/api/overview")).json()
    for name in ("redis", "postgres"):
        health = answer.pop(name)
        assert (health["ok"], health["error"]) == (True, None)
        assert 0 < health["ms"] < 5000
    assert answer.pop("version")
    assert 0 <= answer.pop("oldest_seconds") < 60
    assert answer == {
        "queue_name": queue_name, "waiting": 1, "scheduled": 2, "dead": 1, "workers": 1, "concurrency": 4, "running": 1,
        "jobs_done": 10, "jobs_failed": 3, "kept": {"completed": "7d", "failed": "30d"}, "paused": [],
    }  # fmt: skip


async def oldest_seconds(client):
    return (await client.get("/api/overview")).json()["oldest_seconds"]


async def test_the_age_of_the_job_that_is_next_is_known_by_its_id(redis_only, queue):
    now = (await queue.next_task())[1]
    old = UUID(int=(round(now * 1000) - 90_000 << 80) | 7 << 76 | 2 << 62)
    assert await oldest_seconds(redis_only) is None, "none waits"
    await queue.push([b'{"type":"a","job_id":"%s"}' % str(old).encode(), b'{"type":"a"}'])
    assert 90 <= await oldest_seconds(redis_only) < 150
    await queue._command("LMOVE", queue.keys.ready, queue.keys.front, "LEFT", "RIGHT")  # a worker that waited
    assert 90 <= await oldest_seconds(redis_only) < 150


@pytest.mark.parametrize(
    "task",
    [
        b'{"type":"a"}',
        b"no task",
        b'{"type":"a","job_id":"%s"}' % str(uuid4()).encode(),
        b'{"type":"a","job_id":"%s","payload":{"a":"%b"}}' % (str(new_ids(1)[0]).encode(), b"x" * SHOWN_BYTES_MAX),
    ],
    ids=["no id", "no task", "an id without a time", "too long"],
)
async def test_an_age_that_cannot_be_known_is_null_and_not_0(redis_only, queue, task):
    await queue.push([task])
    answer = (await redis_only.get("/api/overview")).json()
    assert (answer["waiting"], answer["oldest_seconds"]) == (1, None)


async def test_without_postgres_the_overview_says_null(redis_only):
    assert (await redis_only.get("/api/overview")).json()["postgres"] is None


async def test_a_key_of_another_type_is_told(redis_only, queue):
    await queue._command("SET", queue.name, "text")

    async def is_told() -> bool:
        answer = await redis_only.get("/ready")
        return answer.status_code == 503 and "another type" in answer.json()["redis"]

    await until(is_told)
    answer = await redis_only.post("/enqueue", json={"type": "a"})
    assert (answer.status_code, answer.text) == (500, "failed to enqueue task")
    await queue._command("DEL", queue.name)
    await until(lambda: is_ready(redis_only))


async def test_workers_that_are_silent_or_gone_count_nowhere(redis_only, queue):
    said = json.dumps(PUBLISHED).encode()
    await publish(queue, said, seconds_ago=16)
    ended = await publish(queue, said)
    await queue.end(ended)
    await queue.retire(ended, write_gone(Gone(ended, True, published=said.decode())))
    answer = (await redis_only.get("/api/overview")).json()
    assert (answer["workers"], answer["concurrency"], answer["running"], answer["jobs_done"]) == (0, 0, 0, 0)
    assert (await redis_only.get("/metrics")).json()["worker_concurrency"] == 0
    await until(lambda: is_ready(redis_only))
