"""What each option of a job costs beside the plain drain, and what due times cost."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import trio
from redis import Redis

from benchmarks import drain as plain
from benchmarks.results import Figure, Sample
from benchmarks.servers import Servers
from workqueue.core.engine import engine_of
from workqueue.core.handlers import Registry
from workqueue.core.job import Job
from workqueue.core.options import JobOptions
from workqueue.core.steps.far_off import FarOff
from workqueue.core.steps.outbox import OutboxRelay
from workqueue.core.steps.promote import Promote
from workqueue.core.wire import Submission
from workqueue.services.bench.drain import drain, open_worker
from workqueue.services.bench.sandbox import BATCH, PAYLOAD, Sandbox, open_sandbox

JOBS, ROWS = 60_000, 40_000
SCHEDULED, FAR, LATE_JOBS = 100_000, 1_000_000, 2_000
HOURS = 3600.0
AHEAD_SECONDS, SPREAD_SECONDS = 3.0, 4.0  #: when the jobs are due whose lateness is measured

_LATER = datetime(2100, 1, 1, tzinfo=UTC)
#: Option -> what a job chooses.
CHOICES: dict[str, JobOptions] = {
    "timeout": JobOptions(timeout=30.0),
    "expires_in": JobOptions(expires_at=_LATER),
    "queue": JobOptions(queue="low"),
}
WITH = "no-ops with {}, Redis only, concurrency 2"
WITH_ROWS = "no-ops with {}, with rows, concurrency 2"
LATE = "a job of 100,000 that are scheduled starts after it is due, p95"
PROMOTED = "jobs that are due go to the ready list"
MEMORY = "memory of Redis for a scheduled job"
FAR_MEMORY = "memory of Redis for 1,000,000 jobs that are due in an hour or later, with rows"
BROUGHT = "jobs that were far off are brought to Redis, with rows"

FIGURES = [
    *(Figure(WITH.format(name), floor=plain.REDIS.format(2)) for name in CHOICES),
    *(Figure(WITH_ROWS.format(name), floor=plain.WITH_ROWS.format(2)) for name in CHOICES),
    Figure(LATE, unit="ms", at_most=250),
    Figure(PROMOTED),
    Figure(MEMORY, unit="bytes"),
]
ONCE = [Figure(FAR_MEMORY, unit="MB", at_most=1), Figure(BROUGHT)]


def measure(servers: Servers) -> dict[str, Sample]:
    return trio.run(_measure, servers)


async def _measure(servers: Servers) -> dict[str, Sample]:
    samples: dict[str, Sample] = {}
    for name, options in CHOICES.items():
        samples[WITH.format(name)] = await _drained(servers, None, servers.jobs(JOBS), options)
        samples[WITH_ROWS.format(name)] = await _drained(servers, servers.database_url, servers.jobs(ROWS), options)
    async with open_sandbox(servers.redis_url, None, concurrency=100) as sandbox:
        samples |= await _due(servers, sandbox)
    return samples


async def _drained(servers: Servers, database_url: str | None, jobs: int, options: JobOptions) -> Sample:
    async with open_sandbox(servers.redis_url, database_url, concurrency=2) as sandbox:
        await _submit(sandbox, [Submission("noop", PAYLOAD, options)] * jobs)
        rate = await drain(sandbox, jobs)
    return Sample(rate.per_second, rate.cpu_us)


async def _submit(sandbox: Sandbox, submissions: Sequence[Submission]) -> None:
    engine = engine_of(sandbox.queue, sandbox.store)
    for begin in range(0, len(submissions), BATCH):
        for answer in await engine.submit.run_batch(submissions[begin : begin + BATCH]):
            if isinstance(answer, Exception):
                raise answer
    await engine.clear()


def _after(seconds: float, job_type: str = "noop", payload: bytes = PAYLOAD) -> Submission:
    return Submission(job_type, payload, JobOptions(run_at=datetime.now(UTC) + timedelta(seconds=seconds)), seconds)


async def _due(servers: Servers, sandbox: Sandbox) -> dict[str, Sample]:
    """With so many that wait for hours, some that are due in a moment, and how late they start."""
    count = servers.jobs(SCHEDULED)
    with Redis.from_url(servers.redis_url) as redis:
        before = redis.info("memory")["used_memory"]
        await _submit(sandbox, [_after(HOURS)] * count)
        memory = (redis.info("memory")["used_memory"] - before) / count
    late = await _lateness(sandbox)
    moved = servers.jobs(SCHEDULED)
    await _submit(sandbox, [_after(0.001)] * moved)
    begun, promote = time.perf_counter(), Promote(sandbox.queue)
    while await promote.run_once():
        pass
    return {
        LATE: Sample(sorted(late)[int(0.95 * len(late))] * 1000),
        PROMOTED: Sample(moved / (time.perf_counter() - begun)),
        MEMORY: Sample(memory),
    }


async def _lateness(sandbox: Sandbox) -> list[float]:
    """In seconds; by one clock, that of this machine, for Redis is on it."""
    registry, started = Registry(), dict[str, float]()

    @registry.handler("due")
    async def due(job: Job) -> None:
        started[job.id] = time.time()

    async with open_worker(sandbox, registry):
        wanted: list[float] = []
        jobs: list[Submission] = []
        for number in range(LATE_JOBS):
            seconds = AHEAD_SECONDS + SPREAD_SECONDS * number / LATE_JOBS
            submission = Submission("due", b"{}", JobOptions(run_at=datetime.now(UTC) + timedelta(seconds=seconds)))
            jobs.append(submission)
            assert submission.options.run_at is not None
            wanted.append(submission.options.run_at.timestamp())
        await _submit(sandbox, jobs)
        while len(started) < LATE_JOBS:  # noqa: ASYNC110 - handlers set nothing but their times
            await trio.sleep(0.05)
    return [at - due_at for at, due_at in zip(sorted(started.values()), sorted(wanted), strict=True)]


def measure_once(servers: Servers) -> dict[str, Sample]:
    return trio.run(_far_off, servers)


async def _far_off(servers: Servers) -> dict[str, Sample]:
    count, brought = servers.jobs(FAR), servers.jobs(SCHEDULED)
    async with open_sandbox(servers.redis_url, servers.database_url, concurrency=2) as sandbox:
        store = sandbox.store
        assert store is not None
        with Redis.from_url(servers.redis_url) as redis:
            before = redis.info("memory")["used_memory"]
            for begin in range(0, count, 50_000):
                await _submit(sandbox, [_after(2 * HOURS)] * min(50_000, count - begin))
            memory = redis.info("memory")["used_memory"] - before
        await _submit(sandbox, [_after(HOURS + 1)] * brought)
        await trio.sleep(1.5)
        begun = time.perf_counter()
        far, relay = FarOff(sandbox.queue, store), OutboxRelay(sandbox.queue, store, age_seconds=0)
        while await far.run_once():
            pass
        while await relay.run_once():
            pass
        seconds = time.perf_counter() - begun
    return {FAR_MEMORY: Sample(max(memory, 0) / 1e6), BROUGHT: Sample(brought / seconds)}
