"""SIGTERM at every bad moment: nothing is lost, nothing is counted against a job, and the end comes in time."""

import contextlib
import socket
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.support.proxy import Proxy
from tests.support.wait import until_true
from tests.worker.processes import worker_process
from tests.worker.system import System
from workqueue.core.engine import engine_of
from workqueue.core.handlers import Registry
from workqueue.core.queue import open_queue
from workqueue.core.settings import load_settings
from workqueue.core.steps.lease import Lease
from workqueue.services.local.process import free_port
from workqueue.services.worker.claiming import STOP_SECONDS
from workqueue.services.worker.worker import Worker


@pytest.fixture
def settings() -> dict[str, object]:
    return {"WORKER_CONCURRENCY": 10}


async def test_sigterm_in_the_middle_of_a_hundred_jobs_leaves_none_behind(system: System):
    ids = await system.submit("naps", 100, payload=b'{"seconds": 0.3}')
    async with system.worker(shutdown_grace=0.1) as worker:
        await system.wait_for_starts(25)
        await worker.terminate()
        assert worker.process.returncode == 0, worker.said
    starts, ends = system.starts, system.ends
    rows = {str(row["id"]): row for row in await system.psql("SELECT * FROM jobs")}
    for job_id, row in rows.items():
        if job_id in ends:
            assert row["state"] == "completed"
        else:
            assert (row["state"], row["attempts"]) == ("pending", 0)
            assert row["interruptions"] == starts[job_id], "a run that was cut short is no failure"
    assert sum(row["state"] == "pending" for row in rows.values()) >= 60
    await check_nothing_left_but_tasks(system)
    async with system.worker() as worker:
        await system.wait_for_state("completed", 100)
        await worker.terminate()
    starts = system.starts
    assert set(starts) == set(ids)
    assert max(starts.values()) == 2
    await system.check_nothing_left()


async def check_nothing_left_but_tasks(system: System) -> None:
    await system.check_rows()
    keys = system.queue.keys
    found = {bytes(key).decode() for key in await system.queue._command("KEYS", f"{{{system.queue.name}}}*")}
    assert found <= {keys.front, keys.scheduled, keys.checkpoint, keys.rows, keys.gone}, (
        "no lease and no flight is left"
    )
    # An outbox entry of a claim that did not end in time may be left: check_rows knows its rows, the relay deletes it.
    assert await system.psql("SELECT * FROM claimed") == []


async def test_what_finishes_within_the_grace_is_completed(system: System):
    await system.submit("naps", 10, payload=b'{"seconds": 0.5}')
    async with system.worker(shutdown_grace=80) as worker:
        await system.wait_for_starts(10)
        assert await worker.terminate() < 60, "it ends with the last job, not with the grace"
    assert await system.count("completed") == 10
    await system.check_nothing_left()


async def test_a_second_signal_skips_the_grace(system: System):
    await system.submit("naps", 10, payload=b'{"seconds": 60}')
    async with system.worker(shutdown_grace=80) as worker:
        await system.wait_for_starts(10)
        worker.process.terminate()
        await worker.says("stopping")
        assert await worker.terminate() < 40
        assert worker.process.returncode == 0
    assert await system.count("pending") == 10
    await check_nothing_left_but_tasks(system)


async def test_with_nothing_to_do_it_ends_at_once_and_systemd_hears_of_all_its_life(system: System, tmp_path: Path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        heard: list[bytes] = []

        def hears(state: bytes) -> bool:
            with contextlib.suppress(BlockingIOError):
                while True:
                    heard.append(systemd.recv(100))
            return state in heard

        told = {"notify_socket": tmp_path / "notify", "watchdog_usec": 300_000}
        async with system.worker(told, shutdown_grace=80) as worker:
            await until_true(lambda: hears(b"READY=1"))
            heard.clear()
            await until_true(lambda: hears(b"WATCHDOG=1"))  # its loop lives; a WatchdogSec without that would kill it
            assert b"STOPPING=1" not in heard
            assert await worker.terminate() < 40
            assert worker.process.returncode == 0
        assert hears(b"STOPPING=1")
        assert b"READY=1" not in heard, "once"


@pytest.mark.parametrize("job_type", ["stubborn", "thread"])
async def test_a_handler_that_does_not_end_does_not_hold_up_the_end(system: System, job_type):
    await system.submit(job_type)
    async with system.worker(shutdown_grace=0.2) as worker:
        await system.wait_for_starts(1)
        await worker.terminate(seconds=60)
        assert worker.process.returncode == (1 if job_type == "stubborn" else 0)
    assert await system.count("pending") == 1
    assert await system.psql.value("SELECT interruptions FROM jobs") == 1
    await check_nothing_left_but_tasks(system)


@pytest.mark.parametrize("away", ["redis", "postgres", "both"])
@pytest.mark.parametrize("fault", [Proxy.go_away, Proxy.black_hole], ids=["refuses", "hangs"])
async def test_an_outage_at_the_stop_bounds_the_end_and_loses_nothing(system: System, away, fault):
    await system.submit("naps", 20, payload=b'{"seconds": 0.6}')
    async with system.worker(far=True, shutdown_grace=1) as worker:
        await system.wait_for_starts(10)
        for name, proxy in {"redis": system.redis_proxy, "postgres": system.postgres_proxy}.items():
            if away in {name, "both"}:
                fault(proxy)
        await worker.terminate(seconds=60)
        assert "Traceback" not in worker.said, worker.said
    await system.check_rows()  # what it could not give back, its lease still answers for


async def test_before_redis_and_postgres_were_ever_there_it_ends_at_once(nursery, tmp_path: Path, queue_name):
    away = {
        "REDIS_URL": f"redis://127.0.0.1:{free_port()}",
        "DATABASE_URL": f"postgresql://u:geheim@127.0.0.1:{free_port()}/d",
        "QUEUE_NAME": queue_name,
    }
    async with worker_process(nursery, tmp_path / "ledger", wait=False, **away) as worker:
        await worker.says("waiting for Postgres")
        assert (await worker.get("/health")).text == "ok"
        ready = await worker.get("/ready")
        assert ready.status_code == 503
        assert set(ready.json()) == {"redis", "postgres"}
        assert "geheim" not in ready.text
        metrics = await worker.get("/metrics")
        assert (metrics.status_code, metrics.text) == (500, "failed to read queue length")
        await worker.terminate()
        assert worker.process.returncode == 0
        assert "Traceback" not in worker.said
        assert worker.said.count("waiting for Postgres") == 1
        assert "geheim" not in worker.said


LIFTED_SECONDS = STOP_SECONDS + 20  #: the claims end long before, or never


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
                    await until_true(lambda: worker._claiming._under_way.shield)
                stopped_at = trio.current_time()
                worker._claiming.end_soon()
                claims.cancel_scope.cancel()
            assert trio.current_time() - stopped_at < LIFTED_SECONDS
            consumers.cancel_scope.cancel()


async def _lift_the_shield(worker: Worker) -> None:
    """So that a failure of this test is one, and no hang."""
    await trio.sleep(LIFTED_SECONDS)
    while True:
        worker._claiming._under_way.shield = False
        await trio.sleep(0.05)
