"""Handlers of your own: `WORKER_HANDLERS=examples.handlers workqueue worker`."""

import hashlib

import trio

from workqueue import Job, PermanentFailure, handler


@handler("fan_out", timeout=30)
async def fan_out(job: Job) -> object:
    """Everything that a handler starts lives inside of its job: the timeout cancels all of it."""
    names = job.payload.get("names")
    if not isinstance(names, list):
        raise PermanentFailure("payload.names: expected a list")  # no retry will help
    lengths: dict[str, int] = {}

    async def measure(name: str) -> None:
        await trio.sleep(0.01)
        lengths[name] = len(name)

    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(measure, str(name))
    return lengths


@handler("checksum", timeout=60)
def checksum(job: Job) -> object:
    """A plain function runs in a thread; it cannot be stopped, so keep it short."""
    text = str(job.payload.get("text", ""))
    return {"sha256": hashlib.sha256(text.encode()).hexdigest()}


@handler("flaky")
async def flaky(job: Job) -> object:
    """Fails until its last attempt: enqueue it with retries to see the backoff."""
    if job.attempt <= job.retries:
        raise RuntimeError(f"run {job.attempt} fails on purpose")
    job.attach("log.txt", f"done in run {job.attempt}\n".encode(), "text/plain")
    return {"runs": job.attempt}
