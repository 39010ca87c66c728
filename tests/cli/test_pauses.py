"""`workqueue pause`, `resume` and `paused`, against a real producer."""

import subprocess
from functools import partial

import trio

from tests.cli.support import workqueue
from workqueue.core.queue import Queue
from workqueue.core.store import JobStore


async def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return await trio.to_thread.run_sync(partial(workqueue, *arguments))


async def test_types_are_paused_shown_and_resumed(url: str, store: JobStore, queue: Queue):
    done = await run("paused", "--url", url)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "workqueue: no type is paused\n")
    done = await run("pause", "mail/send", "b", "--url", url)
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        "mail/send  paused  0 set aside\nb  paused  0 set aside\n",
        "",
    )
    assert (await store.pauses.read(queue.name)).types == {"mail/send", "b"}
    done = await run("paused", "--url", url)
    assert done.stdout == "b  0 set aside\nmail/send  0 set aside\n"
    done = await run("resume", "b", "--url", url)
    assert (done.returncode, done.stdout) == (0, "b  resumed  0 set aside\n")
    assert (await store.pauses.read(queue.name)).types == {"mail/send"}


async def test_what_is_wrong_is_one_line(url: str):
    done = await run("pause", "x" * 201, "--url", url)
    assert (done.returncode, done.stderr) == (1, "workqueue: a type has 1 to 200 characters (400)\n")
    done = await run("resume", "--url", url)
    assert (done.returncode, "Missing argument 'TYPE...'" in done.stderr) == (2, True)
    done = await run("pause", "x", "--url", "http://127.0.0.1:1")
    assert done.returncode == 1
    assert done.stderr.startswith("workqueue: no answer from the producer at http://127.0.0.1:1: ")
    assert done.stderr.count("\n") == 1
