"""What the jobs of a chaos run do: each run leaves lines in a file that no part of the system looks at (ledger.py).

A worker gets this module by WORKER_HANDLERS, and the file by WORKQUEUE_CHAOS_LEDGER.
"""

import os
import threading
import time

import trio

from workqueue import Job, every, handler, periodic
from workqueue.services.chaos.limits import NAPS_RUNNING
from workqueue.services.chaos.schedules import EVERY_SECONDS, NAME, SWITCH, TYPE

LOOK_SECONDS = 0.1
ASLEEP_SECONDS = 0.5  #: a gap this long between two looks, 0.1 s apart: the process was stopped as a whole

_path = os.environ.get("WORKQUEUE_CHAOS_LEDGER")
_file = os.open(_path or os.devnull, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def note(what: str, job: Job) -> None:
    """One write of a short line: it is whole beside other writers, and stays when this process is killed."""
    os.write(_file, f"{what} {time.monotonic():.6f} {os.getpid()} {job.payload['n']} {job.attempt}\n".encode())


def _watch() -> None:
    """Record when this process did not run: stopped, or without a processor on a busy machine."""
    last = time.monotonic()
    while True:
        time.sleep(LOOK_SECONDS)
        now = time.monotonic()
        if now - last > ASLEEP_SECONDS:
            os.write(_file, f"asleep {last:.6f} {os.getpid()} {now:.6f}\n".encode())
        last = now


if _path:
    threading.Thread(target=_watch, name="chaos watch", daemon=True).start()


@handler("chaos.quick")
async def quick(job: Job) -> object:
    note("start", job)
    note("end", job)
    return job.payload["n"]


@handler("chaos.naps", running=NAPS_RUNNING)
async def naps(job: Job) -> object:
    note("start", job)
    try:
        await trio.sleep(float(str(job.payload["seconds"])))
    except trio.Cancelled:
        note("cut", job)
        raise
    note("end", job)
    return job.payload["n"]


@handler("chaos.fails")
async def fails(job: Job) -> object:
    """Fails as often as its payload says; only the number of the run tells how often it has."""
    note("start", job)
    if job.attempt <= int(str(job.payload["failures"])):
        note("fail", job)
        raise RuntimeError("as asked")
    note("end", job)
    return job.payload["n"]


@handler(TYPE)
async def tick(job: Job) -> None:
    """Its due times stand in its rows."""


if os.environ.get(SWITCH):
    periodic(every(seconds=EVERY_SECONDS), name=NAME, missed="all")(tick)


@handler("chaos.thread")
def thread(job: Job) -> object:
    note("start", job)
    time.sleep(float(str(job.payload["seconds"])))
    note("end", job)
    return job.payload["n"]
