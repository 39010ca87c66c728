"""Redis and Postgres go away under running jobs and come back: everything goes on by itself, and nothing is lost."""

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support.proxy import Proxy
from tests.support.restartable import restartable
from tests.support.rows import open_psql
from tests.support.wait import until, until_true
from tests.worker.processes import cpu_seconds, resident_mib
from tests.worker.system import System
from workqueue.core.queue import Queue, open_queue
from workqueue.core.store import migrate, open_store
from workqueue.services.local.postgres import run_postgres
from workqueue.services.local.process import free_port
from workqueue.services.local.valkey import run_valkey


@pytest.fixture
def settings() -> dict[str, object]:
    return {"WORKER_CONCURRENCY": 5}


async def test_a_restart_of_redis_is_ridden_out(system: System, bridge, tmp_path: Path):
    run = partial(run_valkey, tmp_path / "valkey", port=free_port())
    async with restartable(run) as redis, open_queue(bridge, redis.url, "q") as queue:
        there = replace(system, queue=queue, variables={**system.variables, "REDIS_URL": redis.url, "QUEUE_NAME": "q"})
        ids = await there.submit("naps", 100)
        async with there.worker() as worker:
            await there.wait_for_ends(10)
            await redis.stop()
            await worker.answers("/ready", 503)
            assert (await worker.get("/health")).status_code == 200
            # What runs ends, and waits to be settled; the worker does not end meanwhile.
            await until_true(lambda: there.starts == there.ends)
            await redis.start()
            await worker.answers("/ready", 200)
            await there.wait_for_state("completed", 100)
            await worker.terminate()
        async with open_queue(bridge, redis.url, "q") as queue:
            await replace(there, queue=queue).check_rows()
    assert there.starts == dict.fromkeys(ids, 1), "an outage runs no job twice"
    assert "Traceback" not in worker.said, worker.said


@pytest.fixture
def open_folder(tmp_path: Path) -> Iterator[Path]:
    """pytest's folders are closed to other users, and root runs Postgres as one."""
    folders = [tmp_path, *(parent for parent in tmp_path.parents if parent.name.startswith("pytest-"))]
    before = [folder.stat().st_mode for folder in folders]
    for folder in folders:
        folder.chmod(0o711)
    yield tmp_path
    for folder, mode in zip(folders, before, strict=True):
        folder.chmod(mode)


async def test_a_restart_of_postgres_is_ridden_out(system: System, bridge, open_folder: Path):
    run = partial(run_postgres, open_folder / "postgres", port=free_port(), durable=False)
    async with restartable(run) as postgres:
        schema = system.variables["DATABASE_SCHEMA"]
        await migrate(bridge, postgres.url, schema)
        async with open_store(bridge, postgres.url, schema) as store:
            there = replace(system, store=store, variables={**system.variables, "DATABASE_URL": postgres.url})
            ids = await there.submit("naps", 100)
        async with there.worker() as worker:
            await there.wait_for_ends(10)
            await postgres.stop()
            await worker.answers("/ready", 503)
            await until_true(lambda: there.starts == there.ends)
            await postgres.start()
            await worker.answers("/ready", 200)
            async with open_psql(bridge, postgres.url, schema) as psql:
                there = replace(there, psql=psql)
                await there.wait_for_state("completed", 100)
                await worker.terminate()
                await there.check_rows()
    assert there.starts == dict.fromkeys(ids, 1), "an outage runs no job twice"
    assert "Traceback" not in worker.said, worker.said


def delay(proxy: Proxy) -> None:
    proxy.delay_seconds = 0.05


@pytest.mark.parametrize("fault", [Proxy.go_away, Proxy.black_hole, delay], ids=["refuses", "hangs", "is slow"])
async def test_a_bad_network_runs_no_job_twice(system: System, fault):
    ids = await system.submit("naps", 200, payload=b'{"seconds":0.05}')
    async with system.worker(far=True) as worker:
        for round_ in range(3):
            for proxy in system.proxies:
                fault(proxy)
                await trio.sleep(0.3 + 0.1 * round_)  # the outage itself
                proxy.heal()
                await trio.sleep(0.2)
        await system.wait_for_state("completed", 200)
        await worker.terminate()
        await system.check_rows()
        assert "Traceback" not in worker.said, worker.said
    assert system.starts == dict.fromkeys(ids, 1)


async def test_a_kill_leaves_its_jobs_to_the_worker_that_recovers_the_lease(system: System):
    await system.submit("naps", 5, payload=b'{"seconds":30}')
    async with system.worker(worker_concurrency=2) as worker:
        await system.wait_for_starts(2)
        worker.kill()
        await worker.process.wait()
    await system.check_rows()


async def test_a_lease_that_redis_has_lost_is_replaced_and_its_jobs_run_again(system: System):
    ids = await system.submit("naps", 2, payload=b'{"seconds":2}')
    async with system.worker(lease_seconds=1) as worker:
        await system.wait_for_starts(2)
        await system.queue._command("DEL", system.queue.keys.leases)
        await worker.says("is lost: 2 running jobs are cancelled")
        await system.wait_for_state("completed", 2)
        await worker.terminate()
    assert (system.starts, system.ends) == (dict.fromkeys(ids, 2), dict.fromkeys(ids, 1))
    assert await system.column("interruptions") == {1}


async def test_an_outage_is_said_once_when_it_comes_and_once_when_it_goes(system: System):
    async with system.worker(far=True) as worker:
        await worker.says("Redis answers")
        await worker.says("Postgres answers")
        for name, proxy in {"Redis": system.redis_proxy, "Postgres": system.postgres_proxy}.items():
            proxy.go_away()
            await worker.says(rf"warning workqueue.services.health: {name}: ")
            await _is_tried(proxy, 5)
            proxy.heal()
            await worker.says(rf"info workqueue.services.health: {name} is back after")
            assert worker.said.count(f"workqueue.services.health: {name}: ") == 1, worker.said
        await worker.terminate()
        password = system.variables["DATABASE_URL"].split(":")[2].split("@")[0]
        assert password not in worker.said


async def _is_tried(proxy: Proxy, times: int) -> None:
    """Until so many more connections came to it."""
    before = proxy.connections
    await until_true(lambda: proxy.connections >= before + times, seconds=60)


async def test_a_task_moved_for_a_worker_that_was_stopped_is_started_by_another(system: System):
    # The only worker that waits is frozen by SIGSTOP; Redis moves the task for it all the same. It lies in the front
    # list, which every claim takes first: the other worker starts it as soon as its own job has ended.
    queue, worker = system.queue, partial(system.worker, database_url="", worker_concurrency=1, lease_seconds=2)
    async with worker() as one, worker() as two:
        workers = {worker.process.pid: worker for worker in (one, two)}
        await queue.push([b'{"type":"naps","payload":{"seconds":1.5}}'])
        await system.wait_for_starts(1)
        await until(partial(_is_any_busy, queue))
        [busy] = [said["pid"] for said in await _published(queue) if said["running"]]
        [frozen] = [worker for pid, worker in workers.items() if pid != busy]

        async def is_moved() -> bool:
            """Frozen while Redis holds its BLMOVE: for 0.25 s it counts as waiting."""
            frozen.freeze()
            if b"cmd=blmove" in bytes(await queue._command("CLIENT", "LIST")):
                await queue.push([b'{"type":"quick"}'])
                return True
            frozen.wake()
            return False

        await until(is_moved)
        assert await queue._command("LLEN", queue.keys.front) == 1
        await system.wait_for_starts(2)
        assert system.ends.total() >= 1, "after the other's own job"
        frozen.wake()


async def _published(queue: Queue) -> list[dict[str, Any]]:
    return [json.loads(published) for published, _ in (await queue.workers()).values()]


async def _is_any_busy(queue: Queue) -> bool:
    return any(said["running"] for said in await _published(queue))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="there is no /proc")
@pytest.mark.parametrize("fault", [Proxy.go_away, Proxy.black_hole], ids=["refuses", "hangs"])
async def test_an_outage_costs_neither_the_processor_nor_memory(system: System, fault):
    """Ten jobs end meanwhile and are held; every service of the worker tries, with pauses, and none of them spins."""
    await system.submit("naps", 10, payload=b'{"seconds":1}')
    async with system.worker(far=True, worker_concurrency=10) as worker:
        await system.wait_for_starts(10)
        for proxy in system.proxies:
            fault(proxy)
        await system.wait_for_ends(10)
        pid, seconds = worker.process.pid, 3.0
        cpu, memory = cpu_seconds(pid), resident_mib(pid)
        connections, said = sum(proxy.connections for proxy in system.proxies), len(worker.said.splitlines())
        await trio.sleep(seconds)
        cpu, memory = (cpu_seconds(pid) - cpu) / seconds, resident_mib(pid) - memory
        tries = (sum(proxy.connections for proxy in system.proxies) - connections) / seconds
        lines = worker.said.splitlines()[said:]
        print(f"{cpu:.0%} of a processor, {memory:+.1f} MiB, {tries:.0f} connections a second")
        assert cpu < 0.7, "a loop that spins takes all of it; 0.05 to 0.15 were seen"
        assert memory < 30
        assert tries < 60
        assert len(lines) <= 2, "at most what the two watches say"
        for proxy in system.proxies:
            proxy.heal()
        await system.wait_for_state("completed", 10)


async def test_duplicates_in_two_workers_run_once(system: System):
    async with system.worker(), system.worker():
        ids = await system.submit("naps", 5, payload=b'{"seconds":0.3}')
        for _ in range(4):
            await system.queue.push([b'{"type":"naps","job_id":"%b"}' % job_id.encode() for job_id in ids])
        await system.wait_for_state("completed", 5)

        async def drained() -> bool:
            return (await system.queue.depths()).ready == 0

        await until(drained)
    assert system.starts == dict.fromkeys(ids, 1)
