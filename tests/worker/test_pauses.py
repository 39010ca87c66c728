"""Pausing a type while a worker works: what waits in its buffer, what runs, messages that are lost, a start anew."""

import pytest
import trio

from tests.support.rows import Psql
from tests.support.wait import until, until_true
from workqueue.core.control import ControlMessage
from workqueue.core.handlers import Registry
from workqueue.core.job import Job
from workqueue.core.queue import Queue
from workqueue.core.steps.pauses import Parking, Pauses
from workqueue.core.store import JobStore


@pytest.fixture
def rows(store: JobStore) -> JobStore:
    return store


@pytest.fixture
def pauses(queue: Queue, store: JobStore) -> Pauses:
    """Of a producer, which knows nothing of what the worker knows."""
    return Pauses(queue, store.pauses, Parking(queue))


@pytest.fixture
def ran(registry: Registry) -> list[str]:
    """The types of the jobs that were run, in order."""
    done: list[str] = []

    @registry.handler("paused")
    async def paused(job: Job) -> object:
        done.append("paused")
        return None

    @registry.handler("other")
    async def other(job: Job) -> object:
        done.append("other")
        return None

    return done


async def test_a_paused_type_waits_until_it_is_resumed_and_others_go_on(run_worker, submit, pauses, ran, psql: Psql):
    async with run_worker():
        await pauses.pause("paused")
        await submit("paused", count=20)
        await submit("other", count=5)
        await until_true(lambda: ran == ["other"] * 5)
        await until(lambda: parked_is(pauses, 20))
        await pauses.resume("paused")
        await until_true(lambda: len(ran) == 25)
    assert await psql("SELECT state, count(*) FROM jobs GROUP BY 1") == [("completed", 25)]


async def parked_is(pauses: Pauses, count: int) -> bool:
    return sum((await pauses._queue.parked()).values()) == count


async def test_what_was_claimed_and_has_not_started_goes_back_and_what_runs_goes_on(
    run_worker, submit, pauses, registry: Registry, queue: Queue, psql: Psql
):
    running, may_end = trio.Event(), trio.Event()
    starts = 0

    @registry.handler("slow")
    async def slow(job: Job) -> object:
        nonlocal starts
        starts += 1
        running.set()
        await may_end.wait()
        return None

    await submit("slow", count=30)
    async with run_worker(worker_concurrency=1):
        await running.wait()
        await pauses.pause("slow")
        may_end.set()
        await until(lambda: completed(psql, 1))
        await until(lambda: parked_is(pauses, 29))
        assert starts == 1
        assert await psql("SELECT DISTINCT attempts, recoveries, interruptions FROM jobs") == [(0, 0, 0)]
        await pauses.resume("slow")
        await until(lambda: completed(psql, 30))


async def completed(psql: Psql, count: int) -> bool:
    return await psql.value("SELECT count(*) FROM jobs WHERE state = 'completed'") == count


async def test_a_message_that_was_lost_is_made_up_for(
    run_worker, submit, pauses, ran, queue: Queue, monkeypatch: pytest.MonkeyPatch
):
    async def lost(_: bytes) -> None:
        pass

    monkeypatch.setattr(queue, "tell_workers", lost)
    async with run_worker() as worker:
        await pauses.pause("paused")
        await until_true(lambda: "paused" in worker.engine.parking.known.types)


async def test_a_worker_that_starts_on_an_empty_redis_asks_postgres_first(
    run_worker, submit, pauses, ran, redis, queue: Queue
):
    await pauses.pause("paused")
    await redis("DEL", queue.keys.pauses)
    await submit("paused", count=3)
    async with run_worker():
        await until(lambda: parked_is(pauses, 3))
        assert ran == []


async def test_an_older_worker_reads_the_message_without_the_pauses():
    from workqueue.core.control import read_message, write_message
    from workqueue.core.pauses import Paused

    message = ControlMessage(paused=Paused(3, frozenset({"x"})))
    assert read_message(write_message(message)) == message
    assert read_message(b'{"unknown": 1}') == ControlMessage()
