"""Schedules that the code declares, through workers that come and go."""

from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise
from random import Random

import pytest
import trio

from tests.support.wait import until
from tests.worker.processes import worker_process
from workqueue.core.engine import engine_of
from workqueue.core.handlers import Registry, every
from workqueue.core.settings import load_settings
from workqueue.core.steps.schedule_tasks import key_of
from workqueue.services.worker.worker import Worker


@pytest.fixture
def rows(store):
    return store


@pytest.fixture
async def run_worker_without_rows(redis_url, queue, registry):
    """As run_worker."""

    @asynccontextmanager
    async def running():
        settings = load_settings({"REDIS_URL": redis_url, "QUEUE_NAME": queue.name})
        stop, ready = trio.Event(), trio.Event()
        async with trio.open_nursery() as nursery:
            worker = Worker(settings, engine_of(queue, None), registry)
            nursery.start_soon(worker.run, stop.wait, trio.sleep_forever, ready.set)
            await ready.wait()
            yield worker
            stop.set()

    return running


@pytest.fixture
def ran(registry: Registry) -> list[str]:
    ran: list[str] = []

    @registry.periodic(every(seconds=1), payload={"name": "often"})
    @registry.handler("often", retries=2)
    async def often(job):
        ran.append(job.payload["name"])

    return ran


async def has(ran: list[str], count: int) -> bool:
    return len(ran) >= count


async def test_two_workers_run_each_due_time_once(run_worker, ran, psql):
    async with run_worker(), run_worker():
        await until(partial(has, ran, 4))
    rows = await psql("SELECT schedule, due_at, retries FROM jobs ORDER BY due_at")
    assert len({row["due_at"] for row in rows}) == len(rows) >= 4
    assert {(row["schedule"], row["retries"]) for row in rows} == {("often", 2)}
    [row] = await psql("SELECT * FROM schedules")
    assert (row["source"], row["name"], row["every"]) == ("code", "often", 1)


async def test_a_worker_that_comes_back_goes_on_where_it_was(run_worker, ran, psql):
    async with run_worker():
        await until(partial(has, ran, 1))
    before = await psql.value("SELECT next_at FROM schedules")
    async with run_worker():
        await until(partial(has, ran, 2))
    late = await psql.value("SELECT (next_at - $1) FROM schedules", before)
    assert late.total_seconds() % 1 == 0, "in step with what was before"


async def test_a_paused_one_makes_no_jobs_whatever_the_worker_declares(run_worker, ran, psql):
    async with run_worker():
        await until(partial(has, ran, 1))
        await psql("UPDATE schedules SET paused_why = 'by a person', version = version + 1")
        made = await psql.value("SELECT count(*) FROM jobs")
        await trio.sleep(2.5)
        assert await psql.value("SELECT count(*) FROM jobs") == made
    async with run_worker():
        await trio.sleep(1.5)
    assert await psql.value("SELECT count(*) FROM jobs") == made


async def test_without_rows_two_workers_run_each_due_time_once(run_worker_without_rows, registry, ran, queue, redis):
    [schedule] = registry.schedules

    async def due_ms() -> int:
        return int(await redis("ZSCORE", queue.keys.schedules, key_of(schedule)) or 0)

    async with run_worker_without_rows(), run_worker_without_rows():
        await until(due_ms)
        first = await due_ms()
        await until(partial(has, ran, 4))
    left = (await queue.depths()).ready
    assert len(ran) + left == (await due_ms() - first) / 1000


async def test_workers_that_are_killed_make_each_due_time_once(
    nursery, tmp_path, redis_url, queue, store, psql, postgres_dsn, database_schema
):
    """SIGKILL a few times, wherever the workers are: `all` due times make a job each, none of them two."""
    random, variables = Random(seed := Random().randrange(1000)), {
        "REDIS_URL": redis_url, "QUEUE_NAME": queue.name, "DATABASE_URL": postgres_dsn,
        "DATABASE_SCHEMA": database_schema, "WORKER_HANDLERS": "tests.worker.scheduled_handlers",
    }  # fmt: skip
    for _ in range(4):
        async with (
            worker_process(nursery, tmp_path / "ledger", **variables) as one,
            worker_process(nursery, tmp_path / "ledger", **variables) as two,
        ):
            await trio.sleep(random.uniform(0.5, 2.0))
            one.kill()
            await trio.sleep(random.uniform(0.0, 0.5))
            two.kill()
    rows = await psql("SELECT schedule, due_at FROM jobs ORDER BY schedule, due_at")
    by_name: dict[str, list[datetime]] = {}
    for row in rows:
        by_name.setdefault(row["schedule"], []).append(row["due_at"])
    assert set(by_name) == {f"quick-{number}" for number in range(5)}, f"seed {seed}"
    for dues in by_name.values():
        assert {b - a for a, b in pairwise(dues)} == {timedelta(seconds=1)}, f"seed {seed}"
    for row in await psql("SELECT name, last_at, next_at FROM schedules"):
        assert row["next_at"] - row["last_at"] == timedelta(seconds=1), f"seed {seed}"
        assert by_name[row["name"]][-1] == row["last_at"], f"seed {seed}"
