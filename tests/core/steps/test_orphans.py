"""Owners that Redis knows no more."""

from functools import partial
from itertools import count
from uuid import UUID, uuid4

from uuid_utils.compat import uuid7

from tests.core.steps.support import MAX, fence, ready, submitted
from tests.support.invariants import check_rows
from tests.support.redis_cli import RedisCli
from tests.support.steps import Steps, make_orphans, make_recover
from workqueue.core.options import DEFAULTS, JobOptions
from workqueue.core.queue import Queue
from workqueue.core.store import NewJob
from workqueue.core.wire import Submission


async def test_rows_whose_owner_is_no_lease_are_found_by_the_second_look(
    redis, store, steps, queue, lease, other, psql
):
    now = [100.0]
    ids = await submitted(steps, 5)
    await steps.claim.run_once(lease, 5)
    orphans = make_orphans(queue, store, term_seconds=10, clock=lambda: now[0])
    assert await orphans.run_once() == []
    await redis("DEL", queue.keys.leases, queue.keys.workers, queue.keys.flight(lease.id))
    assert await orphans.run_once() == []
    now[0] += 1.9
    assert await orphans.run_once() == [], "a lease that is being taken just now may look absent for a moment"
    now[0] += 0.2
    assert await orphans.run_once() == [lease.id]
    await make_recover(queue, store, max_recoveries=MAX).run_once(lease.id)
    await redis("DEL", queue.keys.ready)
    await steps.piggyback.clear(store)
    assert await orphans.run_once() == []
    assert {row["state"] for row in await psql("SELECT state FROM jobs")} == {"pending"}
    assert {row["id"] for row in await psql("SELECT id FROM jobs")} == set(ids)


async def test_a_worker_of_another_queue_is_no_orphan_of_ours(store, queue, psql):
    """Its lease is among those of its own queue, and its rows in the same tables."""
    theirs = uuid7()
    await store.insert(uuid7(), "another", [NewJob(theirs, "x", "{}", DEFAULTS)], [])
    await store.claim([theirs], uuid4(), queue="another", owner=uuid4(), worker="w", earlier=[], done_claims=[])
    orphans = make_orphans(queue, store, term_seconds=0, clock=partial(next, count()))
    for _ in range(2):
        assert await orphans.run_once() == []


async def test_a_claim_that_arrives_after_the_recovery_is_found(store, steps, queue, lease, psql):
    """Its statement was on its way when its worker died, and commits long after."""
    [job_id] = await submitted(steps, 1)
    await steps.claim.run_once(lease, 1)
    await fence(queue, lease)
    recover = make_recover(queue, store, max_recoveries=MAX)
    await recover.run_once(lease.id)
    claim = partial(store.claim, queue=queue.name, owner=lease.id, worker="w", earlier=[], done_claims=[])
    assert await claim([job_id], uuid4())
    orphans = make_orphans(queue, store, term_seconds=0, clock=partial(next, count()))
    await orphans.run_once()
    assert await orphans.run_once() == [lease.id]
    await recover.run_once(lease.id)
    assert (await store.get(job_id)).state == "pending"
    await check_rows(queue, psql)


async def test_a_flight_whose_lease_was_evicted_is_found_without_rows(redis, queue, steps, registered_lease):
    parts = Steps(queue, None)
    lease = registered_lease()
    ids = await submitted_in_redis(redis, parts, queue, 3)
    await parts.claim.run_once(lease, 3)
    await redis("DEL", queue.keys.leases)
    orphans = make_orphans(queue, None, term_seconds=0, clock=partial(next, count()))
    await orphans.run_once()
    assert await orphans.run_once() == [lease.id]
    await make_recover(queue, None, max_recoveries=MAX).run_once(lease.id)
    assert [UUID(task["job_id"]) for task in await ready(redis, queue)] == ids
    assert await orphans.run_once() == []


async def submitted_in_redis(redis: RedisCli, parts: Steps, queue: Queue, count: int) -> list[UUID]:
    await parts.submit.run_batch([Submission("x", b"{}", JobOptions(2))] * count)
    return [UUID(task["job_id"]) for task in await ready(redis, queue)]
