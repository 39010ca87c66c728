"""Mangled connections against services that run; `make fuzz` for as long as one likes, `make test` for seconds.

`python -m tests.http.fuzz --seconds 3600 --seed 1` starts a producer and a worker on servers of its own.
"""

import argparse
import os
import random
import socket
import struct
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random

import httpx
import trio
from msgspec import Struct

from tests.e2e.processes import running
from tests.http.mangle import attempt
from workqueue.services.local.process import free_port
from workqueue.services.local.valkey import run_valkey

CLIENTS = 16
SEND_SECONDS = 2.0
SETTLED_SECONDS = 30.0  #: within which a service holds no more than before
KEPT_MIB = 40  #: what an allocator may keep
KEPT_DESCRIPTORS = 8  #: connections to Redis, which a service opens when it needs one more


class Resources(Struct, frozen=True):
    """By a process."""

    descriptors: int
    mib: float


class Found(Struct):
    """What a run showed. Mutable state: all of it."""

    attempts: int = 0
    probes: int = 0
    slowest_seconds: float = 0.0


def held(pid: int) -> Resources:
    """What a process holds. Linux."""
    pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    return Resources(len(os.listdir(f"/proc/{pid}/fd")), pages * os.sysconf("SC_PAGE_SIZE") / 2**20)


async def fuzz(port: int, *, seed: int, seconds: float, clients: int = CLIENTS) -> Found:
    """Mangled connections to `port` for so long, and a probe beside them. Raises what the probe meets."""
    found = Found()
    async with trio.open_nursery() as nursery:
        for number in range(clients):
            nursery.start_soon(_attack, port, Random(f"{seed}.{number}"), found)
        nursery.start_soon(_probe, port, found)
        await trio.sleep(seconds)
        nursery.cancel_scope.cancel()
    return found


async def _attack(port: int, random: Random, found: Found) -> None:
    while True:
        wanted = attempt(random)
        try:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
        except OSError:
            await trio.sleep(0.01)
            continue
        found.attempts += 1
        async with stream:
            with trio.move_on_after(SEND_SECONDS), suppress(trio.BrokenResourceError):
                for piece in wanted.pieces:
                    await stream.send_all(piece)
                    await trio.sleep(wanted.pause_seconds)
            with trio.move_on_after(wanted.read_seconds), suppress(trio.BrokenResourceError):
                while await stream.receive_some(65536):
                    pass
            if wanted.resets:
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def _probe(port: int, found: Found) -> None:
    while True:
        began = time.monotonic()
        async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
            answer = await client.get(f"http://127.0.0.1:{port}/health")
        assert answer.text == "ok"
        found.probes += 1
        found.slowest_seconds = max(found.slowest_seconds, time.monotonic() - began)
        await trio.sleep(0.1)


async def wait_until_settled(pid: int, before: Resources) -> Resources:
    """What the process holds at last; an AssertionError where it keeps descriptors, or much memory."""
    with trio.move_on_after(SETTLED_SECONDS):
        while not _is_settled(held(pid), before):
            await trio.sleep(0.1)
    now = held(pid)
    assert _is_settled(now, before), f"{before} became {now}: {list(_links(pid))}"
    return now


def _links(pid: int) -> Iterator[str]:
    """What its descriptors lead to; one may be closed meanwhile."""
    for name in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):
            yield os.readlink(f"/proc/{pid}/fd/{name}")


def _is_settled(now: Resources, before: Resources) -> bool:
    return now.descriptors <= before.descriptors + KEPT_DESCRIPTORS and now.mib <= before.mib + KEPT_MIB


class Target(Struct, frozen=True):
    """A service that is attacked."""

    name: str
    port: int
    pid: int


@asynccontextmanager
async def running_services(redis_url: str, queue_name: str) -> AsyncIterator[list[Target]]:
    """A producer and a worker, Redis only."""
    ports = {"producer": free_port(), "worker": free_port()}
    environ = {
        "REDIS_URL": redis_url,
        "QUEUE_NAME": queue_name,
        "PRODUCER_PORT": str(ports["producer"]),
        "WORKER_PORT": str(ports["worker"]),
    }
    async with (
        running(["workqueue.services.cli", "producer"], environ) as producer,
        running(["workqueue.services.cli", "worker"], environ) as worker,
    ):
        await producer.says("Redis answers", seconds=60)
        await worker.says("takes jobs from", seconds=60)
        yield [
            Target("producer", ports["producer"], producer.process.pid),
            Target("worker", ports["worker"], worker.process.pid),
        ]
        for name, process in (("producer", producer), ("worker", worker)):
            assert process.process.poll() is None, f"the {name} has ended: {process.said[-3000:]}"
            assert "Traceback" not in process.said, process.said[-3000:]


async def _main(seconds: float, seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with run_valkey(Path(folder), durable=False) as server, running_services(server.url, "fuzz") as targets:
            for target in targets:
                await fuzz(target.port, seed=-1, seconds=2)  # what a first request brings along is no leak
            before = {target.pid: held(target.pid) for target in targets}
            print(f"seed {seed}, {seconds:g} s:", *targets, sep="\n  ")
            results: dict[str, Found] = {}

            async def attack(target: Target) -> None:
                results[target.name] = await fuzz(target.port, seed=seed, seconds=seconds)

            async with trio.open_nursery() as nursery:
                for target in targets:
                    nursery.start_soon(attack, target)
            for target in targets:
                after = await wait_until_settled(target.pid, before[target.pid])
                print(f"{target.name}: {results[target.name]}\n  before {before[target.pid]}\n  after  {after}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    arguments = parser.parse_args()
    trio.run(_main, arguments.seconds, arguments.seed)
    sys.exit(0)
