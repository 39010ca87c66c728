"""`workqueue workers`: its table, and what it asks of workers at a real producer."""

import json
from functools import partial
from uuid import uuid4

import pytest
import trio

from tests.cli.support import Terminal, workqueue
from tests.producer.published import PUBLISHED, publish
from tests.support.wait import until_true
from workqueue.core.gone import Became as GoneBecame
from workqueue.core.gone import Gone, write_gone
from workqueue.core.queue import Queue
from workqueue.services.cli.workers import Became, Worker, table

SAID = json.dumps(PUBLISHED).encode()


async def run(*arguments: str):
    return await trio.to_thread.run_sync(partial(workqueue, "workers", *arguments))


def test_a_table_fits_into_eighty_columns_and_says_what_became_of_jobs():
    lines = list(
        table(
            [
                Worker(id="0a1b2c3d-1", name="box-1.4711", version="0.2.0", state="working", asked="quiet",
                       concurrency=10, running=[1, 2], jobs_done=123456, jobs_failed=3, seen_seconds_ago=2.1),
                Worker(id="0a1b2c3d-2", name="box-1.4712", version="0.2.0", state="gone", jobs_done=5,
                       seen_seconds_ago=600, became=Became(3, 0, 1)),
                Worker(id="0a1b2c3d-3", name="box-1.4713", version="0.2.0", state="stopped", became=Became()),
            ]
        )
    )  # fmt: skip
    assert lines == [
        "ID          NAME        STATE      VERSION  RUNNING      DONE  FAILED    SEEN",
        "0a1b2c3d-1  box-1.4711  working    0.2.0       2/10   123,456       3     2 s  asked to be quiet",
        "0a1b2c3d-2  box-1.4712  gone       0.2.0          -         5       0  10 min  3 given back, 1 cancelled",
        "0a1b2c3d-3  box-1.4713  stopped    0.2.0          -         0       0     0 s  had no jobs left",
    ]
    assert len(lines[0]) <= 80


def test_a_worker_of_another_release_and_an_odd_name():
    [_, line] = table([Worker(id="x", name="a\x1b[31m\n")])
    assert line.isprintable()
    assert list(table([])) == []


async def test_workers_are_listed_and_asked_by_the_beginning_of_their_ids(url, queue: Queue):
    done = await run("--url", url)
    assert (done.returncode, done.stdout) == (0, "there are no workers: start one with `workqueue worker`\n")
    one, other, ended = [await publish(queue, SAID) for _ in range(3)]
    await queue.end(ended)
    await queue.retire(ended, write_gone(Gone(ended, True, GoneBecame(given_back=2), SAID.decode())))
    done = await run("--url", url)
    assert done.returncode == 0, done.stderr
    assert [line.split()[2] for line in done.stdout.splitlines()] == ["STATE", "working", "working", "stopped"]
    assert "2 given back" in done.stdout
    done = await run("--json", "--url", url)
    assert {json.loads(line)["id"] for line in done.stdout.splitlines()} == {str(one), str(other), str(ended)}

    done = await run("quiet", str(one)[:13].upper(), "--url", url)
    assert (done.returncode, done.stdout) == (0, f"{one}  host.7  is asked to be quiet\n"), done.stderr
    done = await run("--url", url, "resume", str(one))
    assert done.stdout == f"{one}  host.7  is working\n"
    assert await queue.asked([one, other]) == {one: "resume"}
    done = await run("stop", str(ended), "", str(other)[:13], "--url", url)
    assert (done.returncode, done.stdout) == (1, f"{other}  host.7  is asked to stop\n")
    assert done.stderr.splitlines() == [f"{ended}  worker not found", "  2 workers have ids that begin so"]
    assert (await queue.asked([other])) == {other: "stop"}


async def test_what_could_be_two_is_none(url, queue: Queue, monkeypatch: pytest.MonkeyPatch):
    same = uuid4()
    for number in range(2):
        lease = str(same)[:-1] + f"{number}"
        seconds, _ = await queue._command("TIME")
        await queue._command("ZADD", queue.keys.leases, int(seconds) * 1000, lease)
        await queue._command("HSET", queue.keys.workers, lease, SAID)
    done = await run("stop", str(same)[:8], "--url", url)
    assert (done.returncode, done.stderr) == (1, f"{str(same)[:8]}  2 workers have ids that begin so\n")
    done = await run("--url", url)
    assert [len(line.split()[0]) for line in done.stdout.splitlines()[1:]] == [36, 36]


async def test_on_a_terminal_it_has_its_width(url, queue: Queue):
    await publish(queue, json.dumps(PUBLISHED | {"name": "x" * 60}).encode())
    with Terminal("workers", "--url", url) as terminal:
        await until_true(terminal.has_ended, seconds=60)
        assert "…" in terminal.said


def test_a_producer_that_is_away_is_one_line():
    done = workqueue("workers", "quiet", "x", "--url", "http://127.0.0.1:9")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("workqueue: no answer from the producer at http://127.0.0.1:9: ")
    assert workqueue("workers", "quiet").returncode == 2
