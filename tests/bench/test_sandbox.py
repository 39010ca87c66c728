"""A place for a measurement, of which nothing is left."""

import pytest
import trio

from workqueue.core.errors import EnqueueFailed, QueueUnavailable
from workqueue.services.bench.sandbox import BATCH, open_sandbox
from workqueue.services.local.process import free_port

SCHEMAS = "SELECT count(*) FROM pg_namespace WHERE nspname = $1"


@pytest.mark.parametrize("rows", [False, True], ids=["redis only", "postgres"])
@pytest.mark.parametrize("end", ["ends", "is cancelled"])
async def test_nothing_is_left_however_it_ends(redis, psql, redis_url, postgres_dsn, rows, end):
    with trio.CancelScope() as scope:
        async with open_sandbox(redis_url, postgres_dsn if rows else None, concurrency=1) as sandbox:
            await sandbox.submit("x", BATCH + 1)
            name = sandbox.queue.name
            assert await redis("LLEN", name) == BATCH + 1
            assert await psql.value(SCHEMAS, name) == rows
            if end == "is cancelled":
                scope.cancel()
                await trio.lowlevel.checkpoint()
    assert await redis("KEYS", f"*{name}*") == []
    assert await psql.value(SCHEMAS, name) == 0


async def test_a_job_that_is_refused_is_raised(redis, redis_url):
    async with open_sandbox(redis_url, None, concurrency=1) as sandbox:
        await redis("SET", sandbox.queue.name, "of another type")
        with pytest.raises(EnqueueFailed):
            await sandbox.submit("x", 1)


async def test_a_server_that_is_away_is_told_before_anything_is_made():
    with pytest.raises(ExceptionGroup) as failure:
        async with open_sandbox(f"redis://127.0.0.1:{free_port()}", None, concurrency=1):
            pass
    assert failure.group_contains(QueueUnavailable)
