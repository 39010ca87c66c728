"""What is left on both servers after a run."""

from uuid import uuid4

import pytest
from uuid_utils.compat import uuid7

from workqueue.core.store.pool import open_pool
from workqueue.services.chaos.aftermath import Aftermath
from workqueue.services.chaos.invariants import left_over


@pytest.fixture
async def pool(bridge, store, postgres_dsn, database_schema):
    async with open_pool(bridge, postgres_dsn, database_schema) as pool:
        yield pool


async def test_what_is_left_over_is_seen(redis, queue, pool, psql, ids, database_schema):
    after = Aftermath(queue, pool, database_schema)
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


async def test_what_has_no_end_yet_is_told_while_workers_run(queue, pool, psql, ids, database_schema):
    after = Aftermath(queue, pool, database_schema)
    said = await after.unsettled([1])
    assert "4 rows without an end" in said
    assert "4 tasks in Redis" in said
    assert "1 workers without a lease" in said, "its lease tells no pid"
    await psql("UPDATE jobs SET state = 'completed', result = '1'")
    await psql("DELETE FROM claimed")
    await queue.remove()
    assert await after.unsettled([]) == ""
    assert await Aftermath(queue, None, "").unsettled([]) == ""


async def test_rows_are_read_by_the_number_of_their_job(queue, pool, psql, ids, database_schema):
    await psql("UPDATE jobs SET payload = jsonb_build_object('n', 7)::text::json, attempts = 2 WHERE id = $1", ids[0])
    await psql("DELETE FROM jobs WHERE id <> $1", ids[0])
    rows = await Aftermath(queue, pool, database_schema).rows()
    assert rows is not None
    [row] = rows[7]
    assert (row.id, row.state, row.attempts) == (str(ids[0]), "processing", 2)
    assert await Aftermath(queue, None, "").rows() is None
