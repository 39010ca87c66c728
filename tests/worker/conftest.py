from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support.proxy import Proxy
from tests.support.rows import Psql
from tests.support.steps import make_submit
from tests.support.wait import until_true
from tests.worker.system import System
from workqueue.core.engine import engine_of
from workqueue.core.handlers import Registry
from workqueue.core.options import JobOptions
from workqueue.core.queue import Queue
from workqueue.core.settings import load_settings
from workqueue.core.steps.piggyback import Piggyback
from workqueue.core.steps.redis_loss import RedisLoss
from workqueue.core.store import JobStore
from workqueue.core.wire import Submission
from workqueue.services.local.valkey import Server
from workqueue.services.worker.worker import Worker

Run = Callable[..., AbstractAsyncContextManager[Worker]]


@pytest.fixture
def registry() -> Registry:
    """Handlers of this test alone."""
    return Registry()


@pytest.fixture
async def submit(queue: Queue, rows: JobStore | None) -> Callable[..., Any]:
    """Accept `count` jobs of a type; returns their ids."""
    if rows is not None:
        # As a producer does; otherwise the first look of a worker would push the jobs again, and count duplicates.
        await RedisLoss(queue, rows).run_once()
    step = make_submit(queue, rows, Piggyback())

    async def submit(job_type: str, count: int = 1, *, retries: int = 0, payload: bytes = b"{}") -> list[Any]:
        ids: list[Any] = []
        while len(ids) < count:
            ids += await step.run_batch(
                [Submission(job_type, payload, JobOptions(retries))] * min(500, count - len(ids))
            )
        return ids

    return submit


@pytest.fixture
def run_worker(redis_url: str, queue: Queue, rows: JobStore | None, registry: Registry) -> Run:
    """Start a worker on the queue of this test: `async with run_worker(worker_concurrency=5) as worker`."""

    @asynccontextmanager
    async def running(
        *, registry: Registry = registry, queue: Queue = queue, store: JobStore | None = rows, **settings: object
    ) -> AsyncIterator[Worker]:
        environ = {
            "REDIS_URL": redis_url, "QUEUE_NAME": queue.name, "RETRY_BASE_SECONDS": "0.02", "RETRY_CAP_SECONDS": "0.05",
            "SHUTDOWN_GRACE": "5",
        } | {name.upper(): str(value) for name, value in settings.items()}  # fmt: skip
        worker = Worker(load_settings(environ), engine_of(queue, store), registry)
        stop, ready, ended = trio.Event(), trio.Event(), trio.Event()

        async def run() -> None:
            await worker.run(stop.wait, trio.sleep_forever, ready.set)
            ended.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            with trio.fail_after(30):
                await ready.wait()
            yield worker
            stop.set()
            with trio.fail_after(60):
                await ended.wait()

    return running


@pytest.fixture
def settings() -> dict[str, object]:
    """Of the workers of `system`, by their names in lower case. A module may have its own."""
    return {}


@pytest.fixture
async def system(
    nursery: trio.Nursery,
    queue: Queue,
    store: JobStore,
    psql: Psql,
    tmp_path: Path,
    redis_url: str,
    redis_port: int,
    postgres: Server,
    postgres_dsn: str,
    database_schema: str,
    settings: dict[str, object],
) -> System:
    """Redis and Postgres with the queue of this test; its workers are started by `system.worker()`."""
    proxies = [Proxy(redis_port), Proxy(postgres.port)]
    for proxy in proxies:
        await nursery.start(proxy.run)
    variables = {
        "REDIS_URL": redis_url, "DATABASE_URL": postgres_dsn, "DATABASE_SCHEMA": database_schema,
        "QUEUE_NAME": queue.name,
    } | {name.upper(): str(value) for name, value in settings.items()}  # fmt: skip
    return System(nursery, queue, store, psql, tmp_path / "ledger", variables, *proxies)


async def finished(worker: Worker, count: int, *, seconds: float = 60) -> None:
    """Until so many jobs have ended for good."""
    await until_true(partial(_has, worker, count), seconds=seconds)


def _has(worker: Worker, count: int) -> bool:
    return worker.counts.done + worker.jobs_failed >= count and len(worker._outcomes) == 0
