"""A producer and a worker under everything that hostile clients and a strict Redis can do, for as long as one likes.

`python -m tests.soak --seconds 1800 --seed 1` (`make soak`): mangled connections and clients that do not read at both
services, a Redis that refuses one kind of command after the other to their user, jobs enqueued all the while, and one
job that runs from the beginning to the end. At the end both processes must be the ones that were started, hold no more
than before, and every accepted job must have completed, the long one in its first run.
"""

import argparse
import random
import secrets
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import httpx
import trio
from msgspec import Struct

from tests.e2e.processes import RunningProcess, running
from tests.http.fuzz import Found, fuzz, held, wait_until_settled
from workqueue.core.bridge import open_bridge
from workqueue.core.queue import open_queue
from workqueue.services.local.postgres import run_postgres
from workqueue.services.local.process import free_port
from workqueue.services.local.valkey import run_valkey

NON_READERS = 10
HOLD_SECONDS = 20.0
REFUSAL_SECONDS = 5.0  #: how long a right is missing, and then there again
JOBS_PER_SECOND = 20
DRAIN_SECONDS = 120.0
USER = "services"
#: Taken away from the services' user one after the other.
RIGHTS = ("-info", "-eval -evalsha", "-@write", "-blmove", "-time", "-zrange", "-@all", "resetkeys", "-@scripting",
          "-lpush -rpush", "-hgetall -hkeys", "-get -set")  # fmt: skip
WHOLE = "~* &* +@all"


class Seen(Struct):
    """What came of it. Mutable state: all of it."""

    accepted: list[str] = []
    refused: int = 0
    refusals: int = 0  #: rights that were taken away
    fuzzed: dict[str, Found] = {}


async def soak(seconds: float, seed: int) -> None:
    random_ = Random(seed)
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        ports = {"producer": free_port(), "worker": free_port()}
        password = secrets.token_urlsafe(12)
        async with (
            run_valkey(folder / "valkey", durable=False) as valkey,
            run_postgres(folder / "postgres", durable=False) as postgres,
            open_bridge() as bridge,
            open_queue(bridge, valkey.url, "soak") as operator,
        ):

            async def allow(rules: str) -> None:
                await operator._command("ACL", "SETUSER", USER, *rules.split())

            await allow(f"reset on >{password} {WHOLE}")
            environ = {
                "REDIS_URL": f"redis://{USER}:{password}@127.0.0.1:{valkey.port}", "DATABASE_URL": postgres.url,
                "QUEUE_NAME": "soak", "PRODUCER_PORT": str(ports["producer"]), "WORKER_PORT": str(ports["worker"]),
                "WORKER_HANDLERS": "tests.worker.ledger_handlers", "WORKER_CONCURRENCY": "10",
            }  # fmt: skip
            async with (
                running(["workqueue.services.cli", "producer"], environ) as producer,
                running(["workqueue.services.cli", "worker"], environ) as worker,
            ):
                await producer.says("Redis answers", seconds=60)
                await worker.says("takes jobs from", seconds=60)
                targets = {"producer": producer, "worker": worker}
                await _run(seconds, seed, random_, ports, targets, allow)


async def _run(
    seconds: float,
    seed: int,
    random_: Random,
    ports: dict[str, int],
    targets: dict[str, RunningProcess],
    allow: Callable[[str], Awaitable[None]],
) -> None:
    seen = Seen()
    base = f"http://127.0.0.1:{ports['producer']}"
    async with httpx.AsyncClient(base_url=base, timeout=30, trust_env=False) as client:
        for port in ports.values():
            await fuzz(port, seed=-1, seconds=2)  # what a first request brings along is no leak
        before = {name: held(target.process.pid) for name, target in targets.items()}
        body = {"type": "naps", "payload": {"seconds": seconds}}
        through_it_all = (await client.post("/enqueue", json=body)).json()["job_id"]
        async with trio.open_nursery() as nursery:
            for name, port in ports.items():
                nursery.start_soon(_fuzz, name, port, seed, seconds, seen)
                nursery.start_soon(_do_not_read, port)
            nursery.start_soon(_refuse, allow, random_, seen)
            nursery.start_soon(_enqueue, client, seen)
            ends = trio.current_time() + seconds
            while (left := ends - trio.current_time()) > 0:
                await trio.sleep(min(60.0, left))
                _alive(targets)
                print(
                    f"{len(seen.accepted)} accepted, {seen.refused} refused, {seen.refusals} rights taken", flush=True
                )
            nursery.cancel_scope.cancel()
        await allow(WHOLE)
        await _all_completed(client, [*seen.accepted, through_it_all])
        job = (await client.get(f"/api/jobs/{through_it_all}")).json()
        assert [run["outcome"] for run in job["runs"]] == ["completed"], job
        _alive(targets)
        for name, target in targets.items():
            after = await wait_until_settled(target.process.pid, before[name])
            print(f"{name}: {seen.fuzzed.get(name)}\n  before {before[name]}\n  after  {after}", flush=True)
        print(f"good: {len(seen.accepted)} accepted and completed, {seen.refused} refused", flush=True)


def _alive(targets: dict[str, RunningProcess]) -> None:
    for name, target in targets.items():
        assert target.process.poll() is None, f"the {name} has ended: {target.said[-5000:]}"
        assert "Traceback" not in target.said, f"the {name} said: {target.said[-5000:]}"


async def _fuzz(name: str, port: int, seed: int, seconds: float, seen: Seen) -> None:
    seen.fuzzed[name] = await fuzz(port, seed=seed, seconds=seconds - 1, clients=6)


async def _do_not_read(port: int) -> None:
    async def one() -> None:
        while True:
            with suppress(OSError, trio.BrokenResourceError):
                async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                    with trio.move_on_after(2):
                        await stream.send_all(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1000)
                    await trio.sleep(HOLD_SECONDS)
            await trio.sleep(0.2)

    async with trio.open_nursery() as nursery:
        for _ in range(NON_READERS):
            nursery.start_soon(one)


async def _refuse(allow: Callable[[str], Awaitable[None]], random_: Random, seen: Seen) -> None:
    while True:
        await trio.sleep(REFUSAL_SECONDS)
        await allow(random_.choice(RIGHTS))
        seen.refusals += 1
        await trio.sleep(REFUSAL_SECONDS)
        await allow(WHOLE)


async def _enqueue(client: httpx.AsyncClient, seen: Seen) -> None:
    while True:
        try:
            answer: Any = await client.post("/enqueue", json={"type": "quick"})
        except httpx.TransportError:
            answer = None
        if answer is not None and answer.status_code == 200:
            seen.accepted.append(answer.json()["job_id"])
        else:
            seen.refused += 1
        await trio.sleep(1 / JOBS_PER_SECOND)


async def _all_completed(client: httpx.AsyncClient, ids: list[str]) -> None:
    left = set(ids)
    with trio.move_on_after(DRAIN_SECONDS):
        while left:
            for job_id in list(left)[:200]:
                answer = await client.get(f"/api/jobs/{job_id}")
                if answer.status_code == 200 and answer.json()["status"] == "completed":
                    left.discard(job_id)
            await trio.sleep(0.2)
    assert not left, f"{len(left)} accepted jobs have not completed: {sorted(left)[:5]}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1800)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}, {arguments.seconds:g} s", flush=True)
    trio.run(soak, arguments.seconds, arguments.seed)
    sys.exit(0)
