"""How long an idle system takes from a push to the start of its handler."""

import time
from math import ceil
from random import Random

import msgspec
import trio
from msgspec import Struct

from workqueue.core.handlers import Registry
from workqueue.core.job import Job
from workqueue.services.bench.drain import Progress, open_worker
from workqueue.services.bench.sandbox import Sandbox

PAUSE_SECONDS = (
    0.004,
    0.012,
)  #: between two jobs: the worker is idle again, and the next push comes at any moment of its waits
START_SECONDS = 30.0  #: a job that has not started by then is an error


class Latencies(Struct, frozen=True):
    """In ms."""

    p50: float
    p99: float


async def latency(sandbox: Sandbox, jobs: int, progress: Progress = lambda done: None) -> Latencies:
    """Submit `jobs` one after the other, each to an idle worker. Raises trio.TooSlowError where one does not start."""
    registry, starts = Registry(), list[float]()
    send, receive = trio.open_memory_channel[None](1)

    @registry.handler("starts", timeout=30)
    async def start(job: Job) -> object:
        starts.append(time.perf_counter())
        send.send_nowait(None)
        return None

    random = Random()  # noqa: S311 - no secret
    waits: list[float] = []
    async with open_worker(sandbox, registry):
        for number in range(jobs):
            await trio.sleep(random.uniform(*PAUSE_SECONDS))
            begun = time.perf_counter()
            await sandbox.submit("starts", 1, msgspec.json.encode({"n": number}))
            with trio.fail_after(START_SECONDS):
                await receive.receive()
            waits.append((starts[-1] - begun) * 1000)
            progress(number + 1)
    return percentiles(waits)


def percentiles(waits: list[float]) -> Latencies:
    """Of at least one wait: the smallest that so many percent do not exceed."""
    ordered = sorted(waits)
    return Latencies(*(ordered[ceil(len(ordered) * share) - 1] for share in (0.5, 0.99)))
