"""Real worker processes, looked at from outside: latency, how two share, start, stop and memory."""

import http.client
import json
import random
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from redis import Redis
from uuid_utils.compat import uuid7

from benchmarks.processes import end, process, producer, resident_bytes
from benchmarks.results import Figure, Sample
from benchmarks.servers import Servers
from workqueue.core.queue import Keys
from workqueue.core.wire import Task, encode_task
from workqueue.services.bench.latency import percentiles
from workqueue.services.bench.sandbox import PAYLOAD

LATENCIES = 300
SPINS, NOOPS, SHARE_AT = 6000, 120_000, (0.85, 0.15)
SHORT, LONG_SECONDS = 3000, 2.0
MEMORY_FIRST, MEMORY_ALL = 100_000, 1_000_000
WAIT_SECONDS = 120.0

PUSHED = "RPUSH to the start of its handler, {}, {}"
POSTED = "POST /enqueue to the start of its handler, {}, {}"
ONE_SPINS, TWO_SPIN = "jobs of 200 µs CPU, one worker process", "jobs of 200 µs CPU, --processes 2"
ONE_NOOPS, TWO_NOOP = "no-ops, one worker process", "no-ops, --processes 2"
BEHIND = "a short job's longest wait beside a 2 s job, two workers of concurrency 1"
START = "start of `workqueue worker` to its first job"
STOP = "SIGTERM with nothing running, to exit"
IDLE = "memory of an idle worker"
GROWN = "its memory after 1,000,000 jobs, in terms of that after 100,000"

FIGURES = [
    *(
        Figure(name.format(kind, share), "ms", at_most=limit)
        for name, kind, limits in (
            (PUSHED, "Redis only", (2, 5)),
            (PUSHED, "with rows", (3.5, 10)),
            (POSTED, "Redis only", (3.5, None)),
            (POSTED, "with rows", (6, None)),
        )
        for share, limit in zip(("p50", "p99"), limits, strict=True)
    ),
    Figure(ONE_SPINS),
    Figure(TWO_SPIN, floor=ONE_SPINS, share_at_least=1.3),
    Figure(ONE_NOOPS),
    Figure(TWO_NOOP, floor=ONE_NOOPS, share_at_least=0.9),
    Figure(BEHIND, "s", at_most=1.0),
    Figure(START, "s", at_most=1.0),
    Figure(STOP, "s", at_most=0.5),
    Figure(IDLE, "MB", at_most=70),
]
ONCE = [Figure(GROWN, "times", at_most=1.05)]


def measure(servers: Servers) -> dict[str, Sample]:
    samples: dict[str, Sample] = {}
    for kind, rows in (("Redis only", False), ("with rows", True)):
        pushed, posted = _latencies(servers, rows=rows)
        for name, waits in ((PUSHED, pushed), (POSTED, posted)):
            found = percentiles(waits)
            samples[name.format(kind, "p50")], samples[name.format(kind, "p99")] = Sample(found.p50), Sample(found.p99)
    for job_type, jobs, names in (("spins", SPINS, (ONE_SPINS, TWO_SPIN)), ("noop", NOOPS, (ONE_NOOPS, TWO_NOOP))):
        for processes, name in enumerate(names, 1):
            samples[name] = _share(servers, job_type, servers.jobs(jobs), processes)
    samples[BEHIND] = _behind(servers)
    return samples | _life(servers)


def measure_once(servers: Servers) -> dict[str, Sample]:
    environ = servers.environ(rows=False)
    first, last = servers.jobs(MEMORY_FIRST), servers.jobs(MEMORY_ALL)
    with (
        Redis.from_url(servers.redis_url) as redis,
        process("workqueue.services.cli", "worker", environ=environ) as worker,
    ):
        name = environ["QUEUE_NAME"]
        _push(redis, name, "noop", first)
        _until(lambda: _left(redis, name) == 0)
        before = resident_bytes(worker.pid)
        _push(redis, name, "noop", last - first)
        _until(lambda: _left(redis, name) == 0)
        return {GROWN: Sample(resident_bytes(worker.pid) / before)}


# --- latency


def _latencies(servers: Servers, *, rows: bool) -> tuple[list[float], list[float]]:
    """In ms: by RPUSH and by POST /enqueue, one job after the other."""
    with tempfile.TemporaryDirectory(prefix="workqueue-bench-") as folder:
        file = Path(folder) / "starts"
        environ = servers.environ(rows=rows, BENCH_STARTS=str(file))
        with (
            Redis.from_url(servers.redis_url) as redis,
            producer(environ) as (port, _),
            process("workqueue.services.cli", "worker", environ=environ),
        ):
            starts = Starts(file)
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_SECONDS)
            pushed = starts.waits(lambda n: redis.rpush(environ["QUEUE_NAME"], _numbered(n)), 0)
            posted = starts.waits(lambda n: _post(connection, _numbered(n)), LATENCIES + 10)
            connection.close()
    return pushed, posted


def _post(connection: http.client.HTTPConnection, body: bytes) -> None:
    connection.request("POST", "/enqueue", body)
    answer = connection.getresponse()
    answer.read()
    if answer.status != 200:
        raise RuntimeError(f"not accepted: {answer.status}")


def _numbered(n: int) -> bytes:
    return json.dumps({"type": "starts", "payload": {"n": n}}).encode()


class Starts:
    """The file in which `starts` leaves its moments. Mutable state: what was read so far."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._times: dict[int, float] = {}

    def waits(self, submit: Callable[[int], object], first: int) -> list[float]:
        """Submit jobs numbered from `first` on, each once the one before has started; their waits in ms.

        The first ten are not counted: connections are being opened.
        """
        waits = []
        for n in range(first, first + LATENCIES + 10):
            time.sleep(random.uniform(0.004, 0.012))
            begun = time.monotonic()
            submit(n)
            waits.append((self.of(n) - begun) * 1000)
        return waits[10:]

    def of(self, n: int) -> float:
        """When job `n` started."""
        _until(lambda: self._has(n), pause=0.001)
        return self._times[n]

    def _has(self, n: int) -> bool:
        if n not in self._times:
            with suppress(FileNotFoundError):
                text = self._path.read_text()
                lines = text[: text.rfind("\n") + 1].splitlines()[len(self._times) :]  # a line may be half written
                self._times |= {int(number): float(at) for number, at in map(str.split, lines)}
        return n in self._times


# --- several


def _share(servers: Servers, job_type: str, jobs: int, processes: int) -> Sample:
    """The rate while the list shrinks from 85 % to 15 %: neither the start nor the end is in it."""
    environ = servers.environ(rows=False)
    name = environ["QUEUE_NAME"]
    with Redis.from_url(servers.redis_url) as redis:
        _push(redis, name, job_type, jobs)
        arguments = ["--processes", str(processes)] if processes > 1 else []
        with process("workqueue.services.cli", "worker", *arguments, environ=environ):
            high, low = (round(jobs * share) for share in SHARE_AT)
            at_high = _until(lambda: _left(redis, name) <= high)
            at_low = _until(lambda: _left(redis, name) <= low)
    return Sample((high - low) / (at_low - at_high))


def _behind(servers: Servers) -> Sample:
    """Short jobs, a long one among them: its worker must not keep the jobs that it had claimed behind it."""
    with tempfile.TemporaryDirectory(prefix="workqueue-bench-") as folder, Redis.from_url(servers.redis_url) as redis:
        file = Path(folder) / "starts"
        environ = servers.environ(rows=False, BENCH_STARTS=str(file), WORKER_CONCURRENCY="1")
        worker = ("workqueue.services.cli", "worker")
        with process(*worker, environ=environ), process(*worker, environ=environ):
            leases = Keys(environ["QUEUE_NAME"]).leases
            _until(lambda: redis.zcard(leases) == 2)
            tasks = [_numbered(n) for n in range(SHORT)]
            tasks.insert(SHORT // 2, json.dumps({"type": "sleeps", "payload": {"seconds": LONG_SECONDS}}).encode())
            begun = time.monotonic()
            redis.rpush(environ["QUEUE_NAME"], *tasks)
            starts = Starts(file)
            return Sample(max(starts.of(n) for n in range(SHORT)) - begun)


def _life(servers: Servers) -> dict[str, Sample]:
    with tempfile.TemporaryDirectory(prefix="workqueue-bench-") as folder, Redis.from_url(servers.redis_url) as redis:
        file = Path(folder) / "starts"
        environ = servers.environ(rows=False, BENCH_STARTS=str(file))
        redis.rpush(environ["QUEUE_NAME"], _numbered(0))
        begun = time.monotonic()
        with process("workqueue.services.cli", "worker", environ=environ) as worker:
            started = Starts(file).of(0) - begun
            time.sleep(2)  # idle: everything that is imported late is there
            memory = resident_bytes(worker.pid)
            stopped = end(worker)
    return {START: Sample(started), STOP: Sample(stopped), IDLE: Sample(memory / 1e6)}


def _push(redis: "Redis", name: str, job_type: str, jobs: int) -> None:
    for begin in range(0, jobs, 5000):
        tasks = [encode_task(Task(job_type, PAYLOAD, job_id=uuid7())) for _ in range(min(5000, jobs - begin))]
        redis.rpush(name, *tasks)


def _left(redis: "Redis", name: str) -> int:
    return int(redis.llen(name)) + int(redis.llen(Keys(name).front))


def _until(is_so: Callable[[], bool], *, pause: float = 0.003) -> float:
    """When it was seen to be so. Raises TimeoutError."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not so after {WAIT_SECONDS:g} s")
        time.sleep(pause)
    return time.monotonic()
