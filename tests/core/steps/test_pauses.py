"""Pausing: parking at the claim, resuming, and what a loss of Redis, of a message or of the database does to it."""

import json
from typing import Any
from uuid import UUID

import pytest

from tests.core.steps.support import submitted, take
from tests.support.proxy import Proxy
from tests.support.redis_cli import RedisCli
from tests.support.rows import Psql
from tests.support.steps import Steps
from workqueue.core.errors import QueueUnavailable
from workqueue.core.options import JobOptions
from workqueue.core.pauses import PAUSED_TYPES_MAX, Paused
from workqueue.core.queue import Queue
from workqueue.core.steps.lease import Lease
from workqueue.core.steps.pauses import Parking, Pauses
from workqueue.core.steps.reconcile import Reconcile
from workqueue.core.store import JobStore
from workqueue.core.wire import Submission


@pytest.fixture
def pauses(queue: Queue, store: JobStore, steps: Steps) -> Pauses:
    return Pauses(queue, store.pauses, steps.parking)


async def parked(redis: RedisCli, queue: Queue, job_type: str) -> list[UUID]:
    return [UUID(json.loads(task)["job_id"]) for task in await redis.list(queue.keys.parked(job_type))]


async def test_a_claim_sets_aside_what_is_paused_and_a_resume_brings_it_back_in_order(
    steps: Steps, pauses: Pauses, queue: Queue, lease: Lease, redis: RedisCli, psql: Psql
):
    await pauses.pause("x")
    first = await submitted(steps, 3)
    [other] = await steps.submit.run_batch([Submission("y", b"{}", JobOptions())])
    assert [claimed.job_id for claimed in await take(steps, lease, 10)] == [other]
    assert await parked(redis, queue, "x") == first
    assert await psql("SELECT state, count(*) FROM jobs GROUP BY 1 ORDER BY 1") == [("pending", 3), ("processing", 1)]
    assert await queue.numbers(lease.id) == {claimed.number for claimed in lease.tasks.values()}
    later = await submitted(steps, 1)
    await pauses.resume("x")
    await pauses.run_once()
    assert await queue.parked() == {}
    assert [claimed.job_id for claimed in await take(steps, lease, 10)] == first + later


async def test_a_task_that_another_program_pushed_is_parked_as_well(
    steps: Steps, pauses: Pauses, queue: Queue, lease: Lease, redis: RedisCli, psql: Psql
):
    await pauses.pause("x")
    await redis("RPUSH", queue.name, '{"type":"x","payload":{}}')
    assert await take(steps, lease, 10) == []
    assert len(await parked(redis, queue, "x")) == 1
    assert await psql("SELECT id FROM jobs") == []
    await pauses.resume("x")
    await pauses.run_once()
    [claimed] = await take(steps, lease, 10)
    assert claimed.task.type == "x"


async def test_a_type_that_was_resumed_meanwhile_is_run_and_not_parked(
    steps: Steps, pauses: Pauses, queue: Queue, lease: Lease, redis: RedisCli, monkeypatch: pytest.MonkeyPatch
):
    paused = await pauses.pause("x")
    assert paused is not None
    first = await submitted(steps, 2)
    await queue.set_paused(Paused(paused.version + 1))  # resumed, and this worker believes in the message of before
    steps.parking.known = Paused(paused.version + 2, frozenset({"x"}))

    async def has_not_come(paused: Paused) -> Paused:
        return paused

    monkeypatch.setattr(queue, "set_paused", has_not_come)
    assert [claimed.job_id for claimed in await take(steps, lease, 10)] == first
    assert await parked(redis, queue, "x") == []


async def test_what_a_late_send_may_still_park_does_not_run(
    steps: Steps, pauses: Pauses, queue: Queue, lease: Lease, redis: RedisCli, monkeypatch: pytest.MonkeyPatch
):
    await pauses.pause("x")
    first = await submitted(steps, 2)
    park, sent = queue.park, []

    async def park_without_an_answer(*arguments: Any) -> list[bool]:
        sent.append(arguments)
        if len(sent) == 1:
            await pauses.resume("x")
            raise QueueUnavailable("it has been sent")
        return await park(*arguments)

    monkeypatch.setattr(queue, "park", park_without_an_answer)
    assert await take(steps, lease, 10) == []
    [claimed] = await take(steps, lease, 1)
    await pauses.pause("x")
    await park(*sent[0])  # it arrives
    assert await queue.numbers(lease.id) == {claimed.number}
    assert claimed.job_id == first[0]
    assert await parked(redis, queue, "x") == []


async def test_redis_that_was_flushed_is_told_before_anything_of_a_paused_type_runs(
    steps: Steps, pauses: Pauses, queue: Queue, lease: Lease, redis: RedisCli
):
    await pauses.pause("x")
    await redis("DEL", queue.keys.pauses)
    await submitted(steps, 2)
    assert await take(steps, lease, 10) == []
    assert await queue.parked() == {"x": 2}


async def test_a_worker_that_has_just_started_knows_what_is_paused_from_postgres(
    pauses: Pauses, queue: Queue, store: JobStore, redis: RedisCli
):
    await pauses.pause("x")
    await redis("DEL", queue.keys.pauses)
    fresh = Parking(queue)
    await Pauses(queue, store.pauses, fresh).run_once()
    assert fresh.known.types == {"x"}
    assert await redis("HEXISTS", queue.keys.pauses, "t:x") in {1, "1"}


async def test_a_database_that_was_set_back_wins_over_what_redis_remembers(
    pauses: Pauses, queue: Queue, store: JobStore, psql: Psql
):
    for each in ("x", "y", "z"):
        await pauses.pause(each)
    await psql("UPDATE pauses SET version = 1, types = '{x}'")
    await pauses.run_once()
    assert (await store.pauses.read(queue.name)).types == {"x"}
    assert (await queue.depths()).paused.types == {"x"}
    await psql("DELETE FROM pauses")
    await pauses.run_once()
    assert (await queue.depths()).paused.types == set()


async def test_a_pause_while_redis_is_away_holds_once_it_is_back(
    far_queue: Queue, store: JobStore, redis_proxy: Proxy, queue: Queue
):
    parking = Parking(far_queue)
    pauses = Pauses(far_queue, store.pauses, parking)
    redis_proxy.go_away()
    changed = await pauses.pause("x")
    assert changed is not None
    assert changed.types == {"x"}
    with pytest.raises(QueueUnavailable):
        await pauses.run_once()
    redis_proxy.heal()
    await pauses.run_once()
    assert (await queue.depths()).paused.types == {"x"}


async def test_an_answer_that_was_lost_parks_nothing_twice(queue: Queue, lease: Lease, redis: RedisCli):
    await redis("RPUSH", queue.name, "one", "two")
    await queue.claim(lease.id, start=1, count=2)
    await queue.set_paused(Paused(1, frozenset({"x"})))
    assert await queue.park(lease.id, "x", [1, 2]) == [True, True]
    assert await queue.park(lease.id, "x", [1, 2]) == [True, True]
    assert await redis.list(queue.keys.parked("x")) == [b"one", b"two"]


async def test_an_older_version_changes_nothing(queue: Queue):
    newer = Paused(7, frozenset({"x"}))
    assert await queue.set_paused(newer) == newer
    assert await queue.set_paused(Paused(6, frozenset({"y"}))) == newer


async def test_many_parked_tasks_come_back_in_their_order(queue: Queue, lease: Lease, redis: RedisCli):
    await redis("RPUSH", queue.keys.parked("x"), *map(str, range(2350)))
    await redis("HSET", queue.keys.parked_counts, "x", "2350")
    await redis("RPUSH", queue.name, "later")
    lefts: list[int] = []
    while not lefts or lefts[-1]:
        lefts.append(await queue.unpark("x"))
    assert lefts == [1350, 350, 0]
    assert await redis.list(queue.name) == [*(b"%d" % number for number in range(2350)), b"later"]


async def test_what_is_paused_is_bounded(pauses: Pauses):
    for number in range(PAUSED_TYPES_MAX):
        assert await pauses.pause(f"type {number}") is not None
    assert await pauses.pause("one more") is None
    assert (await pauses.pause("type 3")) is not None  # it is paused already
    assert len((await pauses.read()).types) == PAUSED_TYPES_MAX


async def test_what_is_parked_is_found_by_those_who_look_for_lost_jobs(
    steps: Steps, pauses: Pauses, queue: Queue, store: JobStore, lease: Lease
):
    await pauses.pause("x")
    await submitted(steps, 3)
    assert await take(steps, lease, 10) == []
    assert await queue.count_tasks() == 3
    found = await Reconcile(queue, store).run(dry_run=True)
    assert (found.pending, found.missing) == (3, 0)
