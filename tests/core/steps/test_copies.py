"""Copies in lanes that a limit holds up: tasks of jobs that have ended leave many at a time, and nothing else does."""

from uuid import UUID

import pytest
import trio

from tests.support.steps import make_claim
from workqueue.core.limits import Limit, Limits
from workqueue.core.options import JobOptions
from workqueue.core.outcome import Complete
from workqueue.core.steps.settle import Ending
from workqueue.core.wire import Submission

ONE = Limit(running=1)


async def submit(steps, count: int, *, group: str | None = "g", kind: str = "x") -> list[UUID]:
    jobs = await steps.submit.run_batch([Submission(kind, b"{}", JobOptions(group=group))] * count)
    assert all(isinstance(job_id, UUID) for job_id in jobs)
    return jobs


async def end(psql, ids: list[UUID]) -> None:
    """As a person who cancels them does: their tasks stay where they are."""
    await psql("UPDATE jobs SET state = 'cancelled', finished_at = now() WHERE id = ANY ($1)", ids)


async def run_all(steps, lease, tries: int) -> list[UUID]:
    """One claim after another, each job completed before the next."""
    ran: list[UUID] = []
    for _ in range(tries):
        for claimed in await steps.claim.run_once(lease, 10):
            ran.append(claimed.job_id)
            await steps.settle.run_batch([Ending(claimed, Complete(b"1"), 0.1)])
    return ran


async def test_a_backlog_that_was_cancelled_is_passed_over_at_once(steps, queue, psql, lease):
    await queue.set_limits(Limits(1, {"group:g": ONE}))
    jobs = await submit(steps, 700)
    await end(psql, jobs[:650])
    assert await run_all(steps, lease, 4) == jobs[650:653], "the first claim meets the copies, each other one a job"
    assert steps.claim.counts.duplicates == 650
    assert await queue.permits() == {}
    assert len(await queue.lanes()) == 1


async def test_copies_between_others_go_and_the_others_keep_their_order(steps, queue, psql, lease):
    await queue.set_limits(Limits(1, {"group:g": ONE}))
    jobs = await submit(steps, 30)
    await end(psql, jobs[::3])
    left = [job for number, job in enumerate(jobs) if number % 3]
    assert await run_all(steps, lease, 26) == left
    assert (await queue.permits(), await queue.lanes()) == ({}, [])


@pytest.mark.parametrize(("group", "limits"), [(None, {"type:x": ONE}), ("g", {"type:x": ONE}), ("g", {"groups": ONE})])
async def test_lanes_of_types_and_of_groups(steps, queue, psql, lease, group, limits):
    await queue.set_limits(Limits(1, limits))
    jobs = await submit(steps, 40, group=group)
    assert await run_all(steps, lease, 1) == jobs[:1]
    await end(psql, jobs[1:39])
    assert await run_all(steps, lease, 6) == jobs[39:]  # those of the plain list ten at a time
    assert (await queue.permits(), await queue.lanes()) == ({}, [])


async def test_a_rate_is_spent_on_one_copy_and_not_on_each(steps, queue, psql, lease):
    await queue.set_limits(Limits(1, {"group:g": Limit(rate=10, per_seconds=1)}))
    jobs = await submit(steps, 500)
    await end(psql, jobs[:499])
    ran: list[UUID] = []
    with trio.fail_after(5):  # at 10 a second they would have taken 50 s
        while not ran:
            ran = await run_all(steps, lease, 1)
            await trio.sleep(0.02)
    assert ran == jobs[499:]


async def test_many_groups_are_looked_at_together(steps, queue, psql, lease, trips):
    await queue.set_limits(Limits(1, {"groups": ONE}))
    jobs = []
    for number in range(50):
        jobs += await submit(steps, 2, group=f"g{number}")
    await end(psql, jobs)
    before = trips.count
    assert await steps.claim.run_once(lease, 50) == []
    assert trips.count - before == 7, "claim, rows, what has become of them; the same of those ahead; two acks"
    assert await queue.lanes() == []


async def test_where_no_limit_holds_up_a_lane_nothing_is_looked_for(steps, queue, psql, lease, trips):
    jobs = await submit(steps, 40)
    await end(psql, jobs)
    assert await steps.claim.run_once(lease, 20) == []
    assert steps.claim.counts.duplicates == 20


async def test_nobody_takes_from_the_group_while_its_copies_are_looked_for(steps, queue, store, psql, lease, other):
    await queue.set_limits(Limits(1, {"group:g": ONE}))
    jobs = await submit(steps, 3)
    await end(psql, jobs[:1])
    claimed, get_status = [], steps.claim._claims._copies._store.get_status

    async def look(ids):
        if ids != jobs[:1]:  # those that were claimed ahead
            claimed.append(await make_claim(queue, store).run_once(other, 10))
        return await get_status(ids)

    store.get_status = look
    assert await steps.claim.run_once(lease, 10) == []
    assert claimed == [[]]
    assert await run_all(steps, lease, 2) == jobs[1:]


async def test_an_answer_that_is_lost_brings_nothing_out_of_order(far_steps, steps, queue, psql, lease, redis_proxy):
    await queue.set_limits(Limits(1, {"group:g": ONE}))
    jobs = await submit(steps, 5)
    await end(psql, jobs[:2])
    far = far_steps.claim._queue
    claim_ahead, asked = far.claim_ahead, trio.Event()

    async def swallow_the_first_answer(*arguments, **options):
        if not asked.is_set():
            redis_proxy.swallow_replies()
            asked.set()
        return await claim_ahead(*arguments, **options)

    far.claim_ahead = swallow_the_first_answer

    async def claim() -> None:
        assert await far_steps.claim.run_once(lease, 10) == []

    async with trio.open_nursery() as worker:
        worker.start_soon(claim)
        await asked.wait()
        await redis_proxy.replies_swallowed.wait()
        redis_proxy.heal()
    assert await run_all(steps, lease, 4) == jobs[2:]
    assert (await queue.permits(), await queue.lanes()) == ({}, [])


async def test_a_look_that_is_cut_off_loses_nothing(steps, queue, store, psql, lease):
    await queue.set_limits(Limits(1, {"group:g": ONE}))
    jobs = await submit(steps, 5)
    await end(psql, jobs[:2])
    get_status = store.get_status
    with trio.CancelScope() as scope:

        async def look(ids):
            if ids != jobs[:1]:
                scope.cancel()
            return await get_status(ids)

        store.get_status = look
        await steps.claim.run_once(lease, 10)
    assert scope.cancelled_caught
    store.get_status = get_status
    assert await queue.numbers(lease.id) == {1, *range(11, 15)}
    await steps.claim.audit(lease)
    assert await run_all(steps, lease, 5) == jobs[2:]
    assert (await queue.permits(), await queue.lanes()) == ({}, [])


async def test_what_is_no_task_or_has_no_row_stays_for_its_own_claim(steps, queue, psql, lease, redis):
    await queue.set_limits(Limits(1, {"group:g": ONE}))
    jobs = await submit(steps, 1)
    await end(psql, jobs)
    lane = queue.keys.lane("default:1:g")
    foreign = f'{{"type":"x","job_id":"{UUID(int=5)}","group":"g"}}'
    for task in ("no task", '{"type":"x","group":"g"}', foreign):
        await redis("RPUSH", lane, task)
    await redis("HSET", queue.keys.grouped, "default", 4)
    assert await steps.claim.run_once(lease, 10) == []
    assert await redis("LLEN", lane) == 3
    assert len(await run_all(steps, lease, 4)) == 2
    assert (await queue.depths()).dead == 1
