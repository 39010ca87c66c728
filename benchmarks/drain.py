"""How fast one worker does what is queued, in this process."""

import time

import trio
from redis import Redis
from uuid_utils.compat import uuid7

from benchmarks import floors
from benchmarks.results import Figure, Sample
from benchmarks.servers import Servers
from workqueue.core.wire import Task, encode_task
from workqueue.services.bench.drain import drain, handlers, open_worker, until_done
from workqueue.services.bench.sandbox import PAYLOAD, Sandbox, open_sandbox

CONCURRENCIES = (2, 100, 1000)
JOBS, ROWS, FAILURES, SLEEPS, IN_ASYNCIO = 100_000, 60_000, 60_000, 20_000, 40_000
DEEP, DEEP_DONE, SHALLOW, SHALLOW_TIMES = 1_000_000, 200_000, 10_000, 20

SUBMIT = "submit in batches of 500, Redis only"
SUBMIT_ROWS = "submit in batches of 500, with rows"
REDIS = "no-ops, Redis only, concurrency {}"
WITH_ROWS = "no-ops, with rows, concurrency {}"
ASYNCIO = "no-ops in asyncio, Redis only, concurrency 100"
FAIL = "all jobs fail, Redis only, concurrency 2"
SLEEP = "20,000 jobs sleep 0.1 s, concurrency 1000"
SHALLOW_RATE = "no-ops, 10,000 queued at a time"
DEEP_RATE = "no-ops, the first 200,000 of 1,000,000 queued"

FIGURES = [
    Figure(SUBMIT),
    Figure(SUBMIT_ROWS),
    *(Figure(REDIS.format(n), floor=floors.LOOP, at_least=70_000, cpu_at_most=12) for n in CONCURRENCIES),
    *(
        Figure(WITH_ROWS.format(n), floor=floors.ROWS, at_least=30_000, share_at_least=0.5, either=True)
        for n in CONCURRENCIES
    ),
    Figure(FAIL, at_least=30_000),
    Figure(ASYNCIO, at_least=14_500),  # at most 60 us above one in Trio
    Figure(SLEEP, floor=floors.SLEEP, share_at_least=0.85),
    Figure(SHALLOW_RATE),
    Figure(DEEP_RATE, floor=SHALLOW_RATE, share_at_least=0.9),
]


def measure(servers: Servers) -> dict[str, Sample]:
    return trio.run(_measure, servers)


async def _measure(servers: Servers) -> dict[str, Sample]:
    samples: dict[str, Sample] = {}
    for concurrency in CONCURRENCIES:
        submitted, samples[REDIS.format(concurrency)] = await _one(servers, "noop", servers.jobs(JOBS), concurrency)
        samples[SUBMIT] = submitted
    for concurrency in CONCURRENCIES:
        submitted, samples[WITH_ROWS.format(concurrency)] = await _one(
            servers, "noop", servers.jobs(ROWS), concurrency, rows=True
        )
        samples[SUBMIT_ROWS] = submitted
    _, samples[FAIL] = await _one(servers, "fails", servers.jobs(FAILURES), 2)
    _, samples[ASYNCIO] = await _one(servers, "asyncio", servers.jobs(IN_ASYNCIO), 100)
    _, samples[SLEEP] = await _one(servers, "sleeps", servers.jobs(SLEEPS), 1000)
    async with open_sandbox(servers.redis_url, None, concurrency=2) as sandbox:
        samples |= await _depth(servers, sandbox)
    return samples


async def _one(
    servers: Servers, job_type: str, jobs: int, concurrency: int, *, rows: bool = False
) -> tuple[Sample, Sample]:
    database = servers.database_url if rows else None
    async with open_sandbox(servers.redis_url, database, concurrency=concurrency) as sandbox:
        begun = trio.current_time()
        await sandbox.submit(job_type, jobs)
        submitted = Sample(jobs / (trio.current_time() - begun))
        rate = await drain(sandbox, jobs, in_asyncio=job_type == "asyncio")
    return submitted, Sample(rate.per_second, rate.cpu_us)


async def _depth(servers: Servers, sandbox: Sandbox) -> dict[str, Sample]:
    """The same worker, the same jobs, from a short list and from a long one.

    Redis rewrites its append-only file each time that it has doubled, and a child of it that writes a million tasks
    takes one of two cores for a second: it is asked to do so before, not during one of the two.
    """
    shallow, deep, deep_done = servers.jobs(SHALLOW), servers.jobs(DEEP), servers.jobs(DEEP_DONE)
    await trio.to_thread.run_sync(_rewrite, servers)
    async with open_worker(sandbox, handlers()) as worker:
        seconds = 0.0
        for _ in range(SHALLOW_TIMES):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_push, sandbox, shallow)
                rate = await until_done(worker, shallow)
            seconds += shallow / rate.per_second
    await _push(sandbox, deep)
    await trio.to_thread.run_sync(_rewrite, servers)
    async with open_worker(sandbox, handlers()) as worker:
        rate = await until_done(worker, deep_done)
    return {SHALLOW_RATE: Sample(SHALLOW_TIMES * shallow / seconds), DEEP_RATE: Sample(rate.per_second)}


def _rewrite(servers: Servers) -> None:
    """Let Redis rewrite its append-only file, and wait for it."""
    with Redis.from_url(servers.redis_url) as redis:
        _wait_for_rewrite(redis)  # one that it began by itself
        redis.bgrewriteaof()
        _wait_for_rewrite(redis)


def _wait_for_rewrite(redis: "Redis") -> None:
    while (now := redis.info("persistence"))["aof_rewrite_in_progress"] or now["aof_rewrite_scheduled"]:
        time.sleep(0.05)


async def _push(sandbox: Sandbox, jobs: int) -> None:
    """As an external program does it: 1,000,000 tasks in some seconds."""
    for begin in range(0, jobs, 5000):
        tasks = [encode_task(Task("noop", PAYLOAD, job_id=uuid7())) for _ in range(min(5000, jobs - begin))]
        await sandbox.queue.push(tasks)
