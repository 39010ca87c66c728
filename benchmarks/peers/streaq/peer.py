"""streaQ: asyncio on uvloop, Redis streams and Lua; acknowledged when the job is done."""

import asyncio

from peering import CONCURRENCY, PAYLOAD, SLEEP_SECONDS, URL, Meter
from streaq import Worker

meter = Meter()
worker = Worker(redis_url=URL, concurrency=CONCURRENCY, anyio_kwargs={"use_uvloop": True})


@worker.task(name="noop", ttl=0)
async def noop(payload: dict) -> None:
    meter.done()


@worker.task(name="sleep", ttl=0)
async def sleep(payload: dict) -> None:
    await asyncio.sleep(SLEEP_SECONDS)
    meter.done()


@worker.task(name="stamp", ttl=0)
async def stamp(payload: dict) -> None:
    meter.started()


TASKS = {"noop": noop, "sleep": sleep, "stamp": stamp}


class Client:
    async def connect(self):
        await worker.__aenter__()

    async def one(self, kind):
        await TASKS[kind].enqueue(PAYLOAD)

    async def many(self, kind, jobs):
        await worker.enqueue_many([TASKS[kind].enqueue(PAYLOAD) for _ in range(jobs)])

    async def close(self):
        await worker.__aexit__(None, None, None)

    def work(self):
        """Not by its command line, which logs two lines a job."""
        worker.run_sync()
