"""`workqueue bench` on servers that are the user's: it says what it measured, and leaves nothing behind."""

import signal
import subprocess
import sys

import pytest
import trio

from tests.cli.support import environ, workqueue
from tests.support.rows import Psql
from workqueue.core.errors import EnqueueFailed, QueueUnavailable
from workqueue.core.queue import Queue
from workqueue.services.bench.sandbox import open_sandbox

SCHEMAS = "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'bench%'"


@pytest.mark.parametrize("more", [(), ("--redis-only",)])
async def test_bench_prints_its_figures_and_leaves_nothing_behind(
    redis, redis_url, postgres_dsn, queue, psql: Psql, more
):
    done = workqueue(
        "bench", "--jobs", "1000", "--latencies", "10", *more, REDIS_URL=redis_url, DATABASE_URL=postgres_dsn
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stderr == "", "standard error is no terminal: no progress"
    figures = {line.split()[0]: line.split()[1] for line in done.stdout.splitlines() if line[:1].isalpha()}
    assert float(figures["submit"].replace(",", "")) > 0
    assert float(figures["drain"].replace(",", "")) > 0
    assert float(figures["latency"]) > 0
    assert ("none:" in done.stdout) == bool(more)
    assert await psql(SCHEMAS) == []
    assert list(await redis("KEYS", "*bench*")) == []


async def test_bench_that_is_interrupted_leaves_nothing_behind(redis, redis_url, postgres_dsn, queue, psql: Psql):
    command = [sys.executable, "-m", "workqueue.services.cli", "bench", "--latencies", "100000", "--jobs", "1000"]
    process = await trio.lowlevel.open_process(
        command, env=environ(REDIS_URL=redis_url, DATABASE_URL=postgres_dsn), stderr=subprocess.PIPE
    )
    with trio.fail_after(60):
        while not await psql(SCHEMAS):
            await trio.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        said = b"".join([piece async for piece in process.stderr])
        assert await process.wait() == 1
    assert b"interrupted; what the measurement had made is removed" in said
    assert b"Traceback" not in said
    assert await psql(SCHEMAS) == []
    assert list(await redis("KEYS", "*bench*")) == []


def test_bench_says_what_is_missing():
    done = workqueue("bench", REDIS_URL="redis://127.0.0.1:1")
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "127.0.0.1:1" in line
    assert workqueue("bench", "--jobs", "10").returncode == 2


async def test_a_refused_job_ends_the_measurement(redis_url, monkeypatch):
    async def away(self, tasks) -> None:
        raise QueueUnavailable("Redis: away")

    async with open_sandbox(redis_url, None, concurrency=2) as sandbox:
        monkeypatch.setattr(Queue, "push", away)
        with pytest.raises(EnqueueFailed, match="away"):
            await sandbox.submit("noop", 10)
