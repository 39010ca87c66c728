"""A worker is gone: what it held goes back in order, once, and blames whom it should. Also with recoverers that die."""

import json
from uuid import UUID

import pytest
import trio

from tests.core.steps.support import MAX, fence, ids_of, ready, relay_now, submitted
from tests.support.invariants import check_rows
from tests.support.mortal import Killed, mortal
from tests.support.proxy import Proxy
from tests.support.replaced import held_up
from tests.support.steps import Steps, make_recover
from workqueue.core.gone import ENTRIES_MAX, Became, Gone, read_gone
from workqueue.core.job import RunOutcome
from workqueue.core.outcome import Complete, GiveBack, Retry
from workqueue.core.queue import Queue
from workqueue.core.steps.lease import ClaimedTask, Lease
from workqueue.core.steps.recover import Farewell, Recover
from workqueue.core.steps.settle import Ending


async def test_a_dead_workers_jobs_go_back_in_order_to_the_head(redis, parts, recover, queue, lease, other):
    ids = await submitted(parts, 50)
    assert len(await parts.claim.run_once(lease, 30)) == 30
    await fence(queue, lease)
    await recover.run_once(lease.id)
    again = await parts.claim.run_once(other, 50)
    assert ids_of(again) == ids, "first in, first out, as if they had never been claimed"
    assert [held.counters.recoveries for held in again] == [1] * 30 + [0] * 20
    assert [held.counters.attempts for held in again] == [0] * 50
    assert recover.counts.jobs == 30
    assert lease.id not in await queue.lease_scores()
    assert await redis("EXISTS", queue.keys.flight(lease.id), queue.keys.suspect_starts(lease.id)) == 0
    await recover.run_once(lease.id)
    assert await ready(redis, queue) == [], "a second time nothing is left to do"


async def test_a_lease_that_lives_keeps_what_it_has(parts, recover, queue, lease, other):
    await submitted(parts, 5)
    held = await parts.claim.run_once(lease, 5)
    await recover.run_once(lease.id)
    assert await parts.claim.run_once(other, 5) == []
    await parts.settle.run_batch([Ending(item, Complete(b"1"), 0.1) for item in held])


@pytest.mark.parametrize("end", ["ended", "absent"])
async def test_no_job_is_blamed_where_a_lease_ended_clean_or_redis_lost_it(
    redis, parts, recover, queue, lease, other, end
):
    await submitted(parts, 3)
    await parts.claim.run_once(lease, 3)
    if end == "ended":
        await queue.end(lease.id)
    else:
        await redis("ZREM", queue.keys.leases, str(lease.id))
    await recover.run_once(lease.id)
    again = await parts.claim.run_once(other, 3)
    assert [(held.counters.recoveries, held.counters.interruptions) for held in again] == [(0, 1)] * 3


async def noted(queue: Queue) -> Gone:
    """What was noted of the worker that ended last."""
    (entry, *_), now = await queue.gone()
    ended_at, gone = read_gone(entry) or pytest.fail("it cannot be read")
    assert abs(ended_at.timestamp() - now) < 30
    return gone


async def test_a_worker_that_died_is_noted_once_with_what_became_of_its_jobs(parts, recover, queue, lease):
    await submitted(parts, 5)
    await parts.claim.run_once(lease, 3)
    await fence(queue, lease)
    for _ in range(2):
        await recover.run_once(lease.id)
    assert await noted(queue) == Gone(lease.id, False, Became(given_back=3), "{}")
    assert len((await queue.gone())[0]) == 1


async def test_a_worker_that_stopped_says_itself_what_became_of_its_jobs(parts, recover, queue, lease):
    await submitted(parts, 3)
    await parts.claim.run_once(lease, 2)
    await queue.end(lease.id)
    await recover.run_once(lease.id, Farewell(b'{"name":"w"}', given_back=4))
    assert await noted(queue) == Gone(lease.id, True, Became(given_back=4 + 2), '{"name":"w"}')


async def test_two_hundred_of_them_are_kept(redis, recover, queue, registered_lease):
    leases = [registered_lease() for _ in range(ENTRIES_MAX + 5)]
    for lease in leases:
        await queue.end(lease.id)
        await recover.run_once(lease.id)
    assert (await noted(queue)).lease == leases[-1].id
    assert await redis("LLEN", queue.keys.gone) == ENTRIES_MAX


async def die(parts: Steps, recover: Recover, queue: Queue, lease: Lease, *, starting: set[UUID]) -> None:
    """A worker claims everything there is, starts these, and dies."""
    held = await parts.claim.run_once(lease, 100)
    for item in held:
        if item.job_id in starting and item.counters.recoveries:
            assert await queue.record_suspect_start(lease.id, item.number)
    await fence(queue, lease)
    await recover.run_once(lease.id)


async def test_a_killer_ends_after_three_deaths_and_its_neighbours_are_not_blamed(
    redis, parts, recover, queue, rows, registered_lease
):
    killer, *neighbours = await submitted(parts, 100)
    for _ in range(MAX):
        await die(parts, recover, queue, registered_lease(), starting={killer})
    held = await parts.claim.run_once(registered_lease(), 100)
    assert sorted(ids_of(held)) == neighbours
    assert {item.counters.recoveries for item in held} == {1}, "they were beside it once, and then only waited"
    assert (await noted(queue)).became == Became(given_back=99, failed=1)
    assert recover.counts.failed == 1
    if rows is None:
        [entry] = [json.loads(text) for text in await redis.list(queue.keys.dead)]
        assert entry["reason"] == "its worker died 3 times while it ran"
        assert json.loads(entry["task"])["job_id"] == str(killer)
    else:
        row = await rows.get(killer)
        assert (row.state, row.recoveries, row.attempts) == ("failed", 3, 0)
        assert row.error_message == "its worker died 3 times while it ran"
        runs = await rows.runs(killer)
        assert [(run.number, run.outcome) for run in runs] == [
            (1, "worker died"),
            (2, "worker died"),
            (3, "worker died"),
        ]


async def test_failures_and_deaths_are_counted_apart(parts, recover, queue, registered_lease):
    """Two retries, one death in between: three failures end it, as if the death had not been."""
    await submitted(parts, 1)
    lease = registered_lease()
    for _ in range(2):
        [held] = await claimed(parts, queue, lease, 1)
        await parts.settle.run_batch([Ending(held, Retry("E: no", RunOutcome.FAILED), 0.1)])
    [held] = await claimed(parts, queue, lease, 1)
    assert (held.counters.attempts, held.counters.recoveries) == (2, 0)
    await fence(queue, lease)
    await recover.run_once(lease.id)
    [held] = await claimed(parts, queue, registered_lease(), 1)
    assert (held.counters.attempts, held.counters.recoveries, held.counters.run) == (2, 1, 4)


async def claimed(parts: Steps, queue: Queue, lease: Lease, count: int) -> list[ClaimedTask]:
    with trio.fail_after(5):
        while True:
            await queue.promote()
            if held := await parts.claim.run_once(lease, count):
                return held
            await trio.sleep(0.01)


async def test_malformed_tasks_of_a_flight_go_back_as_they_are(redis, parts, recover, queue, lease, other):
    await redis("HSET", queue.keys.flight(lease.id), 1, "{", 2, '{"type":"x"}', "at", 1)
    await fence(queue, lease)
    await recover.run_once(lease.id)
    [held] = await parts.claim.run_once(other, 10)
    assert held.task.type == "x"
    assert (await queue.depths()).dead == 1


async def test_a_lease_that_cannot_be_recovered_is_named_once_and_holds_up_no_other(
    redis, parts, recover, queue, rows, psql_if_rows, lease, other, caplog
):
    """Its flight is of another type. A recovery that waited for the operator would be the last one of all."""
    ids = await submitted(parts, 3)
    assert len(await parts.claim.run_once(lease, 3)) == 3
    flight = queue.keys.flight(lease.id)
    await redis("RENAME", flight, queue.keys.front + ":kept")
    await redis("SET", flight, "of another type")
    await fence(queue, lease)
    with trio.fail_after(5):
        for _ in range(3):
            await recover.run_once(lease.id)
    [said] = [record.getMessage() for record in caplog.records if str(lease.id) in record.getMessage()]
    assert flight in said
    assert "another type" in said
    assert await ready(redis, queue) == []
    await redis("RENAME", queue.keys.front + ":kept", flight)
    await recover.run_once(lease.id)
    assert ids_of(await parts.claim.run_once(other, 10)) == ids
    if psql_if_rows is not None:
        await check_rows(queue, psql_if_rows)


@pytest.mark.parametrize("after", [False, True])
async def test_the_recoverer_may_die_after_each_step(redis, rows, psql_if_rows, bridge, queue, registered_lease, after):
    parts = Steps(queue, rows)
    for crossings in range(12):
        ids = await submitted(parts, 3)
        lease, other = registered_lease(), registered_lease()
        await parts.claim.run_once(lease, 3)
        await redis("HDEL", queue.keys.flight(lease.id), 2) if rows is not None else None
        await fence(queue, lease)
        died = False
        try:
            dying = mortal(bridge, queue, rows, crossings, after=after)
            await make_recover(*dying, max_recoveries=MAX).run_once(lease.id)
        except Killed:
            died = True
        await make_recover(queue, rows, max_recoveries=MAX).run_once(lease.id)
        if rows is not None:  # what was in no flight waits for the relay where its recoverer died before the push
            await relay_now(queue, rows, psql_if_rows)
        held = await parts.claim.run_once(other, 10)
        assert sorted(ids_of(held)) == ids, f"killed at crossing {crossings}"
        assert {item.counters.recoveries for item in held} == {1}
        await parts.settle.run_batch([Ending(item, Complete(b"1"), 0.1) for item in held])
        assert await queue.retire(lease.id)
        if not died:
            return
    raise AssertionError("a recovery takes fewer trips than this")


async def test_two_recoverers_at_once_give_each_job_back_once(rows, queue, registered_lease):
    parts = Steps(queue, rows)
    ids = await submitted(parts, 200)
    lease, other = registered_lease(), registered_lease()
    await parts.claim.run_once(lease, 200)
    await fence(queue, lease)
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(make_recover(queue, rows, max_recoveries=MAX).run_once, lease.id)
    held = await parts.claim.run_once(other, 500)
    assert sorted(ids_of(held)) == ids
    assert {item.counters.recoveries for item in held} == {1}


async def test_a_reply_that_is_lost_costs_nothing(
    far_queue, far_store, redis_proxy: Proxy, postgres_proxy: Proxy, steps, queue, psql, registered_lease, nursery
):
    """The answer of each trip in turn is swallowed, after the server has acted."""
    for swallowed in range(4):
        ids = await submitted(steps, 3)
        lease, other = registered_lease(), registered_lease()
        await steps.claim.run_once(lease, 3)
        await fence(queue, lease)
        proxy = (redis_proxy, postgres_proxy)[swallowed % 2]
        proxy.swallow_replies()
        async with trio.open_nursery() as recovering:
            recovering.start_soon(make_recover(far_queue, far_store, max_recoveries=MAX).run_once, lease.id)
            await proxy.replies_swallowed.wait()
            proxy.heal()
        await relay_now(queue, far_store, psql)
        held = await steps.claim.run_once(other, 10)
        assert sorted(ids_of(held)) == ids
        assert {item.counters.recoveries for item in held} == {1}
        await steps.settle.run_batch([Ending(item, Complete(b"1"), 0.1) for item in held])
        await check_rows(queue, psql)


@pytest.mark.parametrize("what", ["finished", "claimed anew"])
async def test_what_happened_since_the_recoverer_looked_stays(parts, queue, rows, psql_if_rows, lease, other, what):
    """It acts on an old look: a job was finished since, or another recoverer was quicker and it runs elsewhere."""
    ids = await submitted(parts, 3)
    held = await parts.claim.run_once(lease, 3)
    await fence(queue, lease)
    again: list[ClaimedTask] = []

    async def meanwhile() -> None:
        if what == "finished":
            await parts.settle.run_batch([Ending(held[1], Complete(b"1"), 0.1)])
        else:
            await make_recover(queue, rows, max_recoveries=MAX).run_once(lease.id)
            again.extend(await parts.claim.run_once(other, 2))

    look = "flight_tasks" if rows is None else "inspect"  # the last look before what decides
    await make_recover(held_up(queue, look, meanwhile), rows, max_recoveries=MAX).run_once(lease.id)
    assert await queue.numbers(other.id) == {item.number for item in again}
    left = await parts.claim.run_once(other, 10)
    assert ids_of(left) == (ids[::2] if what == "finished" else ids[2:])
    assert {item.counters.recoveries for item in again + left} == {1}
    await parts.settle.run_batch([Ending(item, Complete(b"2"), 0.1) for item in again + left])
    assert (await queue.depths()).ready == 0
    assert await queue.numbers(other.id) == set()
    if psql_if_rows is not None:
        results = await psql_if_rows("SELECT state, result, recoveries FROM jobs ORDER BY id")
        first = ("completed", "1", 0) if what == "finished" else ("completed", "2", 1)
        assert [tuple(row) for row in results] == [("completed", "2", 1), first, ("completed", "2", 1)]


async def test_a_job_that_went_back_and_runs_elsewhere_stays_there_when_its_first_worker_dies(
    redis, parts, recover, queue, rows, psql_if_rows, lease, other
):
    """The claim of the dead one names it still, because its neighbours have no verdict; its token is another one."""
    ids = await submitted(parts, 3)
    held = await parts.claim.run_once(lease, 3)
    await parts.settle.run_batch([Ending(held[0], GiveBack(interrupted=False))])
    [elsewhere] = await parts.claim.run_once(other, 1)
    await fence(queue, lease)
    await recover.run_once(lease.id)
    assert [UUID(task["job_id"]) for task in await ready(redis, queue)] == ids[1:]
    await parts.settle.run_batch([Ending(elsewhere, Complete(b"1"), 0.1)])
    if rows is not None:
        assert (await rows.get(ids[0])).state == "completed"
        assert (await rows.get(ids[0])).recoveries == 0
        await check_rows(queue, psql_if_rows)
