"""`workqueue chaos` on servers that are the user's: they are left alone, and nothing is left on them."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from tests.cli.support import environ, workqueue
from tests.support.redis_cli import RedisCli
from tests.support.rows import Psql


@pytest.mark.slow
@pytest.mark.xdist_group("chaos")
async def test_chaos_on_servers_of_the_users_leaves_nothing_behind(redis, redis_url, postgres_dsn, queue, psql: Psql):
    done = workqueue(
        "chaos", "--seed", "5", "--seconds", "8", "--jobs", "200", "--workers", "2", "--pause", "0.7",
        REDIS_URL=redis_url, DATABASE_URL=postgres_dsn,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    assert "seed 5" in done.stderr
    assert "kill" in done.stderr
    assert "good: nothing was lost" in done.stdout
    assert "Redis ()" not in done.stderr, "a server itself was struck"
    await nothing_is_left(redis, queue, psql)


@pytest.mark.slow
@pytest.mark.xdist_group("chaos")
async def test_chaos_that_is_interrupted_ends_what_it_started_and_leaves_nothing_behind(
    redis, redis_url, postgres_dsn, queue, psql: Psql
):
    command = [
        sys.executable,
        "-m",
        "workqueue.services.cli",
        "chaos",
        "--seconds",
        "60",
        "--workers",
        "1",
        "--producers",
        "1",
    ]
    process = await trio.lowlevel.open_process(
        command, env=environ(REDIS_URL=redis_url, DATABASE_URL=postgres_dsn), stderr=subprocess.PIPE
    )
    said = b""
    with trio.fail_after(90):
        assert process.stderr is not None
        while b"accepted;" not in said:
            said += await process.stderr.receive_some()
        pids = children(process.pid)
        assert len(pids) >= 1
        process.send_signal(signal.SIGINT)
        async for piece in process.stderr:
            said += piece
        assert await process.wait() == 1
    assert b"ended before the verdict" in said
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
    await nothing_is_left(redis, queue, psql)


def children(pid: int) -> list[str]:
    """Of all of its threads: each has children of its own."""
    return [child for file in Path(f"/proc/{pid}/task").glob("*/children") for child in file.read_text().split()]


async def nothing_is_left(redis: RedisCli, queue, psql: Psql) -> None:
    assert await redis("KEYS", "*chaos:*") == []
    assert await psql("SELECT FROM pg_namespace WHERE nspname LIKE 'chaos%'") == []


def test_chaos_says_in_one_line_that_there_is_no_redis():
    done = workqueue("chaos", "--seconds", "5", REDIS_URL="redis://127.0.0.1:1", DATABASE_URL="")
    assert done.returncode == 1
    assert "Redis: " in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
