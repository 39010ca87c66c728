"""Oban for Python: asyncio, Postgres rows that are kept; acknowledged in batches when jobs are done."""

import asyncio

from oban import Oban, worker
from oban.schema import install
from peering import CONCURRENCY, PAYLOAD, SLEEP_SECONDS, URL, Meter, become, program

meter = Meter()


@worker(queue="default")
class Noop:
    async def process(self, job):
        meter.done()


@worker(queue="default")
class Sleep:
    async def process(self, job):
        await asyncio.sleep(SLEEP_SECONDS)
        meter.done()


@worker(queue="default")
class Stamp:
    async def process(self, job):
        meter.started()


WORKERS = {"noop": Noop, "sleep": Sleep, "stamp": Stamp}


class Client:
    async def connect(self):
        self.pool = await Oban.create_pool(dsn=URL)
        async with self.pool.connection() as connection:
            there = await (await connection.execute("SELECT to_regclass('oban_jobs')")).fetchone()
        if there[0] is None:
            await install(self.pool)
        self.oban = await Oban(pool=self.pool).start()

    async def one(self, kind):
        await self.oban.enqueue(WORKERS[kind].new(PAYLOAD))

    async def many(self, kind, jobs):
        await self.oban.enqueue_many([WORKERS[kind].new(PAYLOAD) for _ in range(jobs)])

    async def close(self):
        await self.oban.stop()
        await self.pool.close()

    def work(self):
        queue = ("--queues", f"default:{CONCURRENCY}")
        become(program("oban"), "start", "--dsn", URL, *queue, "--log-level", "WARNING", "--cron-modules", "peer")
