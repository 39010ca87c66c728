"""WorkQueue itself, driven like the others: the real worker process, handlers by WORKER_HANDLERS.

PEER_MODE "rows" has Postgres beside Redis. Jobs enter through what the producer's batcher calls.
"""

import json
import os
import sys
from contextlib import AsyncExitStack

import trio
from peering import CONCURRENCY, MODE, PAYLOAD, SLEEP_SECONDS, URL, Meter

from workqueue import Job, handler
from workqueue.core.bridge import open_bridge
from workqueue.core.queue import open_queue
from workqueue.core.steps.piggyback import Piggyback
from workqueue.core.steps.redis_loss import RedisLoss
from workqueue.core.steps.submit import Submit
from workqueue.core.store import migrate, open_store
from workqueue.core.wire import Submission
from workqueue.services.local.process import free_port

QUEUE, SCHEMA = "peer", "workqueue"
DSN = os.environ.get("PEER_DATABASE_URL") if MODE == "rows" else None
meter = Meter()


@handler("noop")
async def noop(job: Job) -> object:
    meter.done()
    return None


@handler("sleep")
async def sleep(job: Job) -> object:
    await trio.sleep(SLEEP_SECONDS)
    meter.done()
    return None


@handler("stamp")
async def stamp(job: Job) -> object:
    meter.started()
    return None


class Client:
    def __init__(self):
        self.payload = json.dumps(PAYLOAD, separators=(",", ":")).encode()
        self.stack = AsyncExitStack()

    async def connect(self):
        bridge = await self.stack.enter_async_context(open_bridge())
        queue = await self.stack.enter_async_context(open_queue(bridge, URL, QUEUE))
        self.store, self.piggyback = None, Piggyback()
        if DSN:
            await migrate(bridge, DSN, SCHEMA)
            self.store = await self.stack.enter_async_context(open_store(bridge, DSN, SCHEMA))
            await RedisLoss(queue, self.store).run_once()  # as a producer does when it starts
        self.submit = Submit(queue, self.store, self.piggyback)

    async def one(self, kind):
        await self.many(kind, 1)

    async def many(self, kind, jobs):
        await self.submit.run_batch([Submission(kind, self.payload, 0)] * jobs)

    async def close(self):
        if self.store is not None:
            await self.piggyback.clear(self.store)
        await self.stack.aclose()

    def work(self):
        environ = {
            **os.environ,
            "REDIS_URL": URL,
            "QUEUE_NAME": QUEUE,
            "WORKER_HANDLERS": "peer",
            "WORKER_CONCURRENCY": str(CONCURRENCY),
            "WORKER_PORT": str(free_port()),
            "LOG_LEVEL": "warning",
            **({"DATABASE_URL": DSN, "DATABASE_SCHEMA": SCHEMA} if DSN else {}),
        }
        os.execve(sys.executable, [sys.executable, "-m", "workqueue.services.cli", "worker"], environ)


run = trio.run
