from functools import partial

import trio

from tests.core.steps.support import states, take
from tests.support.invariants import check_rows
from tests.support.steps import Steps
from tests.support.wait import until
from workqueue.core.job import RunOutcome
from workqueue.core.options import JobOptions
from workqueue.core.outcome import Complete, Fail, GiveBack, Retry, Verdict
from workqueue.core.policies import Backoff
from workqueue.core.steps.settle import Ending
from workqueue.core.wire import Submission, encode_task

HUNDRED = [Submission("x", b"{}", JobOptions(2)) for _ in range(100)]


async def test_a_retry_that_comes_back_at_once_is_no_duplicate(steps, queue, lease):
    await steps.submit.run_batch(HUNDRED[:1])
    [held] = await take(steps, lease, 1)
    await steps.settle.run_batch([Ending(held, GiveBack(interrupted=False))])
    [again] = await take(steps, lease, 1)
    assert again.job_id == held.job_id
    assert steps.claim.counts.duplicates == 0


async def test_a_task_that_comes_back_before_the_answer_of_its_retry_is_no_duplicate(steps, queue, store, psql, lease):
    # The row waits again, and the relay has pushed its task, while we still wait to hear that our retry was written.
    # Taken for a copy of what we hold, it would be acked, and the job would lie in no list.
    await steps.submit.run_batch(HUNDRED[:1])
    [held] = await take(steps, lease, 1)
    release, again = store.requeue, []

    async def answered_late(*arguments, **options):
        answer = await release(*arguments, **options)
        await psql("UPDATE jobs SET run_at = NULL")
        await queue.push([encode_task(held.task)])
        again.extend(await take(steps, lease, 1))
        return answer

    store.requeue = answered_late
    await steps.settle.run_batch([Ending(held, Retry("E", RunOutcome.FAILED), 0.1)])
    assert [(item.job_id, item.counters.attempts) for item in again] == [(held.job_id, 1)]
    assert steps.claim.counts.duplicates == 0
    assert list(lease.tasks.values()) == again, "it is the new run that is held now"
    await check_rows(queue, psql)


async def test_a_settle_costs_one_trip_to_postgres_and_one_to_redis(steps, lease, trips):
    await steps.submit.run_batch(HUNDRED)
    held = await take(steps, lease, 100)
    before = trips.count
    await steps.settle.run_batch([Ending(item, Complete(b"1"), 0.1) for item in held])
    assert trips.count - before == 2


async def test_retries_wait_behind_everything_that_is_ready(queue, store, lease):
    # A delay of 0 would mean the head of the list: a job that fails at once would starve all others.
    steps = Steps(queue, store, Backoff(base=0))
    await steps.submit.run_batch(HUNDRED[:3])
    [held] = await take(steps, lease, 1)
    await steps.settle.run_batch([Ending(held, Retry("E", RunOutcome.FAILED), 0.1)])

    async def promoted() -> bool:
        return (await queue.promote())[0] == 1

    await until(promoted)
    assert [item.job_id for item in await take(steps, lease, 3)][-1] == held.job_id


async def test_outcomes_of_two_leases_are_settled_side_by_side(steps, queue, psql, lease, other):
    # Its lease was lost and a new one taken while jobs of the old one still ended.
    await steps.submit.run_batch(HUNDRED[:6])
    old, new = await take(steps, lease, 3), await take(steps, other, 3)
    verdicts: list[Verdict] = [Complete(b"1"), Retry("E", RunOutcome.FAILED), GiveBack(interrupted=False)] * 2
    await steps.settle.run_batch(
        [Ending(item, verdict, 0.1) for item, verdict in zip(old + new, verdicts, strict=True)]
    )
    assert await states(psql) == {"completed": 2, "pending": 4}
    assert await queue.numbers(lease.id) == await queue.numbers(other.id) == set()
    await check_rows(queue, psql)


async def test_an_external_task_with_the_largest_counters_ends_like_any_other(steps, queue, psql, lease):
    most = b'{"type":"x","attempts":500000000,"recoveries":500000000,"interruptions":500000000}'
    await queue.push([most, most])
    done, failed = await take(steps, lease, 2)
    await steps.settle.run_batch([Ending(done, Complete(b"1"), 0.1), Ending(failed, Fail("E", RunOutcome.FAILED), 0.1)])
    assert await states(psql) == {"completed": 1, "failed": 1}


async def test_an_outage_is_waited_out(far_steps, redis_proxy, postgres_proxy, psql, lease, queue):
    await far_steps.submit.run_batch(HUNDRED)
    held = await take(far_steps, lease, 100)
    redis_proxy.go_away()
    postgres_proxy.go_away()
    async with trio.open_nursery() as worker:
        worker.start_soon(far_steps.settle.run_batch, [Ending(item, Complete(b"1"), 0.1) for item in held])
        await trio.sleep(0.3)
        assert len(lease.tasks) == 100, "nothing is acknowledged meanwhile"
        postgres_proxy.heal()
        await until(partial(_all_completed, psql))
        redis_proxy.heal()
    assert await queue.numbers(lease.id) == set()


async def _all_completed(psql) -> bool:
    return await states(psql) == {"completed": 100}
