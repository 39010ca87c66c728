"""Verdicts without Postgres: the task alone changes."""

import json

import pytest
import trio

from tests.core.steps.support import take
from tests.support.invariants import check_nothing_left
from tests.support.steps import Steps
from tests.support.wait import until
from workqueue.core.job import RunOutcome
from workqueue.core.options import JobOptions
from workqueue.core.outcome import Complete, Fail, GiveBack, Retry
from workqueue.core.policies import Backoff
from workqueue.core.steps.settle import Ending
from workqueue.core.wire import Submission

HUNDRED = [Submission("x", b"{}", JobOptions(2)) for _ in range(100)]


async def test_redis_only_a_failed_job_is_a_dead_letter_and_a_retry_carries_its_counter(redis, queue, lease):
    steps = Steps(queue, None)
    await steps.submit.run_batch([Submission("x", b'{"n":1}', JobOptions(2))] * 3)
    failed, retried, done = await take(steps, lease, 3)
    await steps.settle.run_batch(
        [
            Ending(failed, Fail("E: x", RunOutcome.FAILED), 1),
            Ending(retried, Retry("E", RunOutcome.FAILED), 1),
            Ending(done, Complete(b"1"), 1),
        ]
    )
    [entry] = await redis.list(queue.keys.dead)
    assert json.loads(entry)["reason"] == "E: x"
    assert json.loads(json.loads(entry)["task"])["attempts"] == 1

    async def promoted() -> bool:
        return (await queue.promote())[0] == 1

    await until(promoted)
    [again] = await take(steps, lease, 1)
    assert (again.job_id, again.counters.attempts) == (retried.job_id, 1)
    await steps.settle.run_batch([Ending(again, Complete(b"1"), 1)])
    await queue.end(lease.id)
    assert await queue.retire(lease.id)
    await check_nothing_left(queue, dead=True)


@pytest.mark.parametrize(
    ("verdict", "where"),
    [
        (Complete(b"1"), (0, 0, 0)),
        (Fail("E", RunOutcome.FAILED), (0, 0, 1)),
        (Retry("E", RunOutcome.FAILED), (0, 1, 0)),
        (GiveBack(interrupted=True), (1, 0, 0)),
    ],
    ids=["complete", "bury", "retry", "give back"],
)
async def test_redis_only_an_answer_that_was_cut_is_asked_for_again(far_queue, redis_proxy, queue, lease, verdict,
                                                                    where):  # fmt: skip
    steps = Steps(far_queue, None, Backoff(base=3600))
    await steps.submit.run_batch(HUNDRED[:1])
    [held] = await take(steps, lease, 1)
    redis_proxy.swallow_replies()
    async with trio.open_nursery() as worker:
        worker.start_soon(steps.settle.run_batch, [Ending(held, verdict, 0.1)])
        await redis_proxy.replies_swallowed.wait()
        redis_proxy.heal()
    depths = await queue.depths()
    assert (depths.ready, depths.scheduled, depths.dead) == where
    assert await queue.numbers(lease.id) == set()
    assert not lease.tasks
