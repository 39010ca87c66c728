"""What the machine does not give is not blamed on a job: it goes back, and others may run it."""

import resource
import sys
from pathlib import Path
from uuid import UUID

import httpx
import pytest
import trio

from tests.support.wait import until, until_true
from tests.worker.conftest import finished
from tests.worker.processes import ledger_counts, worker_process
from workqueue.core.job_filter import JobFilter
from workqueue.services.worker.running.environment import Environment, _has_room

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="prlimit is Linux's")


async def test_the_fault_goes_when_there_is_room_again(monkeypatch, caplog):
    assert _has_room()
    room, probes = False, 0

    def has_room() -> bool:
        nonlocal probes
        probes += 1
        return room

    monkeypatch.setattr("workqueue.services.worker.running.environment._has_room", has_room)
    monkeypatch.setattr("workqueue.services.worker.running.environment.PROBE_SECONDS", 0.01)
    environment = Environment()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(environment.watch)
        for _ in range(3):
            environment.lacks("can't start new thread")
        assert "can't start new thread" in (environment.fault or "")
        await until_true(lambda: probes >= 3)
        assert environment.fault is not None
        room = True
        await until_true(lambda: environment.fault is None)
        environment.lacks("no more")
        assert "no more" in (environment.fault or "")
        await until_true(lambda: environment.fault is None)
        nursery.cancel_scope.cancel()
    assert sum("no job is started here" in record.getMessage() for record in caplog.records) == 2


async def test_a_worker_that_gets_no_threads_gives_its_jobs_back_and_says_so(
    run_worker, registry, submit, rows, monkeypatch
):
    """Beside it another one may do them: none of them has failed, none has a failure counted."""
    lacking = True
    monkeypatch.setattr("workqueue.services.worker.running.environment._has_room", lambda: not lacking)
    monkeypatch.setattr("workqueue.services.worker.running.environment.PROBE_SECONDS", 0.05)

    @registry.handler("threaded")
    def threaded(job) -> int:
        return job.attempt

    start = trio._threads.start_thread_soon  # type: ignore[attr-defined]

    def refuse(*arguments) -> None:
        if lacking:
            raise RuntimeError("can't start new thread")
        start(*arguments)

    async with run_worker(worker_concurrency=4) as worker:
        monkeypatch.setattr("trio._threads.start_thread_soon", refuse)
        await submit("threaded", 50)

        async def says_so() -> bool:
            return "machine" in await worker.faults()

        await until(says_so)
        await trio.sleep(0.5)
        assert worker.counts.finished == worker.jobs_failed == 0
        lacking = False
        await finished(worker, 50)
        assert worker.counts.done == 50
        assert worker.counts.retried == 0
        await until_true(lambda: worker.consumers.environment.fault is None)
    if rows is not None:
        found = (await rows.lists.page(worker.queue.name, JobFilter(), before=None, limit=100)).rows
        assert {(job.attempts, job.interruptions, job.recoveries) for job in found} == {(0, 0, 0)}


@pytest.mark.parametrize("rows", ["redis only"], indirect=True)
async def test_a_process_without_room_for_threads_does_not_fail_jobs(
    redis_url, queue_name, queue, tmp_path, nursery, rows
):
    ledger = tmp_path / "ledger"
    async with worker_process(nursery, ledger, REDIS_URL=redis_url, QUEUE_NAME=queue_name) as worker:
        pid = worker.process.pid
        pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[0])
        before = resource.prlimit(pid, resource.RLIMIT_AS)
        # Less than the stack of one thread more; what the heap has free is enough for the rest.
        resource.prlimit(pid, resource.RLIMIT_AS, (pages * resource.getpagesize() + (2 << 20), before[1]))
        await queue.push([b'{"type":"quick_thread","job_id":"%b"}' % str(UUID(int=n)).encode() for n in range(1, 201)])
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{worker.port}", trust_env=False) as client:

            async def is_not_ready() -> bool:
                answer = await client.get("/ready")
                return answer.status_code == 503 and "machine" in answer.json()

            await until(is_not_ready, seconds=30)
            resource.prlimit(pid, resource.RLIMIT_AS, before)
            await until_true(lambda: len(ledger_counts(ledger)[1]) == 200, seconds=30)
            metrics = (await client.get("/metrics")).json()
        assert metrics["jobs_failed"] == 0
        assert "Traceback" not in worker.said
        assert worker.said.count("no job is started here") <= 5
    assert (await queue.depths()).dead == 0


@pytest.mark.parametrize("rows", ["redis only"], indirect=True)
async def test_a_worker_outlives_the_folder_of_its_release(redis_url, queue_name, queue, tmp_path, nursery, rows):
    """A deployment moves it away: what runs must need nothing of it any more."""
    import shutil

    from tests.e2e.processes import ROOT

    folder, ledger = tmp_path / "release", tmp_path / "ledger"
    for name in ("core", "services", "workqueue", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("page", "__pycache__", "web"))
    async with worker_process(
        nursery, ledger, code=folder, REDIS_URL=redis_url, QUEUE_NAME=queue_name, LEASE_SECONDS="1"
    ) as worker:
        shutil.rmtree(folder)
        await trio.sleep(2.5)  # each of its services has had a turn
        await queue.push([b'{"type":"quick"}', b'{"type":"raises"}', b'{"type":"naps"}'])
        await until_true(lambda: len(ledger_counts(ledger)[1]) == 2, seconds=30)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{worker.port}", trust_env=False) as client:
            assert (await client.get("/ready")).text == "ready"
            assert (await client.get("/metrics", headers={"Accept": "text/plain"})).status_code == 200
        assert await worker.terminate() < 20
        assert worker.process.returncode == 0
