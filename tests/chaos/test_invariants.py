"""The check under the protocol's table of rows, and what is left over: a chaos run shows only what these can see."""

from uuid import uuid4

import pytest
from uuid_utils.compat import uuid7

from tests.support.steps import Steps, registered
from workqueue.core.wire import Submission
from workqueue.services.chaos.aftermath import Aftermath
from workqueue.services.chaos.invariants import check_rows, left_over, tasks_in_redis


@pytest.fixture
async def ids(queue, store, redis_url, queue_name):
    """Two jobs that wait, of which the ready list knows, and two that a worker has; their checkpoints are gone."""
    steps = Steps(queue, store)
    ids = await steps.submit.run_batch([Submission("x", b"{}")] * 4)
    await steps.claim.run_once(registered(redis_url, queue_name), 2)
    await steps.piggyback.clear(store)
    return ids


async def test_a_sound_moment_has_no_fault(queue, psql, ids):
    assert await check_rows(queue, psql) == []
    assert await tasks_in_redis(queue) == set(ids)


async def test_a_pending_row_that_is_nowhere_is_seen_unless_the_outbox_has_it_or_an_external_program_took_it(
    redis, queue, psql, ids
):
    await redis("LPOP", queue.keys.ready)
    assert await check_rows(queue, psql) == [f"{ids[2]} is pending, and neither in Redis nor marked"]
    assert await check_rows(queue, psql, taken_by_others=[ids[2]]) == []
    await psql("INSERT INTO outbox (batch, queue, ids) VALUES ($1, $2, $3)", uuid7(), queue.name, [ids[2]])
    assert await check_rows(queue, psql) == []


@pytest.mark.parametrize("where", ["front", "scheduled", "flight"])
async def test_a_task_counts_wherever_it_lies(redis, queue, psql, ids, where):
    task = await redis("LPOP", queue.keys.ready)
    if where == "front":
        await redis("RPUSH", queue.keys.front, task)
    elif where == "scheduled":
        await redis("ZADD", queue.keys.scheduled, 1, task)
    else:
        [lease] = await queue.lease_scores()
        await redis("HSET", queue.keys.flight(lease), 99, task)
    assert await check_rows(queue, psql) == []


async def test_a_row_that_runs_without_an_owner_is_seen(redis, queue, psql, ids):
    [lease] = await queue.lease_scores()
    await redis("DEL", queue.keys.leases)
    faults = await check_rows(queue, psql)
    assert sorted(faults) == sorted(f"{each} is processing and its owner {lease} is no lease" for each in ids[:2])
    await psql("DELETE FROM claimed")
    faults = await check_rows(queue, psql)
    assert sorted(faults) == sorted(f"{each} is processing under a claim without a record" for each in ids[:2])


async def test_what_is_left_over_is_seen(redis, queue, store, psql, ids, database_schema):
    after = Aftermath(queue, store._pool, database_schema)
    [lease] = await queue.lease_scores()
    keys = queue.keys
    assert await left_over(queue) == {keys.ready, keys.leases, keys.workers, keys.flight(lease)}
    await queue.remove()
    assert await left_over(queue) == set()
    await redis("SET", keys.checkpoint, 1)
    await redis("RPUSH", keys.dead, "x")
    assert await left_over(queue) == {keys.dead}
    assert await left_over(queue, dead=True) == set()
    await psql("INSERT INTO outbox (batch, queue, ids) VALUES ($1, $2, $3)", uuid7(), queue.name, [uuid4()])
    assert await after.left() == [
        f"the key {keys.dead} is left",
        "4 waiting are left",
        "1 outbox are left",
        "1 claimed are left",
    ]
