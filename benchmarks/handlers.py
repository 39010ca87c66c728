"""What the jobs of worker processes under measurement do; `starts` leaves the moment in a file."""

import os
import time

import trio

from workqueue import Job, handler

_starts = os.open(os.environ.get("BENCH_STARTS", os.devnull), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


@handler("noop", timeout=30)
async def noop(job: Job) -> object:
    return None


@handler("starts", timeout=30)
async def starts(job: Job) -> object:
    os.write(_starts, f"{job.payload['n']} {time.monotonic():.6f}\n".encode())
    return None


@handler("spins", timeout=30)
async def spins(job: Job) -> object:
    """200 us of a processor."""
    end = time.thread_time() + 200e-6
    while time.thread_time() < end:
        pass
    return None


@handler("sleeps", timeout=30)
async def sleeps(job: Job) -> object:
    await trio.sleep(float(str(job.payload["seconds"])))
    return None
