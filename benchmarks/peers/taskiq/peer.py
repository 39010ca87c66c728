"""taskiq with taskiq-redis: asyncio, a Redis stream with a consumer group; XACK when the job is done."""

import asyncio

from peering import CONCURRENCY, PAYLOAD, SLEEP_SECONDS, URL, Meter, at_once, become, program
from taskiq_redis import RedisStreamBroker

meter = Meter()
broker = RedisStreamBroker(URL)


@broker.task(task_name="noop")
async def noop(payload: dict) -> None:
    meter.done()


@broker.task(task_name="sleep")
async def sleep(payload: dict) -> None:
    await asyncio.sleep(SLEEP_SECONDS)
    meter.done()


@broker.task(task_name="stamp")
async def stamp(payload: dict) -> None:
    meter.started()


TASKS = {"noop": noop, "sleep": sleep, "stamp": stamp}


class Client:
    async def connect(self):
        await broker.startup()

    async def one(self, kind):
        await TASKS[kind].kiq(PAYLOAD)

    async def many(self, kind, jobs):
        await at_once(lambda: self.one(kind), jobs)

    async def close(self):
        await broker.shutdown()

    def work(self):
        limit = ("--max-async-tasks", str(CONCURRENCY), "--max-prefetch", str(CONCURRENCY))
        become(program("taskiq"), "worker", "peer:broker", "--workers", "1", "--log-level", "WARNING", *limit)
