"""A person asks for every pending job to be in Redis: the missing ones are pushed, and the rest is left alone."""

import trio
from uuid_utils.compat import uuid7

from tests.support.invariants import check_rows, tasks_in_redis
from workqueue.core.options import DEFAULTS
from workqueue.core.outcome import Complete
from workqueue.core.steps.reconcile import Reconcile
from workqueue.core.steps.settle import Ending
from workqueue.core.store import NewJob
from workqueue.core.wire import Submission

TEN = [Submission("x", b"{}")] * 10


async def test_what_is_missing_is_pushed_and_nothing_else(redis, steps, queue, store, psql, lease):
    ids = await steps.submit.run_batch(TEN)
    held = await steps.claim.run_once(lease, 3)
    await steps.settle.run_batch([Ending(held[0], Complete(b"1"), 0.1)])
    await trio.sleep(0.002)  # the beginning is known to the millisecond
    await redis("LTRIM", queue.keys.ready, 4, -1)
    await store.insert(
        uuid7(), "another", [NewJob(uuid7(), "x", "{}", DEFAULTS)], []
    )  # in the same tables, and not ours
    await trio.sleep(0.002)
    counts = await Reconcile(queue, store).run(dry_run=True)
    assert (counts.pending, counts.missing, counts.pushed) == (7, 4, 0)
    counts = await Reconcile(queue, store).run(dry_run=False)
    assert (counts.pending, counts.missing, counts.pushed, counts.processing) == (7, 4, 4, 0)
    assert await tasks_in_redis(queue) == set(ids[1:])
    assert (await queue.depths()).ready == 7
    await check_rows(queue, psql)


async def test_it_ends_though_new_jobs_come_all_the_while_and_pushes_none_of_them_twice(
    redis, steps, queue, store, monkeypatch
):
    """It went on behind the traffic for ever, and each look began with the first row again."""
    monkeypatch.setattr("workqueue.core.steps.reconcile.ROWS_MAX", 4)
    await steps.submit.run_batch(TEN)
    await trio.sleep(0.002)
    await redis("DEL", queue.keys.ready)
    pending, new = store.pending, 0

    async def while_jobs_come(*arguments, **options):
        nonlocal new
        new += len(await steps.submit.run_batch(TEN))
        return await pending(*arguments, **options)

    monkeypatch.setattr(store, "pending", while_jobs_come)
    with trio.fail_after(20):
        counts = await Reconcile(queue, store).run(dry_run=False)
    assert (counts.pending, counts.pushed) == (10, 10)
    assert (await queue.depths()).ready == 10 + new


async def test_what_is_accepted_while_redis_is_read_is_not_pushed_again(steps, queue, store, monkeypatch):
    tasks = queue.tasks

    async def while_a_job_comes():
        async for piece in tasks():
            yield piece
        await trio.sleep(0.002)
        await steps.submit.run_batch([Submission("x", b"{}")])
        await trio.sleep(0.002)

    monkeypatch.setattr(queue, "tasks", while_a_job_comes)
    counts = await Reconcile(queue, store).run(dry_run=False)
    assert (counts.missing, counts.pushed) == (0, 0)
