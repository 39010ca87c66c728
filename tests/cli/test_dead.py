"""`workqueue dead` against a real producer."""

import json
import os
from functools import partial

import pytest
import trio

from tests.cli.support import Terminal, workqueue
from tests.producer.serving import serving
from tests.support.wait import until_true
from workqueue.core.dead_letter import dead_letter, dead_letter_id

ENTRY = b'{"reason":"E: %b","at":"2026-11-29T12:00:00Z","task":"{\\"type\\":\\"%b\\"}"}'
FOREIGN = b"\xff\nforeign"


async def run(*arguments: str):
    return await trio.to_thread.run_sync(partial(workqueue, "dead", *arguments))


async def put(redis, queue, *entries: bytes) -> list[str]:
    await redis("RPUSH", queue.keys.dead, *entries)
    return [dead_letter_id(entry) for entry in entries]


@pytest.fixture
async def url(redis_url, queue_name):
    """Of a producer without rows: there a failed job is a dead letter."""
    async with serving({"REDIS_URL": redis_url, "QUEUE_NAME": queue_name}) as client:
        yield str(client.base_url)


async def test_they_are_listed_newest_first(url, redis, queue):
    done = await run("--url", url)
    assert (done.returncode, done.stdout, done.stderr) == (0, "there are no dead letters\n", "")
    first, second, third = await put(redis, queue, ENTRY % (b"x", b"a"), ENTRY % (b"y\\n" + b"z" * 200, b"b"), FOREIGN)
    done = await run("--url", url)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "ID                AT                    TYPE                  REASON",
        f"{third}  -                     -                     no entry of ours: another program has put it there",
        f"{second}  2026-11-29T12:00:00Z  b                     E: y\\x0a" + "z" * 200,
        f"{first}  2026-11-29T12:00:00Z  a                     E: x",
    ]
    done = await run("--limit", "1", "--url", url)
    assert (done.stdout.count("\n"), done.stderr) == (2, "the newest 1 of 3: --limit shows more\n")


async def test_each_is_a_line_of_json_on_request(url, redis, queue):
    ids = await put(redis, queue, *[ENTRY % (b"x", b"%d" % number) for number in range(501)])
    done = await run("--json", "--limit", "10000", "--url", url)
    assert (done.returncode, done.stderr) == (0, "")
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == ids[::-1]


async def test_one_is_shown_whole(url, redis, queue):
    task = b'{"type":"a","payload":{"text":"%b"}}' % (b"x" * 10_000)
    [named] = await put(redis, queue, dead_letter(task, "E: x"))
    for arguments in (["show", named, "--url", url], ["--url", url, "show", named]):
        done = await run(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout)["task"] == task.decode()
    done = await run("show", "0" * 16, "--url", url)
    assert (done.returncode, done.stderr) == (1, f"workqueue: {'0' * 16}  dead letter not found (404)\n")


async def test_each_that_is_named_is_answered(url, redis, queue):
    ids = await put(redis, queue, ENTRY % (b"x", b"a"), ENTRY % (b"x", b"b"), FOREIGN, ENTRY % (b"x", b"c"))
    done = await run("retry", *ids[:3], "0" * 16, "--url", url)
    assert done.returncode == 1
    assert done.stdout == f"{ids[0]}  retried\n{ids[1]}  retried\n"
    why, missing = done.stderr.splitlines()
    assert why.startswith(f"{ids[2]}  not UTF-8")
    assert missing == f"{'0' * 16}  dead letter not found"
    assert len(await redis.list(queue.name)) == 2
    done = await run("delete", *ids[2:], "--url", url)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{ids[2]}  deleted\n{ids[3]}  deleted\n", "")
    assert await redis.list(queue.keys.dead) == []


async def test_all_are_retried_and_deleted(url, redis, queue):
    await put(redis, queue, *[ENTRY % (b"x", b"%d" % number) for number in range(1200)], FOREIGN)
    done = await run("retry", "--all", "--yes", "--url", url)
    assert (done.returncode, done.stdout) == (1, "1,200 retried\n")
    assert done.stderr.startswith(f"{dead_letter_id(FOREIGN)}  not UTF-8")
    done = await run("delete", "--all", "--yes", "--url", url)
    assert (done.returncode, done.stdout, done.stderr) == (0, "1 deleted\n", "")
    assert len(await redis.list(queue.name)) == 1200


@pytest.mark.parametrize(("said", "status", "stays"), [(b"y\n", 0, 0), (b"n\n", 1, 2), (b"\x04", 1, 2)])
async def test_on_a_terminal_it_is_asked_whether_all_are_meant(url, redis, queue, said: bytes, status, stays):
    await put(redis, queue, ENTRY % (b"x", b"a"), ENTRY % (b"x", b"b"))
    with Terminal("dead", "delete", "--all", "--url", url) as terminal:
        await until_true(lambda: "Delete 2 dead letters? [y/N]: " in terminal.said, seconds=30)
        os.write(terminal._ours, said)
        await until_true(terminal.has_ended, seconds=30)
        assert terminal.process.returncode == status, terminal.said
    assert len(await redis.list(queue.keys.dead)) == stays


async def test_on_a_terminal_a_line_is_as_long_as_it_is_wide(url, redis, queue):
    await put(redis, queue, ENTRY % (b"x" * 200, b"a"))
    with Terminal("dead", "--url", url) as terminal:
        await until_true(terminal.has_ended, seconds=30)
        assert max(map(len, terminal.said.splitlines())) == 80
        assert terminal.said.splitlines()[1].endswith("xx…")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["retry"], "Name one ID or more, or --all."),
        (["delete", "0" * 16, "--all", "--yes"], "Name one ID or more, or --all."),
        (["delete", "--all"], "where there is no terminal, say --yes"),
        (["retry", "x"], "`workqueue dead` lists them"),
        (["show", "../../enqueue"], "`workqueue dead` lists them"),
        (["--limit", "0"], "0 is not in the range"),
    ],
)
def test_wrong_usage_is_refused_without_a_request(arguments: list[str], said: str):
    done = workqueue("dead", *arguments, PRODUCER_PORT="9")
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())


@pytest.mark.parametrize("arguments", [[], ["show", "0" * 16], ["retry", "0" * 16], ["delete", "--all", "--yes"]])
def test_a_producer_that_is_away_is_one_line(arguments: list[str]):
    done = workqueue("dead", "--url", "http://127.0.0.1:9", *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("workqueue: no answer from the producer at http://127.0.0.1:9: ")
    assert len(done.stderr.splitlines()) == 1


def test_the_help_of_each_command_fits_a_terminal():
    for command in ("show", "retry", "delete"):
        done = workqueue("dead", command, "--help", COLUMNS="80", TERMINAL_WIDTH="80")
        assert done.returncode == 0
        assert max(map(len, done.stdout.splitlines())) <= 80
