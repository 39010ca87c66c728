"""Handlers for worker processes of the tests; each run leaves a line in the file that LEDGER names."""

import os
import time

import trio

from workqueue import Job, handler

LEDGER = os.environ.get("LEDGER", os.devnull)


def note(what: str, job: Job) -> None:
    with open(LEDGER, "a", encoding="ascii") as ledger:
        ledger.write(f"{what} {job.id}\n")  # one write of a short line: it is whole, whoever writes beside us


@handler("quick")
async def quick(job: Job) -> object:
    note("start", job)
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
