"""A dead lease without Postgres: the task carries the counters."""

import json

import pytest

from tests.core.steps.support import fence, ready
from tests.support.steps import make_recover
from workqueue.core.steps.recover import Recover


@pytest.fixture
def recover(queue) -> Recover:
    return make_recover(queue, None, max_recoveries=3)


async def claim(queue, lease, *tasks: bytes) -> None:
    await queue.push(tasks)
    await queue.claim(lease.id, start=1, count=len(tasks))


async def test_a_death_counts_against_the_unsuspected_and_against_suspects_that_had_started(
    redis, queue, lease, recover
):
    new = b'{"type":"x","payload":{"n":1}}'
    suspect, neighbour = (b'{"type":"x","recoveries":1,"payload":{"n":%d}}' % n for n in (2, 3))
    await claim(queue, lease, new, suspect, neighbour)
    assert await queue.record_suspect_start(lease.id, 2)
    await fence(queue, lease)
    await recover.run_once(lease.id)
    found = {task["payload"]["n"]: task["recoveries"] for task in await ready(redis, queue)}
    assert found == {1: 1, 2: 2, 3: 1}
    assert recover.counts.jobs == 3


async def test_a_clean_end_counts_an_interruption_and_keeps_the_other_counters(redis, queue, lease, recover):
    await claim(queue, lease, b'{"type":"x","attempts":4,"recoveries":2,"interruptions":6}')
    await queue.end(lease.id)
    await recover.run_once(lease.id)
    [task] = await ready(redis, queue)
    assert (task["attempts"], task["recoveries"], task["interruptions"]) == (4, 2, 7)


async def test_a_suspect_that_started_and_died_for_the_last_time_is_buried(redis, queue, lease, recover):
    await claim(queue, lease, b'{"type":"x","recoveries":2}', b'{"type":"x","recoveries":2}')
    assert await queue.record_suspect_start(lease.id, 1)
    await fence(queue, lease)
    await recover.run_once(lease.id)
    [entry] = map(json.loads, await redis.list(queue.keys.dead))
    assert entry["reason"] == "its worker died 3 times while it ran"
    assert [task["recoveries"] for task in await ready(redis, queue)] == [2], "the other had not started"
    assert (recover.counts.jobs, recover.counts.failed) == (1, 1)
