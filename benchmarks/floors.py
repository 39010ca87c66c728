"""What the machine can do at best with the same tools: nothing of ours, nothing safe."""

import asyncio
import time

import asyncpg
from redis.asyncio import Redis

from benchmarks.results import Rate


def drain_lpop(url: str, jobs: int) -> Rate:
    """redis-py, LPOP of 500 a call, the tasks thrown away: no lease, no flight, no ack."""

    async def run() -> Rate:
        redis = Redis.from_url(url)
        task = b'{"type":"noop","payload":{"to":"someone@example.com","subject":"Welcome!"},"retries":0,"attempts":0}'
        for _ in range(0, jobs, 500):
            await redis.rpush("bench:floor", *([task] * 500))
        begun = time.perf_counter()
        taken = 0
        while found := await redis.lpop("bench:floor", 500):
            taken += len(found)
        rate = Rate(taken / (time.perf_counter() - begun))
        await redis.aclose()
        return rate

    return asyncio.run(run())


def claim_and_finish(dsn: str, jobs: int) -> Rate:
    """asyncpg, batches of 500 by ids: pending -> processing -> completed in a table with a primary key and no more."""

    async def run() -> Rate:
        connection = await asyncpg.connect(dsn)
        await connection.execute(
            "CREATE TEMP TABLE floor (id bigint PRIMARY KEY, state text, payload text) WITH (fillfactor = 45)"
        )
        await connection.execute(
            "INSERT INTO floor SELECT n, 'pending', repeat('x', 100) FROM generate_series(1, $1) n", jobs
        )
        begun = time.perf_counter()
        for first in range(1, jobs, 500):
            ids = list(range(first, first + 500))
            for old, new in (("pending", "processing"), ("processing", "completed")):
                await connection.fetch(
                    "UPDATE floor SET state = $2 WHERE id = ANY ($1) AND state = $3 RETURNING id", ids, new, old
                )
        rate = Rate(jobs / (time.perf_counter() - begun))
        await connection.close()
        return rate

    return asyncio.run(run())
