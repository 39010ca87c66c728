"""`workqueue bench`."""

import logging
from collections.abc import Iterator

import trio
from msgspec import Struct

from workqueue.core.settings import Settings, without_password
from workqueue.services.bench.drain import Rate, drain
from workqueue.services.bench.latency import Latencies, latency
from workqueue.services.bench.sandbox import BATCH, PAYLOAD, open_sandbox
from workqueue.services.cli.progress import Progress

IDLE_CONCURRENCY = 2
BAR_WIDTH = 30


class Figures(Struct, frozen=True):
    """The figures."""

    submitted: float  #: jobs a second
    drained: Rate
    idle: Latencies


async def run_bench(settings: Settings, jobs: int, latencies: int, progress: Progress) -> Figures:
    """Measure on the user's servers, on keys and rows that are removed at the end, also after an interruption.

    Raises QueueUnavailable, StoreUnavailable, InvalidSettings.
    """
    logging.disable(logging.WARNING)  # the worker's own lines are of no interest here
    urls = settings.redis_url, settings.database_url
    async with open_sandbox(*urls, concurrency=settings.worker_concurrency) as sandbox:
        progress(f"submit {jobs:,} jobs ...")
        begun = trio.current_time()
        await sandbox.submit("noop", jobs)
        submitted = jobs / (trio.current_time() - begun)
        drained = await drain(sandbox, jobs, lambda number: progress(bar("drain", number, jobs)))
    async with open_sandbox(*urls, concurrency=IDLE_CONCURRENCY) as sandbox:
        idle = await latency(sandbox, latencies, lambda number: progress(bar("latency", number, latencies)))
    return Figures(submitted, drained, idle)


def bar(name: str, done: int, of: int) -> str:
    filled = BAR_WIDTH * done // of
    return f"{name:<8} [{'#' * filled}{'.' * (BAR_WIDTH - filled)}] {done:,} of {of:,}"


def summary(figures: Figures, settings: Settings, jobs: int) -> Iterator[str]:
    """The lines of the result; without any secret."""
    url, drained, idle = settings.database_url, figures.drained, figures.idle
    yield f"Redis     {without_password(settings.redis_url)}"
    yield f"Postgres  {'none: jobs live in Redis alone' if url is None else without_password(url)}"
    yield f"jobs      {jobs:,} no-ops of {len(PAYLOAD)} bytes, one worker of concurrency {settings.worker_concurrency}"
    yield ""
    yield f"submit    {figures.submitted:>10,.0f} jobs/s   in batches of {BATCH}"
    yield f"drain     {drained.per_second:>10,.0f} jobs/s   {drained.cpu_us:.1f} µs of CPU a job"
    yield f"latency   {idle.p50:>10.1f} ms       half of the jobs start this soon, on an idle worker"
    yield f"          {idle.p99:>10.1f} ms       99 of 100"
