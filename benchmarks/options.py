"""What each option of a job costs beside the plain drain, and what due times cost."""

import time
from collections.abc import Callable, Sequence
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
from workqueue.services.bench.drain import TIMEOUT_SECONDS, handlers, open_worker, until_done
from workqueue.services.bench.sandbox import BATCH, PAYLOAD, Sandbox, open_sandbox

JOBS, ROWS = 60_000, 40_000
BUSY, SINGLES = 100_000, 20
SCHEDULED, FAR, LATE_JOBS = 100_000, 1_000_000, 2_000
HOURS = 3600.0
AHEAD_SECONDS, SPREAD_SECONDS = 3.0, 4.0  #: when the jobs are due whose lateness is measured

_LATER = datetime(2100, 1, 1, tzinfo=UTC)
#: Option -> what the job of a number chooses.
CHOICES: dict[str, Callable[[int], JobOptions]] = {
    "timeout": lambda n: JobOptions(timeout=30.0),
    "expires_in": lambda n: JobOptions(expires_at=_LATER),
    "queue": lambda n: JobOptions(queue="low"),
    "unique_key": lambda n: JobOptions(unique_key=f"key {n}"),
    "group (10 groups)": lambda n: JobOptions(group=f"group {n % 10}"),
    "group (10,000 groups)": lambda n: JobOptions(group=f"group {n % 10_000}"),
    "a limit that does not bind": lambda n: JobOptions(),
}
LIMITED = "a limit that does not bind"
WITH = "no-ops with {}, Redis only, concurrency 2"
WITH_ROWS = "no-ops with {}, with rows, concurrency 2"
BESIDE = "a job of one group starts after, beside 100,000 no-ops of another, p95"
LATE = "a job of 100,000 that are scheduled starts after it is due, p95"
PROMOTED = "jobs that are due go to the ready list"
MEMORY = "memory of Redis for a scheduled job"
FAR_MEMORY = "memory of Redis for 1,000,000 jobs that are due in an hour or later, with rows"
MILLION_MEMORY = "memory of Redis for 1,000,000 scheduled jobs, Redis only"
MILLION = "jobs that are due go to the ready list, of 1,000,000"
BROUGHT = "jobs that were far off are brought to Redis, with rows"

FIGURES = [
    *(Figure(WITH.format(name), floor=plain.REDIS.format(2)) for name in CHOICES),
    *(Figure(WITH_ROWS.format(name), floor=plain.WITH_ROWS.format(2)) for name in CHOICES),
    Figure(BESIDE, unit="ms"),
    Figure(LATE, unit="ms", at_most=250),
    Figure(PROMOTED),
    Figure(MEMORY, unit="bytes"),
]
ONCE = [
    Figure(MILLION_MEMORY, unit="MB"),
    Figure(MILLION),
    Figure(FAR_MEMORY, unit="MB", at_most=1),
    Figure(BROUGHT),
]


def measure(servers: Servers) -> dict[str, Sample]:
    return trio.run(_measure, servers)


async def _measure(servers: Servers) -> dict[str, Sample]:
    samples: dict[str, Sample] = {}
    for name in CHOICES:
        samples[WITH.format(name)] = await _drained(servers, None, servers.jobs(JOBS), name)
        samples[WITH_ROWS.format(name)] = await _drained(servers, servers.database_url, servers.jobs(ROWS), name)
    async with open_sandbox(servers.redis_url, None, concurrency=2) as sandbox:
        samples[BESIDE] = await _beside(servers, sandbox)
    async with open_sandbox(servers.redis_url, None, concurrency=100) as sandbox:
        samples |= await _due(servers, sandbox)
    return samples


async def _drained(servers: Servers, database_url: str | None, jobs: int, name: str) -> Sample:
    registry = handlers()
    if name == LIMITED:
        registry.handler("noop", timeout=TIMEOUT_SECONDS, running=100_000)(_noop)
    async with open_sandbox(servers.redis_url, database_url, concurrency=2) as sandbox:
        await _submit(sandbox, [Submission("noop", PAYLOAD, CHOICES[name](n)) for n in range(jobs)])
        async with open_worker(sandbox, registry) as worker:
            rate = await until_done(worker, jobs)
    return Sample(rate.per_second, rate.cpu_us)


async def _noop(job: Job) -> object:
    return None


async def _beside(servers: Servers, sandbox: Sandbox) -> Sample:
    """How long single jobs of one group wait while another group has as many as it likes."""
    registry, started = handlers(), trio.Event()

    @registry.handler("single")
    async def single(job: Job) -> None:
        started.set()

    waits: list[float] = []
    busy = [Submission("noop", PAYLOAD, JobOptions(group="busy"))] * servers.jobs(BUSY)
    await _submit(sandbox, busy)
    async with open_worker(sandbox, registry) as worker:
        for _ in range(SINGLES):
            if worker.counts.done % len(busy) > len(busy) // 2:
                await _submit(sandbox, busy)
            started = trio.Event()
            sent = time.perf_counter()
            await _submit(sandbox, [Submission("single", b"{}", JobOptions(group="single"))])
            await started.wait()
            waits.append(time.perf_counter() - sent)
            await trio.sleep(0.02)
        while (await sandbox.queue.depths()).ready:  # noqa: ASYNC110 - another process could change it
            await trio.sleep(0.05)
    return Sample(sorted(waits)[int(0.95 * len(waits))] * 1000)


async def _submit(sandbox: Sandbox, submissions: Sequence[Submission]) -> None:
    engine = engine_of(sandbox.queue, sandbox.store)
    unique = engine.submit_unique(ttl_seconds=60)
    for begin in range(0, len(submissions), BATCH):
        batch = submissions[begin : begin + BATCH]
        step = engine.submit if batch[0].options.unique_key is None else unique
        for answer in await step.run_batch(batch):
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
    return {
        LATE: Sample(sorted(late)[int(0.95 * len(late))] * 1000),
        PROMOTED: Sample(await _promoted(sandbox, moved)),
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
    return trio.run(_million, servers) | trio.run(_far_off, servers)


async def _million(servers: Servers) -> dict[str, Sample]:
    """Scheduled in Redis: what a million of them take there, and how fast they become ready."""
    count = servers.jobs(FAR)
    async with open_sandbox(servers.redis_url, None, concurrency=2) as sandbox:
        with Redis.from_url(servers.redis_url) as redis:
            before = redis.info("memory")["used_memory"]
            for begin in range(0, count, 50_000):
                await _submit(sandbox, [_after(HOURS)] * min(50_000, count - begin))
            memory = redis.info("memory")["used_memory"] - before
        for begin in range(0, count, 50_000):
            await _submit(sandbox, [_after(0.001)] * min(50_000, count - begin))
        rate = await _promoted(sandbox, count)
    return {MILLION_MEMORY: Sample(memory / 1e6), MILLION: Sample(rate)}


async def _promoted(sandbox: Sandbox, count: int) -> float:
    """How many of so many due jobs become ready in a second."""
    begun, promote = time.perf_counter(), Promote(sandbox.queue)
    while await promote.run_once():
        pass
    return count / (time.perf_counter() - begun)


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
