"""docket: asyncio, a Redis stream with a consumer group; acknowledged when the job is done."""

import asyncio
import contextlib
import os
import signal
from datetime import timedelta

from docket import Docket, Worker
from peering import CONCURRENCY, PAYLOAD, SLEEP_SECONDS, URL, Meter

meter = Meter()


async def noop(payload: dict) -> None:
    meter.done()


async def sleep(payload: dict) -> None:
    await asyncio.sleep(SLEEP_SECONDS)
    meter.done()


async def stamp(payload: dict) -> None:
    meter.started()


TASKS = {"noop": noop, "sleep": sleep, "stamp": stamp}


def docket() -> Docket:
    """Each running job uses connections of its own, and redis-py's pool ends at 100."""
    return Docket("peer", f"{URL}?max_connections={2 * CONCURRENCY + 100}", execution_ttl=timedelta(0))


class Client:
    async def connect(self):
        self.docket = docket()
        await self.docket.__aenter__()

    async def one(self, kind):
        await self.docket.add(TASKS[kind])(PAYLOAD)

    async def many(self, kind, jobs):
        await self.docket.add_many(self.docket.call(TASKS[kind])(PAYLOAD) for _ in range(jobs))

    async def close(self):
        await self.docket.__aexit__(None, None, None)

    def work(self):
        async def run() -> None:
            task = asyncio.current_task()
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
            async with docket() as served:
                for function in TASKS.values():
                    served.register(function)
                check = timedelta(seconds=float(os.environ.get("PEER_POLL", "0.25")))
                async with Worker(served, concurrency=CONCURRENCY, minimum_check_interval=check) as worker:
                    await worker.run_forever()

        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(run())
