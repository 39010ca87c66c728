"""`workqueue logs` against a real producer."""

import subprocess
import sys
from functools import partial
from uuid import UUID, uuid4

import pytest
import trio

from tests.cli.support import enqueue, environ, workqueue
from workqueue.core.report import JobReport, LogLine
from workqueue.core.store import JobStore

BEGIN = 1_764_385_200_123_456  # 2025-11-29T03:00:00.123456Z


async def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return await trio.to_thread.run_sync(partial(workqueue, *arguments))


async def log(store: JobStore, job_id: str, *texts: str, begin: int = BEGIN) -> None:
    lines = [LogLine(begin + number, text) for number, text in enumerate(texts)]
    await store.reports.write([JobReport(UUID(job_id), uuid4(), 1, None, lines, trims=False)])


async def test_the_lines_are_printed_with_their_time(url, store: JobStore):
    job_id = (await enqueue("a", "--url", url)).stdout.strip()
    done = await run("logs", job_id, "--url", url)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    await log(store, job_id, "page 1", "page 2\x1b[31m")
    done = await run("logs", job_id, "--url", url)
    assert done.stdout.splitlines()[0] == "2025-11-29T03:00:00.123Z  page 1"
    assert "\x1b" not in done.stdout


async def test_a_job_is_followed_to_its_end(url, store: JobStore, psql):
    job_id = (await enqueue("a", "--url", url)).stdout.strip()
    await log(store, job_id, "one")
    command = [sys.executable, "-m", "workqueue.services.cli", "logs", job_id, "--follow", "--url", url]
    process = await trio.lowlevel.open_process(command, env=environ(), stdout=subprocess.PIPE)
    assert process.stdout is not None
    with trio.fail_after(60):
        said = bytes(await process.stdout.receive_some())
        assert said.endswith(b"  one\n")
        await log(store, job_id, "two", begin=BEGIN + 1000)
        said = bytes(await process.stdout.receive_some())
        assert said.endswith(b"  two\n")
        await psql("UPDATE jobs SET state = 'completed'")
        await log(store, job_id, "three, stored after the end", begin=BEGIN + 2000)
        said = bytes(await process.stdout.receive_some())
        assert said.endswith(b"  three, stored after the end\n")
        assert await process.wait() == 0


@pytest.mark.parametrize("follow", [[], ["--follow"]])
async def test_what_is_no_job_is_one_line(url, follow: list[str]):
    done = await run("logs", str(uuid4()), *follow, "--url", url)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "workqueue: job not found (404)\n")


def test_a_producer_that_is_away_is_one_line():
    done = workqueue("logs", str(uuid4()), "--url", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert done.stderr.startswith("workqueue: no answer from the producer at http://127.0.0.1:9: ")
