"""The master of a Sentinel set and of a Cluster dies under load, and no operator helps."""

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
import trio
from redis.crc import key_slot

from tests.e2e.processes import running_producer
from tests.support.invariants import check_nothing_left, check_rows
from tests.support.redis_sets import SLOTS
from tests.support.steps import make_submit
from tests.support.wait import until, until_true
from tests.worker.processes import ledger_counts, worker_process
from workqueue import Job
from workqueue.core.errors import EnqueueFailed, QueueUnavailable
from workqueue.core.queue import open_queue
from workqueue.core.steps.piggyback import Piggyback
from workqueue.core.wire import Submission

CONCURRENCY = 10

pytestmark = pytest.mark.slow


@pytest.fixture
def redis_url(redis_set) -> str:
    return redis_set.url


@pytest.fixture
def rows() -> None:
    """Each test has both, with rows and without."""


class Load:
    """Enqueues until it is ended. Mutable state: what was accepted, in order, and how much was refused."""

    def __init__(self, enqueue: Callable[[], Awaitable[str | None]]) -> None:
        self._enqueue = enqueue
        self.accepted: list[str] = []
        self.refused = 0
        self.ended = False

    async def run(self) -> None:
        while not self.ended:
            job_id = await self._enqueue()
            if job_id is None:
                self.refused += 1
            else:
                self.accepted.append(job_id)
            await trio.sleep(0.01)

    async def until_more(self, count: int) -> None:
        """Until so many more were accepted."""
        goal = len(self.accepted) + count
        await until_true(lambda: len(self.accepted) >= goal, seconds=30)


async def test_with_rows_every_accepted_job_completes_once_and_without_them_what_was_accepted_since(
    redis_set, redis_url, queue, queue_name, bridge, nursery, tmp_path: Path, postgres_dsn, database_schema, store,
    psql, run_worker, registry, record_property,
):  # fmt: skip
    """Two systems on one set: processes with Postgres, and one in here without."""
    ledger = tmp_path / "ledger"
    variables = {"REDIS_URL": redis_url, "QUEUE_NAME": queue_name,
                 "DATABASE_URL": postgres_dsn, "DATABASE_SCHEMA": database_schema}  # fmt: skip
    other_name = in_the_same_slots(queue_name)
    ran: dict[str, int] = {}

    @registry.handler("counted")
    async def counted(job: Job) -> None:
        ran[str(job.id)] = ran.get(str(job.id), 0) + 1
        await trio.sleep(0.05)

    async with (
        open_queue(bridge, redis_url, other_name) as other,
        running_producer(variables) as (producer, client),
        worker_process(nursery, ledger, WORKER_CONCURRENCY=str(CONCURRENCY), **variables) as worker,
        run_worker(queue=other, store=None, worker_concurrency=CONCURRENCY),
    ):
        submit = make_submit(other, None, Piggyback())

        async def by_http() -> str | None:
            answer = await client.post("/enqueue", json={"type": "naps", "payload": {"seconds": 0.05}})
            if answer.status_code == 200:
                return str(answer.json()["job_id"])
            assert (answer.status_code, answer.text) == (500, "failed to enqueue task")
            return None

        async def by_step() -> str | None:
            [job_id] = await submit.run_batch([Submission("counted", b"{}")])
            return None if isinstance(job_id, EnqueueFailed) else str(job_id)

        with_rows, without = Load(by_http), Load(by_step)
        async with trio.open_nursery() as loads:
            for load in [with_rows, without] * 4:
                loads.start_soon(load.run)
            await with_rows.until_more(40)
            await without.until_more(40)
            dead = await redis_set.kill_master(queue_name)
            seen = len(without.accepted)
            await with_rows.until_more(40)
            await without.until_more(40)
            await redis_set.revive(dead)  # what it alone knew is gone with that; it leads no replica
            await with_rows.until_more(40)
            with_rows.ended = without.ended = True
        assert with_rows.refused, "it was noticed"
        assert without.refused, "it was noticed"
        since = without.accepted[seen + 4 :]  # four may have been on their way
        await until(partial(all_ended, psql), seconds=30)
        await until_true(lambda: set(since) <= ran.keys(), seconds=30)
        record_property("lost_without_rows", len(set(without.accepted) - ran.keys()))
        await check_rows(queue, psql)
        assert await worker.terminate() < 15
    states = {str(row["id"]): row["state"] for row in await psql("SELECT id, state FROM jobs")}
    assert {states[job_id] for job_id in with_rows.accepted} == {"completed"}
    assert set(states.values()) <= {"completed", "cancelled"}, "a refused job is cancelled"
    starts, _ = ledger_counts(ledger)
    assert starts.keys() == {job_id for job_id, state in states.items() if state == "completed"}
    assert set(starts.values()) == {1}, "the row decides: a task that came back was a copy"
    assert "Traceback" not in worker.said + producer.said, worker.said + producer.said


def in_the_same_slots(name: str) -> str:
    """Another queue on the same one of three masters."""
    return next(other for n in range(100) if third_of(other := f"{name}:{n}") == third_of(name))


def third_of(name: str) -> int:
    return key_slot(name.encode()) * 3 // SLOTS


async def all_ended(psql) -> bool:
    return not await psql("SELECT FROM jobs WHERE state IN ('pending', 'processing')")


async def test_what_the_replica_had_not_yet_comes_back_from_the_rows_and_is_lost_without_them(
    redis_set, redis_url, queue, queue_name, bridge, store, psql, run_worker, registry
):
    """Replication is asynchronous. Here it stands still for a while before the master dies."""
    ran: dict[str, int] = {}

    @registry.handler("counted")
    async def counted(job: Job) -> None:
        ran[str(job.id)] = ran.get(str(job.id), 0) + 1

    async with open_queue(bridge, redis_url, in_the_same_slots(queue_name)) as other:
        steps = {"rows": make_submit(queue, store, Piggyback()), "none": make_submit(other, None, Piggyback())}

        async def accept() -> dict[str, set[str]]:
            """Ten jobs by each; which they are."""
            ids = {}
            for name, step in steps.items():
                answers = await step.run_batch([Submission("counted", b"{}")] * 10)
                assert [answer for answer in answers if isinstance(answer, Exception)] == []
                ids[name] = {str(answer) for answer in answers}
            return ids

        # A worker has been there, so that Postgres knows this Redis, and has run all that there was.
        async with run_worker(queue=queue, store=store), run_worker(queue=other, store=None):
            first = await accept()
            await until_true(lambda: first["rows"] | first["none"] <= ran.keys())
            await until(partial(knows_redis, psql))
        kept = await accept()
        await redis_set.until_in_sync()
        await redis_set.cut_replication(queue_name)
        gone = await accept()
        await redis_set.kill_master(queue_name)
        for each in (queue, other):  # not every Sentinel knows in the same moment
            await until(partial(answers, each), seconds=30)
        since = await accept()
        async with run_worker(queue=queue, store=store), run_worker(queue=other, store=None):
            await until_true(lambda: kept["rows"] | gone["rows"] | since["rows"] <= ran.keys(), seconds=30)
            await until_true(lambda: kept["none"] | since["none"] <= ran.keys())
            await until(partial(all_ended, psql))
        assert not gone["none"] & ran.keys(), "without rows nothing knows of them"
        assert set(ran.values()) == {1}
        await check_nothing_left(queue, psql)
        await check_nothing_left(other)


async def knows_redis(psql) -> bool:
    return bool(await psql("SELECT FROM redis_checkpoints WHERE server_run_id IS NOT NULL"))


async def answers(queue) -> bool:
    try:
        await queue.check()
    except QueueUnavailable:
        return False
    return True
