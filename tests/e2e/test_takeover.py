"""What the last release before 0.2.0 left behind is taken over; its processes meet the new tables harmlessly."""

import io
import signal
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest
import trio

from tests.cli.support import environ
from tests.e2e.test_rolling_deploy import ROOT, git
from tests.support.invariants import check_rows
from tests.support.rows import Psql, open_psql
from tests.support.wait import until, until_true
from tests.worker.processes import WorkerProcess, ledger_counts, worker_process
from workqueue.core.queue import Queue, open_queue
from workqueue.services.local.process import free_port

#: The subject of the commit that stands for the releases of protocol 1; a history may be rewritten, and ids with it.
LAST_OF_PROTOCOL_1 = "Copy Postgres's programs whole or not at all"


@pytest.fixture(scope="module")
def old_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        log = git(ROOT, "log", "--fixed-strings", f"--grep={LAST_OF_PROTOCOL_1}", "--format=%H").decode().split()
        if not log:
            raise LookupError(f"no commit {LAST_OF_PROTOCOL_1!r} in this history")
        code = git(ROOT, "archive", log[0], "core", "services", "workqueue", "tests")
    except LookupError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("protocol-1")
    with tarfile.open(fileobj=io.BytesIO(code)) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def variables(redis_url, postgres_dsn, queue_name, database_schema) -> dict[str, str]:
    return {
        "REDIS_URL": redis_url, "DATABASE_URL": postgres_dsn, "DATABASE_SCHEMA": database_schema,
        "QUEUE_NAME": queue_name, "WORKER_CONCURRENCY": "5", "LEASE_SECONDS": "2",
    }  # fmt: skip


@pytest.fixture
async def bare_psql(bridge, postgres_dsn, database_schema) -> AsyncIterator[Psql]:
    """In a schema that the old release has still to make."""
    async with open_psql(bridge, postgres_dsn, database_schema) as psql:
        yield psql


@asynccontextmanager
async def old_process(
    nursery: trio.Nursery, code: Path, module: str, *arguments: str, **variables: str
) -> AsyncIterator[WorkerProcess]:
    """`python -m module` of the old release."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", module, *arguments], env=environ(**variables), cwd=code, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    running = WorkerProcess(process, 0)
    nursery.start_soon(running.listen)
    try:
        yield running
    finally:
        if process.poll() is None:
            process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


async def post(client: httpx.AsyncClient, count: int, seconds: object, retries: int = 0) -> list[str]:
    ids = []
    for _ in range(count):
        job = {"type": "naps", "payload": {"seconds": seconds}, "retries": retries}
        answer = await client.post("/enqueue", json=job)
        assert answer.status_code == 200, answer.text
        ids.append(answer.json()["job_id"])
    return ids


async def is_up(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/ready")).status_code == 200
    except httpx.TransportError:
        return False


async def counts(psql) -> dict[str, int]:
    return {row["state"]: row["n"] for row in await psql("SELECT state, count(*) AS n FROM jobs GROUP BY state")}


async def test_jobs_that_wait_are_scheduled_run_and_have_failed_are_taken_over(
    nursery, tmp_path, bridge, old_code, variables, redis_url, queue_name, bare_psql
):
    psql, ledger, port = bare_psql, tmp_path / "ledger", free_port()
    worker = variables | {
        "WORKER_HANDLERS": "tests.worker.ledger_handlers", "LEDGER": str(ledger), "WORKER_PORT": str(free_port()),
        "RETRY_BASE_SECONDS": "3600",
    }  # fmt: skip
    async with (
        old_process(nursery, old_code, "services.cli", "producer", PORT=str(port), **variables),
        old_process(nursery, old_code, "services.worker", **worker) as works,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
    ):
        await until(partial(is_up, client), seconds=30)
        failed = await post(client, 3, "no number")
        retrying = await post(client, 3, "no number", retries=1)

        async def have_run() -> bool:
            waits = await psql.value("SELECT count(*) FROM jobs WHERE state = 'pending' AND attempts = 1")
            return waits == 3 and (await counts(psql)).get("failed") == 3

        await until(have_run, seconds=30)
        running = await post(client, 5, 4)
        await until_true(lambda: set(ledger_counts(ledger)[0]) >= set(running), seconds=30)
        waiting = await post(client, 20, 0)
        works.process.send_signal(signal.SIGKILL)
    new = variables | {"RETRY_BASE_SECONDS": "0.05"}
    async with worker_process(nursery, ledger, **new) as takes_over:
        await until_true(lambda: set(ledger_counts(ledger)[1]) >= {*running, *waiting}, seconds=60)
        await psql("UPDATE jobs SET run_at = now() WHERE state = 'pending'")
        async with open_queue(bridge, redis_url, queue_name) as queue:
            await hurry(queue)

            async def have_ended() -> bool:
                return await counts(psql) == {"failed": 6, "completed": 25}

            await until(have_ended, seconds=60)
            await takes_over.terminate()
            await check_rows(queue, psql)
            await queue._command("DEL", f"{{{queue_name}}}:mark")  # of the old release; the new one does not read it
        assert "lost" not in takes_over.said
        states = {str(row["id"]): row["state"] for row in await psql("SELECT id, state FROM jobs")}
    assert {states[job_id] for job_id in [*failed, *retrying]} == {"failed"}
    assert {states[job_id] for job_id in [*running, *waiting]} == {"completed"}


async def hurry(queue: Queue) -> None:
    """What is scheduled is due."""
    for task in await queue._command("ZRANGE", queue.keys.scheduled, 0, -1):
        await queue._command("ZADD", queue.keys.scheduled, 1, task)


async def test_an_older_worker_and_producer_are_told_to_be_updated_and_change_nothing(
    nursery, tmp_path, old_code, variables, queue, store, psql
):
    port = free_port()
    await queue.push([b'{"type":"quick"}'])
    worker = variables | {
        "WORKER_HANDLERS": "tests.worker.ledger_handlers", "LEDGER": str(tmp_path / "ledger"),
        "WORKER_PORT": str(free_port()),
    }  # fmt: skip
    async with (
        old_process(nursery, old_code, "services.cli", "producer", PORT=str(port), **variables) as produces,
        old_process(nursery, old_code, "services.worker", **worker) as works,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
    ):
        told = "these tables need protocol 2 or newer, and this release speaks 1: update it"
        await until_true(lambda: told in works.said and told in produces.said, seconds=30)
        answer = await client.post("/enqueue", json={"type": "quick"})
        assert answer.status_code == 500
    assert await psql("SELECT 1 FROM jobs") == []
    assert (await queue.depths()).ready == 1
    assert ledger_counts(tmp_path / "ledger")[0] == {}
