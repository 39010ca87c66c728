"""The check under the protocol's table of rows, and what is left over: a chaos run shows only what these can see."""

import pytest
from uuid_utils.compat import uuid7

from workqueue.services.chaos.invariants import check_rows, tasks_in_redis


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
