"""Handlers for worker processes of the tests; each run leaves a line in the file that LEDGER names."""

import ctypes
import os
import signal
import time
from collections.abc import AsyncIterator

import trio

from workqueue import Job, handler
from workqueue.core.queue import LeaseConnection, Queue
from workqueue.core.steps.claim import Claim
from workqueue.core.steps.settle import Settle
from workqueue.services.worker import claiming, upkeep

LEDGER = os.environ.get("LEDGER", os.devnull)


def note(what: str, job: Job) -> None:
    with open(LEDGER, "a", encoding="ascii") as ledger:
        ledger.write(f"{what} {job.id}\n")  # one write of a short line: other processes that write do not break it


@handler("quick")
async def quick(job: Job) -> object:
    note("start", job)
    note("end", job)
    return job.attempt


@handler("quick_thread")
def quick_thread(job: Job) -> object:
    note("end", job)
    return job.attempt


@handler("naps")
async def naps(job: Job) -> object:
    note("start", job)
    seconds = job.payload.get("seconds", 0.1)
    assert isinstance(seconds, int | float)
    await trio.sleep(seconds)
    note("end", job)
    return job.attempt


@handler("stubborn")
async def stubborn(job: Job) -> object:
    note("start", job)
    with trio.CancelScope(shield=True):
        await trio.sleep(3600)
    return None


@handler("thread")
def thread(job: Job) -> object:
    note("start", job)
    time.sleep(60)
    return None


@handler("overstays", timeout=0.2)
def overstays(job: Job) -> object:
    note("start", job)
    time.sleep(60)
    return None


@handler("hogs")
async def hogs(job: Job) -> object:
    """Holds the GIL, as a pathological regular expression does; on its first run alone."""
    note("start", job)
    seconds = job.payload["seconds"]
    assert isinstance(seconds, int | float)
    if job.attempt == 1:
        ctypes.PyDLL(None).usleep(int(seconds * 1_000_000))  # PyDLL: the GIL is kept during the call
    await trio.lowlevel.checkpoint()
    note("end", job)
    return job.attempt


@handler("kills")
async def kills(job: Job) -> object:
    note("start", job)
    os.kill(os.getpid(), signal.SIGKILL)
    await trio.sleep(10)
    return None


@handler("blocks")
async def blocks(job: Job) -> object:
    note("start", job)
    seconds = job.payload.get("seconds", 2)
    assert isinstance(seconds, int | float)
    time.sleep(seconds)  # noqa: ASYNC251 - what no handler should do
    note("end", job)
    return job.attempt


@handler("blocks_in_a_child")
async def blocks_in_a_child(job: Job) -> object:
    note("start", job)

    async def child() -> None:
        time.sleep(2)  # noqa: ASYNC251 - what no handler should do

    async with trio.open_nursery() as nursery:
        nursery.start_soon(child)
    return None


def freeze(service: str) -> None:
    """Stand in for a bug: one service of the worker stops, and nothing else does."""
    setattr(*{
        "claim": (Claim, "run_once", _forever),
        "settle": (Settle, "run_batch", _forever),
        "promote": (Queue, "promote", _forever),
        "renew": (LeaseConnection, "renew", lambda *_: time.sleep(3600)),
    }[service])  # fmt: skip
    # A trip may take 15 s and more before it counts as overdue; a second, or this test would wait for that.
    claiming.TRIP_SECONDS = upkeep.TRIP_SECONDS = 1.0  # type: ignore[attr-defined, attr-defined]


async def _forever(*_: object) -> None:
    await trio.sleep_forever()


@handler("freezes")
async def freezes(job: Job) -> object:
    note("start", job)
    freeze(str(job.payload["service"]))
    return None


async def _numbers() -> AsyncIterator[int]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        yield 1


@handler("leaves_a_nursery")
async def leaves_a_nursery(job: Job) -> object:
    """Its generator is not run to its end, and takes the nursery with it: Trio has no repair for that."""
    note("start", job)
    async for number in _numbers():
        return number
    return None
