"""Redis and Postgres go away under running jobs and come back: everything goes on by itself, and nothing is lost."""

import json
import re
import signal
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from tests.support.invariants import check_rows
from tests.support.proxy import Proxy, through
from tests.support.rows import open_psql
from tests.support.steps import make_submit
from tests.support.wait import until, until_true
from tests.worker.processes import cpu_seconds, ledger_counts, resident_mib, worker_process
from workqueue.core.bridge import open_bridge
from workqueue.core.queue import open_queue
from workqueue.core.steps.piggyback import Piggyback
from workqueue.core.store import migrate, open_store
from workqueue.core.wire import Submission
from workqueue.services.local.postgres import run_postgres
from workqueue.services.local.process import free_port
from workqueue.services.local.valkey import run_valkey


async def status_of(worker, path: str) -> int:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{worker.port}", timeout=20) as client:
        return (await client.get(path)).status_code


async def has_status(worker, path: str, status: int) -> bool:
    return await status_of(worker, path) == status


async def test_a_restart_of_redis_is_ridden_out(
    nursery, bridge, tmp_path: Path, postgres_dsn, store, psql, database_schema
):
    port, ledger = free_port(), tmp_path / "ledger"
    folder = tmp_path / "valkey"
    async with run_valkey(folder, port=port) as server:
        url = server.url
        variables = {"REDIS_URL": url, "DATABASE_URL": postgres_dsn, "DATABASE_SCHEMA": database_schema,
                     "QUEUE_NAME": "q", "WORKER_CONCURRENCY": "5"}  # fmt: skip
        async with open_queue(bridge, url, "q") as queue:
            ids = await make_submit(queue, store, Piggyback()).run_batch([Submission("naps", b"{}")] * 100)
        context = worker_process(nursery, ledger, **variables)
        worker = await context.__aenter__()
        await until_true(lambda: len(ledger_counts(ledger)[1]) >= 10)
    try:
        await until(partial(has_status, worker, "/ready", 503))
        assert await status_of(worker, "/health") == 200
        await trio.sleep(1)
        done_before = len(ledger_counts(ledger)[1])
        async with run_valkey(folder, port=port):
            # About 2 s on a quiet machine: a figure for the bench, not for here.
            await until_true(lambda: len(ledger_counts(ledger)[0]) > done_before + 5, seconds=60)
            await until(partial(has_status, worker, "/ready", 200))
            await until(partial(all_completed, psql, 100), seconds=30)
            await worker.terminate()
            async with open_queue(bridge, url, "q") as queue:
                await check_rows(queue, psql)
    finally:
        await context.__aexit__(None, None, None)
    starts, _ = ledger_counts(ledger)
    assert starts == {str(job_id): 1 for job_id in ids}, "an outage runs no job twice"
    assert "Traceback" not in worker.said, worker.said


async def all_completed(psql, count: int) -> bool:
    return await psql.value("SELECT count(*) FROM jobs WHERE state = 'completed'") == count


async def test_a_restart_of_postgres_is_ridden_out(nursery, tmp_path: Path, redis_url, queue_name):
    tmp_path.chmod(0o711)
    for parent in tmp_path.parents:
        if parent.name.startswith("pytest-"):
            parent.chmod(0o711)
    port, ledger = free_port(), tmp_path / "ledger"
    folder = tmp_path / "postgres"
    async with open_bridge() as bridge:
        async with run_postgres(folder, port=port, durable=False) as server:
            dsn = server.url
            variables = {
                "REDIS_URL": redis_url,
                "DATABASE_URL": dsn,
                "QUEUE_NAME": queue_name,
                "WORKER_CONCURRENCY": "5",
            }
            await migrate(bridge, dsn, "workqueue")
            async with (
                open_queue(bridge, redis_url, queue_name) as queue,
                open_store(bridge, dsn, "workqueue") as store,
            ):
                ids = await make_submit(queue, store, Piggyback()).run_batch([Submission("naps", b"{}")] * 100)
            context = worker_process(nursery, ledger, **variables)
            worker = await context.__aenter__()
            await until_true(lambda: len(ledger_counts(ledger)[1]) >= 10)
        try:
            await until(partial(has_status, worker, "/ready", 503))
            await trio.sleep(0.5)
            async with run_postgres(folder, port=port, durable=False):
                await until(partial(has_status, worker, "/ready", 200))
                async with open_psql(bridge, dsn, "workqueue") as psql:
                    await until(partial(all_completed, psql, 100), seconds=30)
                    await worker.terminate()
                    async with open_queue(bridge, redis_url, queue_name) as queue:
                        await check_rows(queue, psql)
        finally:
            await context.__aexit__(None, None, None)
    starts, _ = ledger_counts(ledger)
    assert starts == {str(job_id): 1 for job_id in ids}, "an outage runs no job twice"
    assert "Traceback" not in worker.said, worker.said


@pytest.mark.parametrize("how", ["refuses", "hangs", "is slow"])
async def test_a_bad_network_runs_no_job_twice(
    nursery,
    tmp_path: Path,
    how,
    redis_url,
    redis_port,
    postgres,
    postgres_dsn,
    database_schema,
    queue,
    store,
    psql,
    queue_name,
):
    ledger = tmp_path / "ledger"
    proxies = [Proxy(redis_port), Proxy(postgres.port)]
    for proxy in proxies:
        await nursery.start(proxy.run)
    variables = {
        "REDIS_URL": through(redis_url, proxies[0]), "DATABASE_URL": through(postgres_dsn, proxies[1]),
        "DATABASE_SCHEMA": database_schema, "QUEUE_NAME": queue_name, "WORKER_CONCURRENCY": "5",
    }  # fmt: skip
    ids = await make_submit(queue, store, Piggyback()).run_batch([Submission("naps", b'{"seconds":0.05}')] * 200)
    async with worker_process(nursery, ledger, **variables) as worker:
        for round_ in range(3):
            for proxy in proxies:
                if how == "refuses":
                    proxy.go_away()
                elif how == "hangs":
                    proxy.black_hole()
                else:
                    proxy.delay_seconds = 0.05
                await trio.sleep(0.3 + 0.1 * round_)
                proxy.heal()
                await trio.sleep(0.2)
        await until(partial(all_completed, psql, 200), seconds=60)
        await worker.terminate()
        await check_rows(queue, psql)
        assert "Traceback" not in worker.said, worker.said
    starts, _ = ledger_counts(ledger)
    assert starts == {str(job_id): 1 for job_id in ids}


async def test_a_kill_leaves_its_jobs_to_whoever_recovers_the_lease(
    nursery, tmp_path: Path, redis_url, postgres_dsn, database_schema, queue, store, psql, queue_name
):
    ledger = tmp_path / "ledger"
    variables = {"REDIS_URL": redis_url, "DATABASE_URL": postgres_dsn, "DATABASE_SCHEMA": database_schema,
                 "QUEUE_NAME": queue_name}  # fmt: skip
    await make_submit(queue, store, Piggyback()).run_batch([Submission("naps", b'{"seconds":30}')] * 5)
    async with worker_process(nursery, ledger, **variables) as worker:
        await until_true(lambda: len(ledger_counts(ledger)[0]) == 2)
        worker.process.send_signal(signal.SIGKILL)
        await worker.process.wait()
    await check_rows(queue, psql)


async def test_a_lease_that_redis_has_lost_is_replaced_and_its_jobs_run_again(
    nursery, tmp_path: Path, redis_url, postgres_dsn, database_schema, queue, store, psql, queue_name
):
    ledger = tmp_path / "ledger"
    variables = {"REDIS_URL": redis_url, "DATABASE_URL": postgres_dsn, "DATABASE_SCHEMA": database_schema,
                 "QUEUE_NAME": queue_name, "LEASE_SECONDS": "1"}  # fmt: skip
    await make_submit(queue, store, Piggyback()).run_batch([Submission("naps", b'{"seconds":2}')] * 2)
    async with worker_process(nursery, ledger, **variables) as worker:
        await until_true(lambda: len(ledger_counts(ledger)[0]) == 2)
        await queue._command("DEL", queue.keys.leases)
        await until_true(lambda: "is lost: 2 running jobs are cancelled" in worker.said)
        await until(partial(all_completed, psql, 2), seconds=30)
        await worker.terminate()
    starts, ends = ledger_counts(ledger)
    assert set(starts.values()) == {2}
    assert set(ends.values()) == {1}
    assert {row[0] for row in await psql("SELECT interruptions FROM jobs")} == {1}


async def test_an_outage_is_said_once_when_it_comes_and_once_when_it_goes(
    nursery, tmp_path: Path, redis_url, redis_port, postgres, postgres_dsn, database_schema, queue_name, store
):
    proxies = {"Redis": Proxy(redis_port), "Postgres": Proxy(postgres.port)}
    for proxy in proxies.values():
        await nursery.start(proxy.run)
    variables = {
        "REDIS_URL": through(redis_url, proxies["Redis"]), "DATABASE_URL": through(postgres_dsn, proxies["Postgres"]),
        "DATABASE_SCHEMA": database_schema, "QUEUE_NAME": queue_name,
    }  # fmt: skip
    async with worker_process(nursery, tmp_path / "ledger", **variables) as worker:
        await until_true(lambda: "Redis answers" in worker.said and "Postgres answers" in worker.said)
        for name, proxy in proxies.items():
            proxy.go_away()
            await until_true(partial(_says, worker, rf"warning workqueue.services.health: {name}: "))
            await trio.sleep(2.5)
            proxy.heal()
            await until_true(partial(_says, worker, rf"info workqueue.services.health: {name} is back after"))
            assert len(re.findall(rf"workqueue.services.health: {name}: ", worker.said)) == 1, worker.said
        await worker.terminate()
        assert postgres_dsn.split(":")[2].split("@")[0] not in worker.said


def _says(worker, pattern: str) -> bool:
    return re.search(pattern, worker.said) is not None


async def test_a_task_moved_for_a_worker_that_was_stopped_is_started_by_another(
    nursery, tmp_path: Path, redis_url, queue, queue_name
):
    # The only worker that waits is frozen by SIGSTOP; Redis moves the task for it all the same. It lies in the front
    # list, which every claim takes first: the other worker starts it as soon as its own job has ended.
    ledger = tmp_path / "ledger"
    variables = {"REDIS_URL": redis_url, "QUEUE_NAME": queue_name, "WORKER_CONCURRENCY": "1", "LEASE_SECONDS": "2"}
    async with worker_process(nursery, ledger, **variables) as one, worker_process(nursery, ledger, **variables) as two:
        workers = {worker.process.pid: worker for worker in (one, two)}
        await queue.push([b'{"type":"naps","payload":{"seconds":1.5}}'])
        await until_true(lambda: len(ledger_counts(ledger)[0]) == 1)
        await until(partial(_somebody_is_busy, queue))
        [busy] = [said["pid"] for said in await _published(queue) if said["running"]]
        [frozen] = set(workers) - {busy}

        async def is_moved() -> bool:
            """Frozen while Redis holds its BLMOVE: for 0.25 s it counts as waiting."""
            workers[frozen].process.send_signal(signal.SIGSTOP)
            if b"cmd=blmove" in bytes(await queue._command("CLIENT", "LIST")):
                await queue.push([b'{"type":"quick"}'])
                return True
            workers[frozen].process.send_signal(signal.SIGCONT)
            return False

        await until(is_moved)
        assert await queue._command("LLEN", queue.keys.front) == 1
        await until_true(lambda: len(ledger_counts(ledger)[1]) >= 1)
        await until_true(lambda: len(ledger_counts(ledger)[0]) == 2, seconds=30)
        workers[frozen].process.send_signal(signal.SIGCONT)


async def _published(queue) -> list[dict[str, Any]]:
    return [json.loads(published) for published, _ in (await queue.workers()).values()]


async def _somebody_is_busy(queue) -> bool:
    return any(said["running"] for said in await _published(queue))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="there is no /proc")
@pytest.mark.parametrize("how", ["refuses", "hangs"])
async def test_an_outage_costs_neither_the_processor_nor_memory(
    nursery,
    tmp_path: Path,
    redis_url,
    redis_port,
    postgres,
    postgres_dsn,
    database_schema,
    queue,
    queue_name,
    store,
    how,
    psql,
):
    """Ten jobs end meanwhile and are held; every service of the worker tries, with pauses, and none of them spins."""
    ledger = tmp_path / "ledger"
    proxies = [Proxy(redis_port), Proxy(postgres.port)]
    for proxy in proxies:
        await nursery.start(proxy.run)
    variables = {
        "REDIS_URL": through(redis_url, proxies[0]), "DATABASE_URL": through(postgres_dsn, proxies[1]),
        "DATABASE_SCHEMA": database_schema, "QUEUE_NAME": queue_name, "WORKER_CONCURRENCY": "10",
    }  # fmt: skip
    await make_submit(queue, store, Piggyback()).run_batch([Submission("naps", b'{"seconds":1}')] * 10)
    async with worker_process(nursery, ledger, **variables) as worker:
        await until_true(lambda: len(ledger_counts(ledger)[0]) == 10)
        for proxy in proxies:
            if how == "refuses":
                proxy.go_away()
            else:
                proxy.black_hole()
        await until_true(lambda: len(ledger_counts(ledger)[1]) == 10)
        pid, seconds = worker.process.pid, 4.0
        cpu, memory = cpu_seconds(pid), resident_mib(pid)
        connections, said = sum(proxy.connections for proxy in proxies), len(worker.said.splitlines())
        await trio.sleep(seconds)
        cpu, memory = (cpu_seconds(pid) - cpu) / seconds, resident_mib(pid) - memory
        tries = (sum(proxy.connections for proxy in proxies) - connections) / seconds
        lines = worker.said.splitlines()[said:]
        print(f"{how}: {cpu:.0%} of a processor, {memory:+.1f} MiB, {tries:.0f} connections a second")
        assert cpu < 0.4
        assert memory < 10
        assert tries < 60
        assert len(lines) <= 2, "at most what the two watches say"
        for proxy in proxies:
            proxy.heal()
        await until(partial(all_completed, psql, 10), seconds=20)


async def test_copies_in_two_workers_run_once(
    nursery, tmp_path: Path, redis_url, postgres_dsn, database_schema, queue, store, psql, queue_name
):
    ledger = tmp_path / "ledger"
    variables = {"REDIS_URL": redis_url, "DATABASE_URL": postgres_dsn, "DATABASE_SCHEMA": database_schema,
                 "QUEUE_NAME": queue_name, "WORKER_CONCURRENCY": "5"}  # fmt: skip
    async with worker_process(nursery, ledger, **variables), worker_process(nursery, ledger, **variables):
        ids = await make_submit(queue, store, Piggyback()).run_batch([Submission("naps", b'{"seconds":0.3}')] * 5)
        for _ in range(4):
            await queue.push([b'{"type":"naps","job_id":"%b"}' % str(job_id).encode() for job_id in ids])
        await until(partial(all_completed, psql, 5))

        async def drained() -> bool:
            return (await queue.depths()).ready == 0

        await until(drained)
    assert ledger_counts(ledger)[0] == {str(job_id): 1 for job_id in ids}
