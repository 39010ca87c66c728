"""The whole system while Redis or Postgres is there and does not do its work: paused, read-only, loading, full.

A producer takes requests all the while, two workers run jobs. What was accepted runs once, what was refused never does.
"""

import os
import pwd
import subprocess
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
import trio

from tests.producer.serving import serving
from tests.support.invariants import check_rows
from tests.support.steps import make_submit
from tests.support.wait import is_ready, until, until_true
from tests.worker.processes import WorkerProcess, ledger_counts, open_worker, resident_mib, worker_process
from workqueue.core.errors import QueueUnavailable
from workqueue.core.queue import Queue, open_queue
from workqueue.core.steps.piggyback import Piggyback
from workqueue.core.store import JobStore
from workqueue.core.wire import Submission
from workqueue.services.local import valkey
from workqueue.services.local.postgres import ROOT_RUNS_AS
from workqueue.services.local.valkey import run_valkey

TERM = 2
OUTAGE_SECONDS = 1.5 * TERM
ANSWER_SECONDS = 30.0  #: a push of 5 s, a look at its rows, and a busy machine
BACK_SECONDS = 30.0  #: two, and a busy machine


class System:
    """A producer, two workers, and a client that enqueues. Mutable state: what was answered so far."""

    def __init__(self, client: httpx.AsyncClient, workers: list[WorkerProcess], ledger: Path) -> None:
        self.client = client
        self.workers = workers
        self.ledger = ledger
        self.answers: list[tuple[int, str]] = []
        self.slowest = 0.0
        self._clients = trio.CancelScope()

    @property
    def accepted(self) -> list[str]:
        return [said for status, said in self.answers if status == 200]

    @property
    def refused(self) -> Counter[str]:
        return Counter(said for status, said in self.answers if status != 200)

    async def enqueue(self, job_type: str = "quick", payload: dict[str, object] | None = None) -> bool:
        """One request; True: it was accepted."""
        begun = trio.current_time()
        answer = await self.client.post("/enqueue", json={"type": job_type, "payload": payload or {}})
        self.slowest = max(self.slowest, trio.current_time() - begun)
        said = answer.json()["job_id"] if answer.status_code == 200 else answer.text
        self.answers.append((answer.status_code, said))
        return answer.status_code == 200

    async def keep_enqueueing(self) -> None:
        """Three clients, each one request after the other, until `stop_enqueueing`."""
        with self._clients:
            async with trio.open_nursery() as clients:
                for _ in range(3):
                    clients.start_soon(self._client)

    async def _client(self) -> None:
        while not self._clients.cancel_called:
            with trio.CancelScope(shield=True):  # each request is answered: what it says counts
                await self.enqueue()
            await trio.sleep(0.05)

    async def stop_enqueueing(self) -> None:
        self._clients.cancel()

    async def works(self) -> bool:
        """Has a job that was accepted just now been started?"""
        return await self.enqueue() and await self._starts(self.accepted[-1])

    async def _starts(self, job_id: str) -> bool:
        with trio.move_on_after(BACK_SECONDS):
            await until_true(lambda: job_id in ledger_counts(self.ledger)[0], seconds=BACK_SECONDS + 1)
            return True
        return False

    async def fill(self, queue: Queue, store: JobStore, count: int, seconds: float) -> None:
        """Jobs that are there at once, as if another producer had accepted them."""
        job = Submission("naps", b'{"seconds": %.2f}' % seconds)
        for job_id in await make_submit(queue, store, Piggyback()).run_batch([job] * count):
            self.answers.append((200, str(job_id)))

    async def refuses(self, sentence: str) -> bool:
        return not await self.enqueue() and self.answers[-1][1] == sentence

    def said(self) -> str:
        return "\n".join(worker.said for worker in self.workers)


@asynccontextmanager
async def system(nursery: trio.Nursery, folder: Path, **variables: str) -> AsyncIterator[System]:
    variables |= {"LEASE_SECONDS": str(TERM), "WORKER_CONCURRENCY": "5"}
    ledger = folder / "ledger"
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(serving(variables))
        workers: list[WorkerProcess] = []
        ready = trio.Event()

        async def run(number: int) -> None:
            async with open_worker(nursery, ledger, variables) as worker:
                workers.append(worker)
                if len(workers) == 2:
                    ready.set()
                await trio.sleep_forever()

        async with trio.open_nursery() as running:
            for number in range(2):
                running.start_soon(run, number)
            with trio.fail_after(40):
                await ready.wait()
            await until(partial(is_ready, client))
            yield System(client, workers, ledger)
            running.cancel_scope.cancel()


async def is_unready(client: httpx.AsyncClient, because: str) -> bool:
    answer = await client.get("/ready")
    return answer.status_code == 503 and because in answer.text


async def check(system: System, queue: Queue, psql) -> None:
    """At the end: everything that was accepted ran once, and nothing else did."""

    async def is_quiet() -> bool:
        return not await psql("SELECT FROM jobs WHERE state IN ('pending', 'processing')")

    await until(is_quiet, seconds=30)
    accepted = system.accepted
    assert ledger_counts(system.ledger)[0] == dict.fromkeys(accepted, 1), "an outage runs no job twice"
    completed = await psql("SELECT id FROM jobs WHERE state = 'completed'")
    assert {str(row["id"]) for row in completed} == set(accepted)
    assert set(system.refused) <= {"failed to enqueue task", "failed to persist job"}
    assert system.slowest < ANSWER_SECONDS
    assert "Traceback" not in system.said(), system.said()
    assert "is lost" not in system.said(), system.said()
    await check_rows(queue, psql)


@pytest.fixture
def variables(postgres_dsn, database_schema, queue_name, store) -> dict[str, str]:
    return {"DATABASE_URL": postgres_dsn, "DATABASE_SCHEMA": database_schema, "QUEUE_NAME": queue_name}


async def pause(queue: Queue) -> None:
    await queue._command("CLIENT", "PAUSE", int(OUTAGE_SECONDS * 1000), "ALL")
    await trio.sleep(OUTAGE_SECONDS)


async def become_a_replica(queue: Queue) -> None:
    await queue._command("REPLICAOF", "127.0.0.1", "1")
    await trio.sleep(OUTAGE_SECONDS)
    await queue._command("REPLICAOF", "NO", "ONE")


@pytest.mark.parametrize("outage", [pause, become_a_replica])
async def test_redis_does_not_answer_or_only_reads_for_a_while(
    nursery, bridge, tmp_path, variables, queue_name, psql, outage
):
    async with (
        run_valkey(tmp_path / "valkey", durable=False) as server,
        open_queue(bridge, server.url, queue_name) as queue,
        system(nursery, tmp_path, REDIS_URL=server.url, **variables) as under_test,
    ):
        for seconds in (1, 1, OUTAGE_SECONDS, OUTAGE_SECONDS):  # they run through it
            assert await under_test.enqueue("naps", {"seconds": seconds})
        async with trio.open_nursery() as clients:
            clients.start_soon(under_test.keep_enqueueing)
            await until_true(lambda: len(under_test.accepted) > 20)
            before = [len(worker.said) for worker in under_test.workers]
            await outage(queue)
            back = trio.current_time()
            await until(under_test.works, seconds=BACK_SECONDS)
            print(f"{outage.__name__}: works again after {trio.current_time() - back:.2f} s, {under_test.refused}")
            await under_test.stop_enqueueing()
        await check(under_test, queue, psql)
        for worker, begin in zip(under_test.workers, before, strict=True):
            await until_true(partial(_says_after, worker, begin, "is back"))
            lines = [line for line in worker.said[begin:].splitlines() if "workqueue.services.health" in line]
            assert len(lines) == 2, "one line on loss, one on return"


def _says_after(worker: WorkerProcess, begin: int, text: str) -> bool:
    return text in worker.said[begin:]


async def test_redis_loads_its_file_for_a_while(
    nursery, bridge, tmp_path, variables, queue_name, psql, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "valkey"
    async with AsyncExitStack() as stack:
        async with (
            run_valkey(folder, sync="no") as server,
            open_queue(bridge, server.url, queue_name) as queue,
        ):
            under_test = await stack.enter_async_context(system(nursery, tmp_path, REDIS_URL=server.url, **variables))
            fill = "for n = 1, 10000 do redis.call('SET', 'filler:' .. n, '') end"
            await queue._command("EVAL", fill, 0)
            for _ in range(4):
                assert await under_test.enqueue("naps", {"seconds": OUTAGE_SECONDS})
            clients = await stack.enter_async_context(trio.open_nursery())
            clients.start_soon(under_test.keep_enqueueing)
            await until_true(lambda: len(under_test.accepted) > 20)
        plain = valkey._config

        def slowly(*arguments: Any, **options: Any) -> str:
            return plain(*arguments, **options) + "key-load-delay 250\n"

        monkeypatch.setattr(valkey, "_config", slowly)
        async with open_queue(bridge, server.url, queue_name) as queue:
            faults: set[str] = set()

            async def watch() -> None:
                while True:
                    try:
                        await queue.depths()
                    except QueueUnavailable as error:
                        faults.add(str(error))
                    await trio.sleep(0.05)

            clients.start_soon(watch)
            async with run_valkey(folder, port=server.port):
                assert any("loading" in fault for fault in faults), faults
                await until(under_test.works, seconds=BACK_SECONDS)
                await under_test.stop_enqueueing()
                clients.cancel_scope.cancel()
                await check(under_test, queue, psql)
                await stack.aclose()


async def test_a_full_redis_refuses_producers_and_lets_workers_empty_it(
    nursery, bridge, tmp_path, variables, queue_name, store, psql
):
    async with (
        run_valkey(tmp_path / "valkey", durable=False) as server,
        open_queue(bridge, server.url, queue_name) as queue,
        system(nursery, tmp_path, REDIS_URL=server.url, **variables) as under_test,
    ):
        await under_test.fill(queue, store, 120, 0.4)
        assert (await queue.depths()).ready > 50
        await queue._command("CONFIG", "SET", "maxmemory", "1")
        await until(partial(under_test.refuses, "failed to enqueue task"))
        await until(partial(is_unready, under_test.client, "its memory is full"))

        async def is_empty() -> bool:
            return (await queue.depths()).ready == 0

        began = trio.current_time()
        await until(is_empty, seconds=30)
        await until_true(lambda: ledger_counts(under_test.ledger)[1].total() == 120)
        await trio.sleep(max(0.0, 3 * TERM - (trio.current_time() - began)))
        assert len([score for score in (await queue.lease_scores()).values() if score > 0]) == 2, "their leases live"
        assert await under_test.refuses("failed to enqueue task"), "nothing is free: 1 byte is the limit"
        for worker in under_test.workers:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{worker.port}") as client:
                assert await is_ready(client), "they can claim"
        await queue._command("CONFIG", "SET", "maxmemory", "0")
        await until(under_test.works, seconds=BACK_SECONDS)
        await check(under_test, queue, psql)


@pytest.fixture
async def reading_only(psql):
    """Makes the Postgres of this session refuse every write, as after a failover to a standby; and undoes it."""
    await psql("SET default_transaction_read_only = off")

    async def set_(value: str) -> None:
        await psql(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
        await psql("SELECT pg_reload_conf()")

    try:
        yield set_
    finally:
        with trio.CancelScope(shield=True):
            await set_("off")


async def test_a_postgres_that_only_reads_refuses_producers_and_workers_hold_what_has_ended(
    nursery, redis_url, tmp_path, variables, queue, store, psql, reading_only
):
    async with system(nursery, tmp_path, REDIS_URL=redis_url, **variables) as under_test:
        await ride_out(under_test, queue, store, psql, partial(reading_only, "on"), partial(reading_only, "off"))
        for worker in under_test.workers:
            assert worker.said.count("Postgres: this server is read-only") == 1


async def ride_out(under_test: System, queue: Queue, store: JobStore, psql, begin, end) -> None:
    """Jobs that run, jobs that wait, and clients, through a time in which Postgres takes nothing."""
    await under_test.fill(queue, store, 10, 1)
    await under_test.fill(queue, store, 30, 0.05)
    await until_true(lambda: len(ledger_counts(under_test.ledger)[0]) >= 10)
    await begin()
    await until(partial(under_test.refuses, "failed to persist job"))
    await trio.sleep(OUTAGE_SECONDS)
    running = ledger_counts(under_test.ledger)[0] - ledger_counts(under_test.ledger)[1]
    assert not running, "what ran has ended, and waits to be written where it must"
    assert len([score for score in (await queue.lease_scores()).values() if score > 0]) == 2, "their leases live"
    await end()
    back = trio.current_time()
    await until(under_test.works, seconds=BACK_SECONDS)
    print(f"works again after {trio.current_time() - back:.2f} s, {under_test.refused}")
    await check(under_test, queue, psql)


@pytest.fixture
def small_disk():
    """A file system of 24 MiB that Postgres may write to; not below pytest's folders, which are closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="workqueue-disk-"))
    folder.chmod(0o711)
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m,mode=0777", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        folder.rmdir()
        pytest.skip("only root may mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
        folder.rmdir()


async def test_a_full_disk_refuses_producers_and_loses_nothing(
    nursery, redis_url, tmp_path, variables, queue, store, psql, small_disk, database_schema
):
    """The tables lie on a disk that fills up; once there is room again, everything goes on by itself."""
    space = f"small_{database_schema}"
    place = small_disk / "tables"
    place.mkdir(mode=0o777)
    place.chmod(0o777)
    os.chown(place, pwd.getpwnam(ROOT_RUNS_AS).pw_uid, -1)
    await psql(f"CREATE TABLESPACE {space} LOCATION '{place}'")
    for table in ("jobs", "runs", "outbox", "claimed", "redis_checkpoints"):
        await psql(f"ALTER TABLE {table} SET TABLESPACE {space}")

    async def fill() -> None:
        await psql(f"CREATE TABLE filler (text text STORAGE PLAIN) TABLESPACE {space}")
        for size in (1000, 1):  # to the last page
            while await has_room(size):
                pass

    async def has_room(size: int) -> bool:
        try:
            await psql("INSERT INTO filler SELECT repeat('x', 7000) FROM generate_series(1, $1)", size)
        except asyncpg.DiskFullError:
            return False
        return True

    async def make_room() -> None:
        await psql("DROP TABLE filler")

    async with system(nursery, tmp_path, REDIS_URL=redis_url, **variables) as under_test:
        await ride_out(under_test, queue, store, psql, fill, make_room)
    await psql(f"DROP SCHEMA {database_schema} CASCADE")
    await psql(f"DROP TABLESPACE {space}")


async def test_five_hundred_tasks_of_a_mebibyte_pass_through_little_memory(nursery, bridge, tmp_path):
    """Case 16: a claim is bounded in bytes, so neither Redis nor the worker holds them all at once."""
    ledger = tmp_path / "ledger"
    async with (
        run_valkey(tmp_path / "valkey", durable=False) as server,
        open_queue(bridge, server.url, "q") as queue,
        worker_process(nursery, ledger, REDIS_URL=server.url, QUEUE_NAME="q", WORKER_CONCURRENCY="2") as worker,
    ):
        large = b'{"type":"quick","payload":{"text":"' + b"x" * (1 << 20) + b'"}}'
        before = resident_mib(worker.process.pid)
        for _ in range(125):
            await queue.push([large] * 4)
        most = 0.0
        with trio.fail_after(60):
            while sum(ledger_counts(ledger)[1].values()) < 500:
                most = max(most, resident_mib(worker.process.pid) - before)
                await trio.sleep(0.05)
        print(f"{most:.0f} MiB more")
        assert most < 200
        assert set(ledger_counts(ledger)[0].values()) == {1}
        assert "is lost" not in worker.said
