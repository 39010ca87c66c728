"""What the driver runs in a Python peer's environment; `peer` is that peer's module.

    python drive.py fill KIND JOBS      enqueue so many jobs, in bulk where the peer can
    python drive.py one SECONDS         enqueue for so long, one call at a time
    python drive.py bulk SECONDS        the same, BATCH jobs a call
    python drive.py latency JOBS GAP    enqueue one job at a time on an idle system
    python drive.py worker              be the worker, until SIGTERM

Each command but the last ends with one line of JSON. Times are CLOCK_MONOTONIC, which all processes of a machine share.
The peer's module is imported and never run itself: some peers name a job after the module of its function.
"""

import asyncio
import inspect
import json
import os
import random
import sys
import time
from typing import Any, Protocol

BATCH = 500
WARM_UP = 3


class Client(Protocol):
    """A peer as its module shows it, by this name. What returns an awaitable is awaited."""

    def connect(self) -> Any:
        """Open what enqueueing needs, tables included."""

    def one(self, kind: str) -> Any:
        """Enqueue one job of a kind: noop, sleep, or stamp."""

    def many(self, kind: str, jobs: int) -> Any:
        """Enqueue up to BATCH jobs at once, the fastest way that the peer documents."""

    def close(self) -> Any:
        """The opposite of connect."""

    def work(self) -> None:
        """Be the worker; may replace this process."""


async def _end(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


async def _fill(client: Client, kind: str, jobs: int) -> dict[str, object]:
    begun = time.monotonic()
    for sent in range(0, jobs, BATCH):
        await _end(client.many(kind, min(BATCH, jobs - sent)))
    return {"jobs": jobs, "seconds": time.monotonic() - begun}


async def _enqueue(client: Client, batch: int, seconds: float) -> dict[str, object]:
    jobs, begun = 0, time.monotonic()
    while (spent := time.monotonic() - begun) < seconds:
        await _end(client.one("noop") if batch == 1 else client.many("noop", batch))
        jobs += batch
    return {"jobs": jobs, "seconds": spent}


async def _latency(client: Client, jobs: int, gap: float) -> dict[str, object]:
    """The gap before each job is drawn anew: a peer that polls must not be met at the same moment each time."""
    pipe = os.open(os.environ["PEER_PIPE"], os.O_RDWR)
    waits: list[float] = []
    for number in range(WARM_UP + jobs):
        time.sleep(random.uniform(gap / 4, gap))  # noqa: ASYNC251 - nothing else runs, under whichever loop
        begun = time.monotonic_ns()
        await _end(client.one("stamp"))
        started = int(os.read(pipe, 64))
        if number >= WARM_UP:  # the first waited for the worker to come up
            waits.append((started - begun) / 1e6)
    return {"ms": waits}


async def _command(client: Client, name: str, arguments: list[str]) -> dict[str, object]:
    await _end(client.connect())
    try:
        if name == "fill":
            return await _fill(client, arguments[0], int(arguments[1]))
        if name == "latency":
            return await _latency(client, int(arguments[0]), float(arguments[1]))
        return await _enqueue(client, {"one": 1, "bulk": BATCH}[name], float(arguments[0]))
    finally:
        await _end(client.close())


def main(name: str, *arguments: str) -> None:
    import peer

    client: Client = peer.Client()
    if name == "worker":
        client.work()
        return
    if hasattr(peer, "run"):  # it does not run on asyncio
        answer = peer.run(_command, client, name, list(arguments))
    else:
        answer = asyncio.run(_command(client, name, list(arguments)))
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
