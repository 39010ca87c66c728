"""What a worker says of Redis and Postgres at `/ready` and in its log: one sentence, and what to do."""

from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from redis import Redis

from tests.support.rows import open_psql
from tests.support.steps import make_submit
from tests.support.wait import until, until_true
from tests.worker.processes import WorkerProcess, worker_process
from workqueue.core.engine import engine_of
from workqueue.core.handlers import Registry
from workqueue.core.queue import open_queue
from workqueue.core.settings import load_settings
from workqueue.core.steps.piggyback import Piggyback
from workqueue.core.store import open_store
from workqueue.core.wire import Submission
from workqueue.services.local.valkey import run_valkey
from workqueue.services.worker.worker import Worker

NOWHERE = "127.0.0.1:1"


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
