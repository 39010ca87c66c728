"""How fast one worker drains a queue: the real worker, with leases, acks, timeouts and metrics."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio
from msgspec import Struct

from workqueue.core.engine import engine_of
from workqueue.core.handlers import Registry
from workqueue.core.job import Job
from workqueue.services.bench.sandbox import Sandbox
from workqueue.services.worker.gc_tuning import tune_gc
from workqueue.services.worker.worker import Worker

LOOK_SECONDS = 0.005
TIMEOUT_SECONDS = 30.0  #: of each job, so that the cost of timeouts is measured too
SLEEP_SECONDS = 0.1

Progress = Callable[[int], None]


class Rate(Struct, frozen=True):
    """The result of a drain."""

    per_second: float  #: jobs, from the first that was done to the last
    cpu_us: float  #: of our own process, for each job


def handlers(*, in_asyncio: bool = False) -> Registry:
    """`noop`, `fails`, `sleeps`; `in_asyncio`: and `asyncio`, a no-op in that runtime."""
    registry = Registry()
    if in_asyncio:
        registry.handler("asyncio", timeout=TIMEOUT_SECONDS, runtime="asyncio")(_nothing)

    @registry.handler("noop", timeout=TIMEOUT_SECONDS)
    async def noop(job: Job) -> object:
        return None

    @registry.handler("fails", timeout=TIMEOUT_SECONDS)
    async def fails(job: Job) -> object:
        raise ValueError("as asked")

    @registry.handler("sleeps", timeout=TIMEOUT_SECONDS)
    async def sleeps(job: Job) -> object:
        await trio.sleep(SLEEP_SECONDS)
        return None

    return registry


async def _nothing(job: Job) -> object:
    return None


@asynccontextmanager
async def open_worker(sandbox: Sandbox, registry: Registry) -> AsyncIterator[Worker]:
    """A worker that takes jobs; it stops at the end of the block as it does on SIGTERM."""
    tune_gc()  # as a worker's process does
    worker = Worker(sandbox.settings, engine_of(sandbox.queue, sandbox.store), registry)
    stop, ready = trio.Event(), trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.run, stop.wait, trio.sleep_forever, ready.set)
        await ready.wait()
        yield worker
        stop.set()


async def drain(
    sandbox: Sandbox, jobs: int, progress: Progress = lambda done: None, *, in_asyncio: bool = False
) -> Rate:
    """Let one worker do the `jobs` that are queued, each with an end."""
    async with open_worker(sandbox, handlers(in_asyncio=in_asyncio)) as worker:
        return await until_done(worker, jobs, progress)


async def until_done(worker: Worker, jobs: int, progress: Progress = lambda done: None) -> Rate:
    """The rate at which `worker` does the next `jobs`."""
    counts = worker.counts
    before = counts.done + counts.failed
    while counts.done + counts.failed == before:
        await trio.lowlevel.checkpoint()
    begun, cpu, first = time.perf_counter(), time.process_time(), counts.done + counts.failed - before
    while (done := counts.done + counts.failed - before) < jobs:
        progress(done)
        await trio.sleep(LOOK_SECONDS)
    rest = max(1, done - first)
    return Rate(rest / (time.perf_counter() - begun), (time.process_time() - cpu) / rest * 1e6)
