"""The endpoint of a worker; and what it says of Redis and Postgres there and in its log: a sentence, and what to do."""

import json
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
import pytest
from redis import Redis

from tests.support.rows import open_psql
from tests.support.steps import make_submit
from tests.support.wait import until, until_true
from tests.worker.processes import WorkerProcess, worker_process
from workqueue.core.engine import engine_of
from workqueue.core.errors import QueueUnavailable
from workqueue.core.handlers import Registry
from workqueue.core.queue import open_queue
from workqueue.core.settings import Settings, load_settings
from workqueue.core.steps.piggyback import Piggyback
from workqueue.core.store import open_store
from workqueue.core.wire import Submission
from workqueue.services.local.valkey import run_valkey
from workqueue.services.worker.endpoint import create_app
from workqueue.services.worker.metrics import Gauges, Snapshot, TypeCounts
from workqueue.services.worker.worker import Worker

NOWHERE = "127.0.0.1:1"


class Source:
    """Numbers without a worker; or (`error`) what it raises where Redis is away."""

    def __init__(self, faults: dict[str, str] | None = None, error: QueueUnavailable | None = None) -> None:
        self._faults = faults or {}
        self._error = error

    async def snapshot(self) -> Snapshot:
        if self._error is not None:
            raise self._error
        gauges = Gauges(ready=7, scheduled=1, dead=2, running=1, buffered=0, unsettled=0, threads_left=0, copies=5,
                        invalid=1, concurrency=4)  # fmt: skip
        return Snapshot(3, 2, 1, {"x": TypeCounts(done=3)}, gauges)

    async def faults(self) -> dict[str, str]:
        return self._faults


async def asked(source: Source, path: str, **headers: str) -> tuple[int, str, str]:
    """Status, content type and text of an answer."""
    answer = await create_app(source, Settings(queue_name="tasks")).test_client().get(path, headers=headers)
    return answer.status_code, answer.headers["Content-Type"], await answer.get_data(as_text=True)


async def test_ready_names_each_fault_and_health_does_not_depend_on_them():
    ill = Source({"redis": "Redis: gone", "lease": "none"})
    assert await asked(ill, "/ready") == (503, "application/json", '{"redis":"Redis: gone","lease":"none"}')
    assert await asked(Source(), "/ready") == (200, "text/plain; charset=utf-8", "ready")
    assert await asked(ill, "/health") == (200, "text/plain; charset=utf-8", "ok")


async def test_metrics_are_json_for_people_and_text_for_scrapers():
    status, kind, text = await asked(Source(), "/metrics")
    assert (status, kind) == (200, "application/json")
    assert json.loads(text) == {
        "total_jobs_in_queue": 7, "jobs_done": 3, "jobs_failed": 2, "worker_concurrency": 4, "queue_name": "tasks",
    }  # fmt: skip
    status, kind, text = await asked(Source(), "/metrics", Accept="text/plain;version=0.0.4")
    assert (status, kind.partition(";")[0]) == (200, "text/plain")
    assert 'workqueue_ready_tasks{queue="tasks"} 7.0' in text


async def test_while_redis_is_away_there_are_no_numbers():
    away = Source(error=QueueUnavailable("Redis: gone"))
    plain = "text/plain; charset=utf-8"
    assert await asked(away, "/metrics") == (500, plain, "failed to read queue length")
    assert await asked(away, "/snapshot") == (500, plain, "Redis: gone")


async def test_a_snapshot_is_read_by_the_parent_as_it_was_taken():
    _, _, text = await asked(Source(), "/snapshot")
    assert msgspec.json.decode(text, type=Snapshot) == await Source().snapshot()


@pytest.mark.parametrize("path", ["/metrics", "/ready", "/snapshot", "/nothing"])
async def test_with_a_token_only_health_is_answered_without_it(path: str):
    token = "the-token-of-metrics"
    client = create_app(Source(), Settings(metrics_token=token)).test_client()
    for headers in ({}, {"Authorization": f"Bearer {token}x"}, {"Authorization": f"Basic {token}"}, {"Cookie": token}):
        answer = await client.get(path, headers=headers)
        assert (answer.status_code, await answer.get_data(as_text=True)) == (401, "token required")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert (await client.get("/health", headers=headers)).status_code == 200
        assert (await client.post("/health", headers=headers)).status_code == 401
    answer = await client.get(path, headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == (404 if path == "/nothing" else 200)


async def test_what_is_away_is_named_with_what_to_check(bridge, queue_name):
    urls = {"REDIS_URL": f"redis://{NOWHERE}", "DATABASE_URL": f"postgresql://u:p@{NOWHERE}/d"}
    async with (
        open_queue(bridge, urls["REDIS_URL"], queue_name) as queue,
        open_store(bridge, urls["DATABASE_URL"], "workqueue") as store,
    ):
        faults = await Worker(load_settings(urls), engine_of(queue, store), Registry()).faults()
    assert faults["redis"].endswith(". Check REDIS_URL and that the server runs")
    assert faults["postgres"].endswith(". Check DATABASE_URL and that the server runs")
    assert not [text for text in faults.values() if ".." in text]


async def test_a_redis_that_evicts_is_told_of_at_the_start_and_makes_a_worker_unready(nursery, tmp_path: Path):
    """It takes jobs all the same: to stop would not keep one of them."""
    async with run_valkey(tmp_path / "valkey", durable=False) as server:
        with Redis.from_url(server.url) as redis:
            redis.config_set("maxmemory-policy", "volatile-lru")
            async with worker_process(nursery, tmp_path / "ledger", REDIS_URL=server.url) as worker:
                said = "Redis: maxmemory-policy is volatile-lru: it may drop tasks. Set it to noeviction on the server"
                await until_true(lambda: f"warning workqueue.services.health: {said}\n" in worker.said)
                assert await ready(worker) == (503, {"redis": said})
                redis.config_set("maxmemory-policy", "noeviction")
                await until(partial(is_ready, worker))


async def test_a_database_with_another_encoding_is_told_of_once_and_at_ready(
    nursery, bridge, tmp_path: Path, redis_url, postgres_dsn, database_schema, queue_name
):
    name = f"db_{database_schema}"[:60]
    dsn = postgres_dsn.rpartition("/")[0] + f"/{name}"
    async with open_psql(bridge, postgres_dsn, "public") as psql:
        await psql(f"CREATE DATABASE {name} ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
        variables = {"REDIS_URL": redis_url, "QUEUE_NAME": queue_name, "DATABASE_URL": dsn}
        async with worker_process(nursery, tmp_path / "ledger", wait=False, **variables) as worker:
            said = "has the encoding LATIN1, which cannot hold every text"
            await until_true(lambda: said in worker.said, seconds=30)
            status, faults = await ready(worker)
            assert status == 503
            assert said in faults["postgres"]
            assert worker.said.count(said) == 1
            await worker.terminate()
        await psql(f"DROP DATABASE {name} WITH (FORCE)")


async def test_a_right_that_is_missing_waits_is_named_and_costs_no_job(
    nursery, tmp_path: Path, redis_url, postgres_dsn, database_schema, queue, store, psql
):
    role = f"r_{database_schema}"[:60]
    address = urlsplit(postgres_dsn)
    dsn = f"postgresql://{role}:pw@{address.hostname}:{address.port}{address.path}"
    await psql(f"CREATE ROLE {role} LOGIN PASSWORD 'pw'")
    await psql(f"GRANT USAGE ON SCHEMA {database_schema} TO {role}")
    await psql(f"GRANT ALL ON ALL TABLES IN SCHEMA {database_schema} TO {role}")
    await psql(f"REVOKE INSERT ON claimed FROM {role}")
    await make_submit(queue, store, Piggyback()).run_batch([Submission("quick", b"{}")] * 3)
    variables = {"REDIS_URL": redis_url, "QUEUE_NAME": queue.name, "DATABASE_URL": dsn,
                 "DATABASE_SCHEMA": database_schema}  # fmt: skip
    async with worker_process(nursery, tmp_path / "ledger", **variables) as worker:
        said = f"lacks rights in the schema {database_schema}: INSERT on claimed. Grant them"
        await until_true(lambda: said in worker.said)
        status, faults = await ready(worker)
        assert status == 503
        assert said in faults["postgres"]
        await psql(f"GRANT INSERT ON claimed TO {role}")

        async def all_are_done() -> bool:
            return await psql.value("SELECT count(*) FROM jobs WHERE state = 'completed'") == 3

        await until(all_are_done, seconds=30)
        await until(partial(is_ready, worker))
        await worker.terminate()
        assert worker.said.count(said) == 1
        assert "Traceback" not in worker.said, worker.said
    await psql(f"DROP OWNED BY {role}")
    await psql(f"DROP ROLE {role}")


async def ready(worker: WorkerProcess) -> tuple[int, Any]:
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"http://127.0.0.1:{worker.port}/ready")
    return answer.status_code, answer.json() if answer.status_code == 503 else answer.text


async def is_ready(worker: WorkerProcess) -> bool:
    return await ready(worker) == (200, "ready")
