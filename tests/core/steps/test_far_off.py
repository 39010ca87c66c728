"""Jobs that are due later than an hour from now wait in Postgres alone."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import trio
from uuid_utils.compat import uuid7

from tests.support.invariants import check_rows, tasks_in_redis
from tests.support.steps import make_submit_once
from workqueue.core.job import JobState
from workqueue.core.options import DEFAULTS, JobOptions
from workqueue.core.steps.acts import Acts
from workqueue.core.steps.far_off import FarOff
from workqueue.core.steps.outbox import OutboxRelay
from workqueue.core.steps.piggyback import Piggyback
from workqueue.core.steps.redis_loss import RedisLoss
from workqueue.core.steps.submit_once import keyed
from workqueue.core.wire import Submission, decode_task


def after(seconds: float) -> Submission:
    return Submission("x", b"{}", JobOptions(run_at=datetime.now(UTC) + timedelta(seconds=seconds)), seconds)


def at(seconds: float) -> Submission:
    return Submission("x", b"{}", JobOptions(run_at=datetime.now(UTC) + timedelta(seconds=seconds)))


NOW = Submission("x", b"{}", DEFAULTS)
DAY = 86_400.0


async def test_what_is_due_within_the_hour_is_scheduled_and_what_is_later_is_not_in_redis(
    redis, steps, queue, psql, lease
):
    ids = await steps.submit.run_batch([NOW, after(60), at(60), after(DAY), at(DAY)])
    assert all(isinstance(job_id, UUID) for job_id in ids)
    assert [decode_task(task).job_id for task in await redis.list(queue.name)] == ids[:1]
    scheduled = await redis("ZRANGE", queue.keys.scheduled, 0, -1)
    assert {decode_task(task).job_id for task in scheduled} == set(ids[1:3])
    assert [row["is_far"] for row in await psql("SELECT is_far FROM jobs ORDER BY id")] == [
        False, False, False, True, True,
    ]  # fmt: skip
    for job_id, seconds in zip(ids[1:], (60, 60, DAY, DAY), strict=True):
        late = await psql.value("SELECT extract(epoch FROM run_at - now())::float8 FROM jobs WHERE id = $1", job_id)
        assert seconds - 20 < late <= seconds + 1
    [entry] = await psql("SELECT ids FROM outbox")
    assert set(entry["ids"]) == set(ids[:3])
    assert [claimed.job_id for claimed in await steps.claim.run_once(lease, 10)] == ids[:1]
    await check_rows(queue, psql)


async def test_what_comes_within_the_hour_is_handed_to_the_relay_once(redis, steps, queue, store, psql):
    [far, cancelled] = await steps.submit.run_batch([at(DAY), at(DAY)])
    assert await psql("SELECT * FROM outbox") == []
    await psql("UPDATE jobs SET run_at = now() + interval '59 min'")
    await psql("UPDATE jobs SET state = 'cancelled' WHERE id = $1", cancelled)
    for _ in range(2):
        assert not await FarOff(queue, store).run_once()
    assert await psql.value("SELECT count(*) FROM jobs WHERE is_far") == 0
    await check_rows(queue, psql)
    await OutboxRelay(queue, store).run_once()
    [task] = await redis("ZRANGE", queue.keys.scheduled, 0, -1)
    assert decode_task(task).job_id == far
    await check_rows(queue, psql)


async def test_thousands_come_in_pieces(steps, queue, store, psql):
    await steps.submit.run_batch([at(DAY)] * 1000)
    await steps.submit.run_batch([at(DAY)])
    await psql("UPDATE jobs SET run_at = now()")
    assert await FarOff(queue, store).run_once()
    assert not await FarOff(queue, store).run_once()
    while await OutboxRelay(queue, store).run_once():
        pass
    assert len(await tasks_in_redis(queue)) == 1001


async def test_a_loss_of_redis_and_a_relay_leave_what_is_far_off_where_it_is(redis, steps, queue, store, psql):
    await RedisLoss(queue, store).run_once()
    ids = await steps.submit.run_batch([at(60), at(DAY)])
    await psql("INSERT INTO outbox (batch, queue, ids, at) VALUES ($1, $2, $3, 'epoch')", uuid7(), queue.name, ids)
    await psql("UPDATE redis_checkpoints SET at = 'epoch'")
    await redis("FLUSHALL")
    await RedisLoss(queue, store).run_once()
    await OutboxRelay(queue, store).run_once()
    assert await tasks_in_redis(queue) == {ids[0]}
    await check_rows(queue, psql)


async def test_acts_on_what_is_far_off(steps, queue, store, psql):
    ids = await steps.submit.run_batch([at(DAY), at(DAY)])
    acts = Acts(queue, store, Piggyback())
    await acts.run_now(ids[:1])
    await acts.cancel(ids[1:])
    assert await psql.value("SELECT count(*) FROM jobs WHERE is_far") == 0
    await acts.retry(ids[1:])
    assert await tasks_in_redis(queue) == set(ids)
    states = {row["state"] for row in await psql("SELECT state FROM jobs")}
    assert states == {JobState.PENDING}
    await check_rows(queue, psql)


async def test_with_an_idempotency_key(queue, store, psql, redis):
    step = make_submit_once(queue, store, ttl_seconds=60)
    items = [keyed(submission, f"key-{number}", b"body") for number, submission in enumerate((NOW, after(60), at(DAY)))]
    ids = await step.run_batch(items)
    assert await step.run_batch(items) == ids
    assert await tasks_in_redis(queue) == set(ids[:2])
    assert await redis("ZCARD", queue.keys.scheduled) == 1
    assert await psql.value("SELECT is_far FROM jobs WHERE id = $1", ids[2])
    await check_rows(queue, psql)


async def test_without_rows_all_of_it_is_scheduled_under_a_key_too(queue, redis):
    step = make_submit_once(queue, None, ttl_seconds=60)
    before = int((await redis("TIME"))[0])
    await step.run_batch([keyed(each, f"key-{n}", b"body") for n, each in enumerate((NOW, after(60), at(DAY)))])
    assert await redis("LLEN", queue.name) == 1
    scores = [float(score) / 1000 for score in (await redis("ZRANGE", queue.keys.scheduled, 0, -1, "WITHSCORES"))[1::2]]
    assert [round(score - before) // 30 * 30 for score in scores] == [60, 86_400]


async def test_two_workers_share_what_comes(steps, queue, store, psql):
    await steps.submit.run_batch([at(DAY)] * 500)
    await psql("UPDATE jobs SET run_at = now()")
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(FarOff(queue, store).run_once)
    assert await psql.value("SELECT sum(cardinality(ids)) FROM outbox") == 500
