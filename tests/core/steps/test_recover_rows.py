"""A dead lease and the rows of its jobs."""

from functools import partial
from typing import Any

import pytest
import trio

from tests.core.steps.support import MAX, fence, ids_of, ready, recovery_waits_for_a_lock, submitted
from tests.support.invariants import check_rows
from tests.support.proxy import Proxy
from tests.support.replaced import held_up
from tests.support.steps import make_recover
from tests.support.wait import until
from workqueue.core.errors import StoreBusy
from workqueue.core.outcome import Complete, GiveBack
from workqueue.core.queue import Inspection
from workqueue.core.steps.settle import Ending


async def test_a_late_outcome_of_the_old_run_is_refused(store, steps, queue, lease, other, psql):
    [job_id] = await submitted(steps, 1)
    [zombie] = await steps.claim.run_once(lease, 1)
    await fence(queue, lease)
    await make_recover(queue, store, max_recoveries=MAX).run_once(lease.id)
    [successor] = await steps.claim.run_once(other, 1)
    await steps.settle.run_batch([Ending(zombie, Complete(b'"old"'), 0.1)])
    assert (await store.get(job_id)).state == "processing", "the token refuses it"
    await steps.settle.run_batch([Ending(successor, Complete(b'"new"'), 0.1)])
    assert (await store.get(job_id)).result == '"new"'
    await check_rows(queue, psql)


async def test_a_job_that_a_person_wanted_to_end_ends(store, steps, queue, lease, psql):
    [job_id] = await submitted(steps, 1)
    await steps.claim.run_once(lease, 1)
    await psql("UPDATE jobs SET cancel_at = now()")
    await fence(queue, lease)
    recover = make_recover(queue, store, max_recoveries=MAX)
    await recover.run_once(lease.id)
    assert (await store.get(job_id)).state == "cancelled"
    assert recover.counts.cancelled == 1


async def test_a_job_that_is_in_no_flight_is_pushed_once(redis, store, steps, queue, lease, other, psql):
    """Its flight was lost with Redis's last second; the rows know better."""
    ids = await submitted(steps, 10)
    await steps.claim.run_once(lease, 10)
    await steps.piggyback.clear(store)
    await redis("DEL", queue.keys.flight(lease.id))
    await fence(queue, lease)
    await make_recover(queue, store, max_recoveries=MAX).run_once(lease.id)
    assert len(await ready(redis, queue)) == 10
    assert ids_of(await steps.claim.run_once(other, 10)) == ids
    assert await psql("SELECT * FROM outbox") == []


async def test_a_push_without_an_answer_is_not_repeated_and_the_outbox_entry_stays(
    redis, far_queue, redis_proxy: Proxy, store, steps, queue, lease, other, psql, monkeypatch
):
    """It has arrived, perhaps: each further send would leave a duplicate. The relay does it, once."""
    ids = await submitted(steps, 3)
    await steps.claim.run_once(lease, 3)
    await steps.piggyback.clear(store)
    await redis("DEL", queue.keys.flight(lease.id))
    await fence(queue, lease)
    push, pushes = far_queue.push, []

    async def cut_off(tasks) -> None:
        pushes.append(tasks)
        if len(pushes) == 1:
            redis_proxy.swallow_replies()
            nursery.start_soon(_heal_when_swallowed, redis_proxy)
        await push(tasks)

    monkeypatch.setattr(far_queue, "push", cut_off)
    async with trio.open_nursery() as nursery:
        await make_recover(far_queue, store, max_recoveries=MAX).run_once(lease.id)
    assert len(pushes) == 1
    [entry] = await psql("SELECT ids FROM outbox")
    assert entry["ids"] == ids
    assert ids_of(await steps.claim.run_once(other, 10)) == ids, "it had arrived"


async def test_the_outbox_entry_of_a_recovery_stays_when_redis_took_too_long(
    redis, store, steps, queue, lease, psql, monkeypatch
):
    """It may have been replaced meanwhile by one that remembers less: the relay pushes again."""
    ids = await submitted(steps, 3)
    await steps.claim.run_once(lease, 3)
    await steps.piggyback.clear(store)
    await fence(queue, lease)
    monkeypatch.setattr("workqueue.core.steps.recover_rows.ANSWER_SECONDS", -1)
    await make_recover(queue, store, max_recoveries=MAX).run_once(lease.id)
    [entry] = await psql("SELECT ids FROM outbox")
    assert entry["ids"] == ids
    assert len(await ready(redis, queue)) == 3


async def _heal_when_swallowed(proxy: Proxy) -> None:
    await proxy.replies_swallowed.wait()
    proxy.heal()


@pytest.mark.parametrize("how", ["waits", "is refused the lock once"])
async def test_a_row_that_is_locked_is_recovered_with_the_others_when_it_is_free(
    store, steps, queue, lease, other, psql, how
):
    """Case 13 again. Skipped, it would be processing under an owner whose lease is gone, and wait for the orphans."""
    ids = await submitted(steps, 10)
    await steps.claim.run_once(lease, 10)
    await fence(queue, lease)
    if how != "waits":
        real, tries = store.recover, []

        async def impatient(*arguments: Any, **options: Any) -> Any:
            tries.append(1)
            if len(tries) == 1:
                await psql("COMMIT")
                raise StoreBusy("Postgres: canceling statement due to lock timeout")
            return await real(*arguments, **options)

        store.recover = impatient
    await psql("BEGIN")
    await psql("SELECT * FROM jobs WHERE id = $1 FOR UPDATE", ids[5])
    async with trio.open_nursery() as recovering:
        recovering.start_soon(make_recover(queue, store, max_recoveries=MAX).run_once, lease.id)
        if how == "waits":
            await until(partial(recovery_waits_for_a_lock, psql))
            await psql("COMMIT")
    assert ids_of(await steps.claim.run_once(other, 20)) == ids
    assert await queue.inspect(lease.id) == Inspection(None, set(), set())
    await check_rows(queue, psql)


async def test_a_job_given_back_by_a_zombie_is_not_lost(store, steps, queue, lease, other, psql):
    """The zombie gives it back by itself, and then its lease is recovered: one task, one row."""
    [job_id] = await submitted(steps, 1)
    [held] = await steps.claim.run_once(lease, 1)
    await fence(queue, lease)
    await steps.settle.run_batch([Ending(held, GiveBack(interrupted=True), 0.1)])
    await make_recover(queue, store, max_recoveries=MAX).run_once(lease.id)
    [again] = await steps.claim.run_once(other, 10)
    assert (again.job_id, again.counters.interruptions, again.counters.recoveries) == (job_id, 1, 0)
    await check_rows(queue, psql)


async def test_a_job_that_ends_while_the_recovery_waits_for_its_row_stays_ended(store, steps, queue, lease, psql):
    # Without a lock on the row the recovery would decide by what it has read, and make a finished job pending.
    [job_id] = await submitted(steps, 1)
    await steps.claim.run_once(lease, 1)
    await fence(queue, lease)
    await psql("BEGIN")
    await psql("UPDATE jobs SET state = 'completed', result = '1', finished_at = now()")
    async with trio.open_nursery() as recovering:
        recovering.start_soon(make_recover(queue, store, max_recoveries=3).run_once, lease.id)
        await until(partial(recovery_waits_for_a_lock, psql))
        await psql("COMMIT")
    assert (await store.get(job_id)).state == "completed"


async def test_a_task_that_leaves_the_flight_while_the_recovery_reads_is_pushed(store, steps, queue, lease, psql):
    await submitted(steps, 2)
    held = await steps.claim.run_once(lease, 2)
    await steps.piggyback.clear(store)
    await fence(queue, lease)

    async def the_zombie_acks() -> None:
        await queue.ack(lease.id, [held[0].number])

    await make_recover(held_up(queue, "flight_tasks", the_zombie_acks), store, max_recoveries=3).run_once(lease.id)
    await check_rows(queue, psql)
