"""SIGTERM at every bad moment: nothing is lost, nothing is counted against a job, and the end comes in time."""

import contextlib
import socket
from functools import partial
from pathlib import Path

import httpx
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.support.invariants import check_nothing_left, check_rows
from tests.support.proxy import Proxy, through
from tests.support.steps import make_submit
from tests.support.wait import until, until_true
from tests.worker.processes import ledger_counts, worker_process
from workqueue.core.engine import engine_of
from workqueue.core.handlers import Registry
from workqueue.core.options import JobOptions
from workqueue.core.queue import open_queue
from workqueue.core.settings import load_settings
from workqueue.core.steps.lease import Lease
from workqueue.core.steps.piggyback import Piggyback
from workqueue.core.wire import Submission
from workqueue.services.local.process import free_port
from workqueue.services.worker.claiming import STOP_SECONDS
from workqueue.services.worker.worker import Worker


@pytest.fixture
def variables(redis_url, postgres_dsn, database_schema, queue_name) -> dict[str, str]:
    return {
        "REDIS_URL": redis_url,
        "DATABASE_URL": postgres_dsn,
        "DATABASE_SCHEMA": database_schema,
        "QUEUE_NAME": queue_name,
        "WORKER_CONCURRENCY": "10",
    }


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


async def enqueue(queue, store, job_type: str, count: int, payload: bytes = b"{}", retries: int = 0):
    outbox = Piggyback()
    ids = await make_submit(queue, store, outbox).run_batch(
        [Submission(job_type, payload, JobOptions(retries))] * count
    )
    await outbox.clear(store)
    return ids


def started(ledger: Path, count: int) -> bool:
    return len(ledger_counts(ledger)[0]) >= count


async def test_sigterm_in_the_middle_of_a_hundred_jobs_leaves_none_behind(
    nursery, variables, ledger, queue, store, psql
):
    ids = await enqueue(queue, store, "naps", 100, b'{"seconds": 0.3}')
    async with worker_process(nursery, ledger, **variables, SHUTDOWN_GRACE="0.1") as worker:
        await until_true(partial(started, ledger, 25))
        await worker.terminate()
        assert worker.process.returncode == 0, worker.said
    starts, ends = ledger_counts(ledger)
    rows = {str(row["id"]): row for row in await psql("SELECT * FROM jobs")}
    for job_id, row in rows.items():
        if job_id in ends:
            assert row["state"] == "completed"
        else:
            assert (row["state"], row["attempts"]) == ("pending", 0)
            assert row["interruptions"] == starts[job_id], "a run that was cut short is no failure"
    assert sum(row["state"] == "pending" for row in rows.values()) >= 60
    await check_nothing_left_but_tasks(queue, psql)
    async with worker_process(nursery, ledger, **variables) as worker:
        await until(partial(all_in, psql, "completed", 100), seconds=30)
        await worker.terminate()
    starts, _ = ledger_counts(ledger)
    assert set(starts) == {str(job_id) for job_id in ids}
    assert max(starts.values()) == 2
    await check_nothing_left(queue, psql)


async def check_nothing_left_but_tasks(queue, psql) -> None:
    await check_rows(queue, psql)
    keys = {bytes(key) for key in await queue._command("KEYS", f"{{{queue.name}}}*")}
    assert keys <= {
        key.encode() for key in (queue.keys.front, queue.keys.scheduled, queue.keys.checkpoint, queue.keys.rows)
    }, "no lease and no flight is left"
    # An outbox entry may be left, of a claim that did not end in time: check_rows knows its rows. The sweep drops it.
    assert await psql("SELECT * FROM claimed") == []


async def all_in(psql, state: str, count: int) -> bool:
    return await psql.value("SELECT count(*) FROM jobs WHERE state = $1", state) == count


async def test_what_finishes_within_the_grace_is_completed(nursery, variables, ledger, queue, store, psql):
    await enqueue(queue, store, "naps", 10, b'{"seconds": 0.5}')
    async with worker_process(nursery, ledger, **variables) as worker:
        await until_true(partial(started, ledger, 10))
        assert await worker.terminate() < 5, "it ends with the last job, not with the grace"
    assert await all_in(psql, "completed", 10)
    await check_nothing_left(queue, psql)


async def test_a_second_signal_skips_the_grace(nursery, variables, ledger, queue, store, psql):
    await enqueue(queue, store, "naps", 10, b'{"seconds": 60}')
    async with worker_process(nursery, ledger, **variables, SHUTDOWN_GRACE="60") as worker:
        await until_true(partial(started, ledger, 10))
        worker.process.terminate()
        await until_true(lambda: "stopping" in worker.said)
        assert await worker.terminate() < 5
        assert worker.process.returncode == 0
    assert await all_in(psql, "pending", 10)
    await check_nothing_left_but_tasks(queue, psql)


async def test_with_nothing_to_do_it_ends_at_once_and_systemd_hears_of_all_its_life(
    nursery, variables, ledger, store, tmp_path
):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        told = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "300000"}
        async with worker_process(nursery, ledger, **variables, **told) as worker:
            await trio.sleep(0.5)
            assert await worker.terminate() < 2  # 0.2 to 0.4 s on a quiet machine
            assert worker.process.returncode == 0
        heard = []
        with contextlib.suppress(BlockingIOError):
            while True:
                heard.append(systemd.recv(100))
    assert heard.count(b"READY=1") == heard.count(b"STOPPING=1") == 1
    since = heard[heard.index(b"READY=1") :]
    assert b"WATCHDOG=1" in since, "its loop lives; a WatchdogSec without that would kill it"
    assert since.index(b"STOPPING=1") > since.index(b"WATCHDOG=1")


@pytest.mark.parametrize("job_type", ["stubborn", "thread"])
async def test_a_handler_that_does_not_end_does_not_hold_up_the_end(
    nursery, variables, ledger, queue, store, psql, job_type
):
    await enqueue(queue, store, job_type, 1)
    async with worker_process(nursery, ledger, **variables, SHUTDOWN_GRACE="0.2") as worker:
        await until_true(partial(started, ledger, 1))
        assert await worker.terminate() < 15
        assert worker.process.returncode == (1 if job_type == "stubborn" else 0)
    assert await all_in(psql, "pending", 1)
    assert await psql.value("SELECT interruptions FROM jobs") == 1
    await check_nothing_left_but_tasks(queue, psql)


@pytest.mark.parametrize("away", ["redis", "postgres", "both"])
@pytest.mark.parametrize("how", ["refuses", "hangs"])
async def test_an_outage_at_the_stop_bounds_the_end_and_loses_nothing(
    nursery, variables, ledger, queue, store, psql, redis_port, postgres, away, how
):
    redis_proxy, postgres_proxy = Proxy(redis_port), Proxy(postgres.port)
    await nursery.start(redis_proxy.run)
    await nursery.start(postgres_proxy.run)
    proxied = variables | {
        "REDIS_URL": through(variables["REDIS_URL"], redis_proxy),
        "DATABASE_URL": through(variables["DATABASE_URL"], postgres_proxy),
    }
    await enqueue(queue, store, "naps", 20, b'{"seconds": 0.6}')
    async with worker_process(nursery, ledger, **proxied, SHUTDOWN_GRACE="1") as worker:
        await until_true(partial(started, ledger, 10))
        for name, proxy in (("redis", redis_proxy), ("postgres", postgres_proxy)):
            if away in {name, "both"}:
                if how == "refuses":
                    proxy.go_away()
                else:
                    proxy.black_hole()
        assert await worker.terminate(seconds=40) < 25
        assert "Traceback" not in worker.said, worker.said
    await check_rows(queue, psql)  # what it could not give back, its lease still answers for


async def test_before_redis_and_postgres_were_ever_there_it_ends_at_once(nursery, ledger, queue_name):
    away = {
        "REDIS_URL": f"redis://127.0.0.1:{free_port()}",
        "DATABASE_URL": f"postgresql://u:geheim@127.0.0.1:{free_port()}/d",
        "QUEUE_NAME": queue_name,
    }
    async with worker_process(nursery, ledger, wait=False, **away) as worker:
        await until_true(lambda: "waiting for Postgres" in worker.said, seconds=15)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{worker.port}", timeout=20) as client:
            assert (await client.get("/health")).text == "ok"
            ready = await client.get("/ready")
            assert ready.status_code == 503
            assert set(ready.json()) == {"redis", "postgres"}
            assert "geheim" not in ready.text
            metrics = await client.get("/metrics")
            assert (metrics.status_code, metrics.text) == (500, "failed to read queue length")
        assert await worker.terminate() < 5
        assert worker.process.returncode == 0
        assert "Traceback" not in worker.said
        assert worker.said.count("waiting for Postgres") == 1
        assert "geheim" not in worker.said


@pytest.mark.parametrize("moment", ["just before a claim", "during a claim"])
async def test_a_stop_while_redis_is_away_ends_the_claims(bridge, queue_name, moment):
    # The claim is shielded, and tries on while Redis is away. When its time after a stop was over, the next one began
    # without having met a checkpoint, and so did one whose task was runnable already when the stop came: for ever.
    url = "redis://127.0.0.1:1"
    async with open_queue(bridge, url, queue_name) as queue:
        worker = Worker(load_settings({"REDIS_URL": url, "QUEUE_NAME": queue_name}), engine_of(queue, None), Registry())
        async with trio.open_nursery() as consumers:
            consumers.start_soon(worker._buffer.take)  # there is room
            consumers.start_soon(_lift_the_shield, worker)
            await wait_all_tasks_blocked()
            async with trio.open_nursery() as claims:
                claims.start_soon(worker._claiming.run)
                await wait_all_tasks_blocked()
                worker.leases.take(Lease())  # it goes on, and claims
                if moment == "during a claim":
                    await trio.sleep(0.2)
                stopped_at = trio.current_time()
                worker._claiming.end_soon()
                claims.cancel_scope.cancel()
            assert trio.current_time() - stopped_at < STOP_SECONDS + 2
            consumers.cancel_scope.cancel()


async def _lift_the_shield(worker: Worker) -> None:
    """So that a failure of this test is one, and no hang."""
    await trio.sleep(STOP_SECONDS + 4)
    while True:
        worker._claiming._under_way.shield = False
        await trio.sleep(0.05)
