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
from workqueue.core.engine import engine_of
from workqueue.core.queue import open_queue
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
        store = None
        if DSN:
            await migrate(bridge, DSN, SCHEMA)
            store = await self.stack.enter_async_context(open_store(bridge, DSN, SCHEMA))
        self.engine = engine_of(queue, store)
        await self.engine.look_for_loss()  # as a producer does when it starts

    async def one(self, kind):
        await self.many(kind, 1)

    async def many(self, kind, jobs):
        await self.engine.submit.run_batch([Submission(kind, self.payload, 0)] * jobs)

    async def close(self):
        await self.engine.clear()
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
