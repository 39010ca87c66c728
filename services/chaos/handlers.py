"""What the jobs of a chaos run do: each run leaves lines in a file that no part of the system looks at.

A worker gets this module by WORKER_HANDLERS, and the file by WORKQUEUE_CHAOS_LEDGER.
"""

import os
import time

import trio

from workqueue import Job, handler

_file = os.open(os.environ.get("WORKQUEUE_CHAOS_LEDGER", os.devnull), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def note(what: str, job: Job) -> None:
    """One write of a short line: it is whole, whoever writes beside us, and stays when we are killed."""
    os.write(_file, f"{what} {job.payload['n']} {time.time():.6f} {os.getpid()}\n".encode())


@handler("chaos.quick")
async def quick(job: Job) -> object:
    note("start", job)
    note("end", job)
    return job.payload["n"]


@handler("chaos.naps")
async def naps(job: Job) -> object:
    note("start", job)
    await trio.sleep(float(str(job.payload["seconds"])))
    note("end", job)
    return job.payload["n"]


@handler("chaos.fails")
async def fails(job: Job) -> object:
    """Fails as often as its payload says; how often it did so far stands in nothing but the number of this run."""
    note("start", job)
    if job.attempt <= int(str(job.payload["failures"])):
        note("fail", job)
        raise RuntimeError("as asked")
    note("end", job)
    return job.payload["n"]


@handler("chaos.thread")
def thread(job: Job) -> object:
    note("start", job)
    time.sleep(float(str(job.payload["seconds"])))
    note("end", job)
    return job.payload["n"]
