import pytest
import trio
from uuid_utils.compat import uuid7

from tests.support.invariants import check_rows, tasks_in_redis
from tests.support.redis_cli import RedisCli
from tests.support.wait import until
from workqueue.core.errors import QueueUnavailable, StoreUnavailable
from workqueue.core.options import DEFAULTS, JobOptions
from workqueue.core.queue import PUSH_BYTES_MAX
from workqueue.core.steps.outbox import BATCHES_MAX, OutboxRelay
from workqueue.core.steps.promote import Promote
from workqueue.core.store import NewJob
from workqueue.core.wire import Submission, decode_task

JOBS = [Submission("x", b"{}", JobOptions(2)) for _ in range(3)]


async def lose_pushes(redis: RedisCli, queue, psql) -> None:
    """As if the producer had been killed between the insert and the push, six seconds ago."""
    await redis("DEL", queue.name)
    await psql("UPDATE outbox SET at = now() - interval '6 s'")


async def test_jobs_of_the_outbox_are_pushed_with_their_counters_and_early_ones_are_scheduled(
    redis, steps, queue, store, psql
):
    ids = await steps.submit.run_batch(JOBS)
    await psql("UPDATE jobs SET attempts = 2, run_at = now() + interval '1 h' WHERE id = $1", ids[0])
    await psql("UPDATE jobs SET state = 'cancelled' WHERE id = $1", ids[1])
    await lose_pushes(redis, queue, psql)
    relay = OutboxRelay(queue, store)
    assert not await relay.run_once()
    assert not await relay.run_once()
    [early] = await redis("ZRANGE", queue.keys.scheduled, 0, -1)
    assert (decode_task(early).job_id, decode_task(early).counters.attempts) == (ids[0], 2)
    [due] = await redis.list(queue.name)
    assert decode_task(due).job_id == ids[2]
    assert await psql("SELECT * FROM outbox") == []


async def test_a_young_outbox_entry_is_left_to_its_producer(redis, steps, queue, store, psql):
    await steps.submit.run_batch(JOBS)
    await redis("DEL", queue.name)
    assert not await OutboxRelay(queue, store).run_once()
    assert await tasks_in_redis(queue) == set()
    await check_rows(queue, psql)


async def test_a_full_take_says_that_there_may_be_more(redis, steps, queue, store, psql):
    for _ in range(BATCHES_MAX + 1):
        await store.insert(uuid7(), queue.name, [NewJob(uuid7(), "x", "{}", DEFAULTS)], [])
    await lose_pushes(redis, queue, psql)
    relay = OutboxRelay(queue, store)
    assert await relay.run_once()
    assert not await relay.run_once()
    assert len(await tasks_in_redis(queue)) == BATCHES_MAX + 1
    assert await psql("SELECT * FROM outbox") == []


async def test_large_jobs_are_pushed_whatever_the_order_of_their_ids_in_the_outbox_is(redis, queue, store, psql):
    # Pages go on behind the last id: one that is not the highest would end them early.
    ids = sorted(uuid7() for _ in range(5))
    large = '{"a":"' + "x" * (PUSH_BYTES_MAX // 2 + 1) + '"}'
    mixed = ids[2:] + ids[:2]
    await store.insert(uuid7(), queue.name, [NewJob(job_id, "x", large, DEFAULTS) for job_id in mixed], [])
    await lose_pushes(redis, queue, psql)
    await OutboxRelay(queue, store).run_once()
    assert await tasks_in_redis(queue) == set(ids)


async def test_a_batch_of_large_jobs_is_pushed_in_pieces(redis, queue, store, psql, monkeypatch):
    ids = sorted(uuid7() for _ in range(12))
    large = '{"a":"' + "x" * 1024 * 1024 + '"}'
    await store.insert(uuid7(), queue.name, [NewJob(job_id, "x", large, DEFAULTS) for job_id in ids], [])
    await lose_pushes(redis, queue, psql)
    pieces: list[int] = []
    push = queue.push

    async def counted(tasks) -> None:
        pieces.append(sum(map(len, tasks)))
        await push(tasks)

    monkeypatch.setattr(queue, "push", counted)
    await OutboxRelay(queue, store).run_once()
    assert await tasks_in_redis(queue) == set(ids)
    assert max(pieces) < 6 * 1024 * 1024


async def test_a_row_that_makes_no_task_holds_up_no_other(redis, steps, queue, store, psql, lease):
    """An operator wrote into the table by hand: its task is buried at the claim, and its neighbours run."""
    ids = await steps.submit.run_batch(JOBS)
    await psql("UPDATE jobs SET payload = 'no JSON' WHERE id = $1", ids[1])
    await lose_pushes(redis, queue, psql)
    await OutboxRelay(queue, store).run_once()
    assert [held.job_id for held in await steps.claim.run_once(lease, 10)] == [ids[0], ids[2]]
    assert (await queue.depths()).dead == 1
    assert await psql("SELECT * FROM outbox") == []


@pytest.mark.parametrize("server", ["postgres", "redis"])
async def test_a_relay_that_is_cut_off_leaves_its_outbox_entry_to_the_next(
    redis, far_queue, far_store, redis_proxy, postgres_proxy, steps, queue, store, psql, server
):
    ids = await steps.submit.run_batch(JOBS)
    await lose_pushes(redis, queue, psql)
    proxy = postgres_proxy if server == "postgres" else redis_proxy
    proxy.swallow_replies()
    async with trio.open_nursery() as worker:
        worker.start_soon(_relay_in_vain, OutboxRelay(far_queue, far_store))
        await proxy.replies_swallowed.wait()
        proxy.heal()
    await check_rows(queue, psql)

    async def relayed() -> bool:
        await OutboxRelay(queue, store, age_seconds=0.2).run_once()
        return not await psql("SELECT * FROM outbox")

    await until(relayed)
    assert await tasks_in_redis(queue) == set(ids)
    await check_rows(queue, psql)


async def _relay_in_vain(relay: OutboxRelay) -> None:
    with pytest.raises((QueueUnavailable, StoreUnavailable)):
        await relay.run_once()


async def test_an_outbox_entry_stays_when_redis_took_too_long(redis, steps, queue, store, psql, monkeypatch):
    # What answered so late may be a Redis that was replaced meanwhile: the next relay pushes again.
    await steps.submit.run_batch(JOBS)
    await lose_pushes(redis, queue, psql)
    monkeypatch.setattr("workqueue.core.steps.outbox.ANSWER_SECONDS", -1)
    await OutboxRelay(queue, store).run_once()
    assert len(await psql("SELECT * FROM outbox")) == 1
    assert len(await tasks_in_redis(queue)) == 3


async def test_a_job_that_the_relay_pushes_twice_runs_once(steps, queue, store, psql, lease):
    ids = await steps.submit.run_batch(JOBS)
    await psql("UPDATE outbox SET at = now() - interval '6 s'")
    await OutboxRelay(queue, store).run_once()
    assert (await queue.depths()).ready == 6
    assert {held.job_id for held in await steps.claim.run_once(lease, 10)} == set(ids)
    assert steps.claim.counts.duplicates == 3


async def test_promote_says_whether_there_is_more(queue):
    promote = Promote(queue)
    await queue.schedule([(-1, b"%d" % number) for number in range(1_500)])
    assert await promote.run_once()
    assert not await promote.run_once()
    assert (await queue.depths()).ready == 1_500


async def test_deletions_that_no_statement_took_along_are_sent_alone_and_survive_an_outage(
    steps, far_store, postgres_proxy, store, psql
):
    await steps.submit.run_batch(JOBS)
    postgres_proxy.go_away()
    with pytest.raises(StoreUnavailable):
        await steps.piggyback.clear(far_store)
    await steps.piggyback.clear(store)
    assert await psql("SELECT * FROM outbox") == []
    await steps.piggyback.clear(store)  # nothing to do: no trip


async def test_ids_of_an_outbox_entry_in_any_order_are_all_pushed(queue, store, psql):
    # Pages go on behind the last id: unsorted, they would stop early, and the outbox entry would go.
    ids = sorted(uuid7() for _ in range(12))
    large = '{"a":"' + "x" * 2**20 + '"}'
    await store.insert(uuid7(), queue.name, [NewJob(job_id, "x", large, DEFAULTS) for job_id in ids[4:] + ids[:4]], [])
    await psql("UPDATE outbox SET at = now() - interval '6 s'")
    await OutboxRelay(queue, store).run_once()
    assert await tasks_in_redis(queue) == set(ids)
