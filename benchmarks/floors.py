"""What the machine can do at best with the same tools: nothing of ours, nothing safe."""

import asyncio
import csv
import shutil
import subprocess
import time
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import msgspec
import trio
from redis.asyncio import Redis
from uuid_utils.compat import uuid7

from benchmarks.results import Figure, Sample
from benchmarks.servers import Servers
from workqueue.core.bridge import open_bridge

BATCH = 500
JOBS = 100_000
TASK = (
    b'{"type":"noop","payload":{"to":"someone@example.com","subject":"Welcome!","body":"a payload of about 100 bytes'
    b' as it comes"},"retries":0,"attempts":0,"job_id":"01234567-89ab-cdef-0123-456789abcdef"}'
)

#: Part of Redis's own packages (Debian: redis-tools), and not of the embedded server's: a floor where it is installed.
TOOL = shutil.which("redis-benchmark") or shutil.which("valkey-benchmark")

TOOL_PUSH = "floor: redis-benchmark, RPUSH of 200 bytes, 500 at a time"
TOOL_POP = "floor: redis-benchmark, LPOP, 500 at a time"
POP = "floor: redis-py pops 500 a call and throws them away"
LOOP = "floor: a bare Trio loop pops 500, decodes, awaits, acknowledges"
ROWS = "floor: asyncpg updates 500 rows twice, pending to processing to completed"
SLEEP = "floor: 20,000 tasks of a bare Trio loop sleep 0.1 s, 1,000 at once"

FIGURES = [
    *([Figure(TOOL_PUSH), Figure(TOOL_POP)] if TOOL else []),
    Figure(POP),
    Figure(LOOP),
    Figure(ROWS),
    Figure(SLEEP),
]


def measure(servers: Servers) -> dict[str, Sample]:
    jobs = servers.jobs(JOBS)
    return (_tool(TOOL, servers.redis_url) if TOOL else {}) | {
        POP: asyncio.run(_pop(servers.redis_url, jobs)),
        LOOP: trio.run(_loop, servers.redis_url, jobs),
        ROWS: asyncio.run(_rows(servers.database_url, jobs)),
        SLEEP: trio.run(_sleep, servers.jobs(20_000)),
    }


def _tool(path: str, url: str) -> dict[str, Sample]:
    """redis-benchmark itself, on a list of its own."""
    at = urlsplit(url)
    # It takes a password as an argument only, which others may read: that of a server that lives for these minutes.
    command = [path, "-h", str(at.hostname), "-p", str(at.port), "-a", at.password or "", "-t", "rpush,lpop",
               "-n", "500000", "-P", "500", "-c", "1", "-d", "200", "--csv"]  # fmt: skip
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    rates = {row["test"]: float(row["rps"]) for row in csv.DictReader(said.splitlines())}
    return {TOOL_PUSH: Sample(rates["RPUSH"]), TOOL_POP: Sample(rates["LPOP"])}


async def _fill(redis: "Redis", jobs: int) -> None:
    for _ in range(0, jobs, BATCH):
        await redis.rpush("bench:floor", *([TASK] * BATCH))


async def _pop(url: str, jobs: int) -> Sample:
    """No lease, no flight, no ack."""
    redis = Redis.from_url(url)
    await _fill(redis, jobs)
    begun, taken = time.perf_counter(), 0
    while found := await redis.lpop("bench:floor", BATCH):
        taken += len(found)
    sample = Sample(taken / (time.perf_counter() - begun))
    await redis.aclose()
    return sample


async def _loop(url: str, jobs: int) -> Sample:
    """No lease, no timeouts, no metrics; a copy of each batch is kept while it runs, as an ack needs."""

    async def noop(payload: object) -> None:
        return None

    async with open_bridge() as bridge:
        redis: Redis = Redis.from_url(url)
        await bridge.run(_fill, redis, jobs)
        decode = msgspec.json.Decoder().decode
        begun, cpu, done = time.perf_counter(), time.process_time(), 0
        lpop: Any = redis.lpop
        while found := await bridge.run(lpop, "bench:floor", BATCH):
            await bridge.run(redis.rpush, "bench:flight", *found)
            for line in found:
                await noop(decode(line)["payload"])
            done += len(found)
            await bridge.run(redis.delete, "bench:flight")
        sample = Sample(done / (time.perf_counter() - begun), (time.process_time() - cpu) / done * 1e6)
        await bridge.run(redis.aclose)
    return sample


async def _rows(dsn: str, jobs: int) -> Sample:
    """Rows as ours in a table with a primary key and no more, on one connection, one batch after the other."""
    connection = await asyncpg.connect(dsn)
    await connection.execute("DROP TABLE IF EXISTS floor")
    await connection.execute(
        "CREATE TABLE floor (id uuid PRIMARY KEY, state text, token uuid, payload text, result text, updated_at"
        " timestamptz) WITH (fillfactor = 45)"
    )
    ids = [uuid7() for _ in range(jobs)]
    fill = "INSERT INTO floor SELECT id, 'pending', NULL, repeat('x', 100) FROM unnest($1::uuid[]) id"
    await connection.execute(fill, ids)
    claim = (
        "UPDATE floor SET state = 'processing', token = $2, updated_at = now()"
        " WHERE id = ANY ($1) AND state = 'pending' RETURNING id"
    )
    finish = (
        "UPDATE floor SET state = 'completed', result = 'null', updated_at = now()"
        " WHERE id = ANY ($1) AND state = 'processing' AND token = $2 RETURNING id"
    )
    token = UUID(int=1)
    begun, cpu = time.perf_counter(), time.process_time()
    for first in range(0, jobs, BATCH):
        batch = ids[first : first + BATCH]
        await connection.fetch(claim, batch, token)
        await connection.fetch(finish, batch, token)
    sample = Sample(jobs / (time.perf_counter() - begun), (time.process_time() - cpu) / jobs * 1e6)
    await connection.execute("DROP TABLE floor")
    await connection.close()
    return sample


async def _sleep(jobs: int) -> Sample:
    left = iter(range(jobs))

    async def consume() -> None:
        for _ in left:
            await trio.sleep(0.1)

    begun = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(1000):
            nursery.start_soon(consume)
    return Sample(jobs / (time.perf_counter() - begun))
