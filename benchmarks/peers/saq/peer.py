"""SAQ: asyncio, a Redis list; BLMOVE into a list of active jobs, acknowledged when the job is done."""

import asyncio

from peering import CONCURRENCY, PAYLOAD, SLEEP_SECONDS, URL, Meter, at_once, become, program
from saq import Queue

meter = Meter()
queue = Queue.from_url(URL)


async def noop(ctx, *, payload):
    meter.done()


async def sleep(ctx, *, payload):
    await asyncio.sleep(SLEEP_SECONDS)
    meter.done()


async def stamp(ctx, *, payload):
    meter.started()


settings = {"queue": queue, "functions": [noop, sleep, stamp], "concurrency": CONCURRENCY}


class Client:
    async def connect(self):
        await queue.connect()

    async def one(self, kind):
        await queue.enqueue(kind, payload=PAYLOAD)

    async def many(self, kind, jobs):
        await at_once(lambda: self.one(kind), jobs)

    async def close(self):
        await queue.disconnect()

    def work(self):
        become(program("saq"), "peer.settings", "--quiet")
