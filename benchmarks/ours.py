"""The same work by the real parts: leases, in-flight hashes, acks, metrics and timeouts on."""

import time
from contextlib import AsyncExitStack
from functools import partial
from uuid import uuid4

import trio

from benchmarks.results import Rate
from core.bridge import open_bridge
from core.handlers import Registry
from core.job import Job
from core.queue import open_queue
from core.settings import load_settings
from core.steps.loss import Loss
from core.steps.marks import Ledger
from core.steps.submit import Submit
from core.store import migrate, open_store
from core.wire import Submission
from services.worker.worker import Worker

SCHEMA = "bench"
PAYLOAD = b'{"to":"someone@example.com","subject":"Welcome!","body":"a payload of about 100 bytes as it comes"}'


def drain(redis_url: str, dsn: str | None, jobs: int, concurrency: int) -> tuple[Rate, Rate]:
    """Submit no-op jobs in batches, then let one worker do them: the rates of both."""
    return trio.run(partial(_drain, redis_url, dsn, jobs, concurrency))


async def _drain(redis_url: str, dsn: str | None, jobs: int, concurrency: int) -> tuple[Rate, Rate]:
    registry = Registry()

    @registry.handler("noop", timeout=30)
    async def noop(job: Job) -> object:
        return None

    environ = {"REDIS_URL": redis_url, "QUEUE_NAME": f"bench:{uuid4().hex}", "WORKER_CONCURRENCY": str(concurrency)}
    settings = load_settings(environ)
    async with AsyncExitStack() as stack:
        bridge = await stack.enter_async_context(open_bridge())
        queue = await stack.enter_async_context(open_queue(bridge, redis_url, settings.queue_name))
        store = None
        if dsn is not None:
            await migrate(bridge, dsn, SCHEMA)
            store = await stack.enter_async_context(open_store(bridge, dsn, SCHEMA))
            await Loss(queue, store).run_once()  # as a producer does when it starts
        marks = Ledger()
        submit = Submit(queue, store, marks)
        begun = time.perf_counter()
        for _ in range(0, jobs, 500):
            await submit.run_batch([Submission("noop", PAYLOAD, 3)] * 500)
        submitted = Rate(jobs / (time.perf_counter() - begun))
        if store is not None:
            await marks.clear(store)
        worker = Worker(settings, queue, store, registry)
        stop = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker.run, stop.wait, trio.sleep_forever, lambda: None)
            begun, cpu = time.perf_counter(), time.process_time()
            while worker.counts.done < jobs:  # noqa: ASYNC110 - counted by another task
                await trio.sleep(0.005)
            done = Rate(jobs / (time.perf_counter() - begun), (time.process_time() - cpu) / jobs * 1e6)
            stop.set()
    return submitted, done
