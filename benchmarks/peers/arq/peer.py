"""arq: asyncio, a Redis sorted set that is polled; a job stays in it until it is done."""

import asyncio
import os

from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import run_worker
from peering import CONCURRENCY, PAYLOAD, SLEEP_SECONDS, URL, Meter, at_once

meter = Meter()


async def noop(ctx, payload):
    meter.done()


async def sleep(ctx, payload):
    await asyncio.sleep(SLEEP_SECONDS)
    meter.done()


async def stamp(ctx, payload):
    meter.started()


class WorkerSettings:
    functions = (noop, sleep, stamp)
    redis_settings = RedisSettings.from_dsn(URL)
    max_jobs = CONCURRENCY
    poll_delay = float(os.environ.get("PEER_POLL", "0.5"))
    keep_result = 0
    log_results = False


class Client:
    async def connect(self):
        self.pool = await create_pool(WorkerSettings.redis_settings)

    async def one(self, kind):
        await self.pool.enqueue_job(kind, PAYLOAD)

    async def many(self, kind, jobs):
        await at_once(lambda: self.one(kind), jobs)

    async def close(self):
        await self.pool.aclose()

    def work(self):
        """Not by its command line, which logs two lines a job."""
        run_worker(WorkerSettings)
