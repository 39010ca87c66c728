"""Acts on many jobs from the command line, against a real producer and the part of a worker that does them."""

import signal
import subprocess
import sys
from functools import partial

import pytest
import trio

from tests.cli.support import Terminal, enqueue, environ, workqueue
from tests.support.wait import until_true
from workqueue.core.queue import Queue
from workqueue.core.steps.actions import Actions
from workqueue.core.steps.acts import Acts
from workqueue.core.steps.piggyback import Piggyback
from workqueue.core.store import JobStore

FAILED = "UPDATE jobs SET state = 'failed', failed_at = now(), error_message = 'Timeout' WHERE type = 'a'"


@pytest.fixture
async def jobs(url: str, psql) -> None:
    """Three of type a that failed, one of type b that waits."""
    for job_type in "aaab":
        assert (await enqueue(job_type, "--url", url)).returncode == 0
    await psql(FAILED)


@pytest.fixture
async def worker(nursery: trio.Nursery, queue: Queue, store: JobStore) -> None:
    actions = Actions(queue, store, Acts(queue, store, Piggyback()))

    async def work() -> None:
        while True:
            await actions.run_once()
            await trio.sleep(0.1)

    nursery.start_soon(work)


async def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return await trio.to_thread.run_sync(partial(workqueue, *arguments, stdin=stdin))


async def test_what_failed_is_counted_and_retried(url, psql, jobs, worker):
    for filters, matched in (
        (["--type", "a"], "3 jobs match"),
        (["--status", "failed", "--error", "TIME", "--since", "1h"], "3 jobs match"),
        (["--all"], "3 jobs match"),
        (["--until", "1h"], "0 jobs match"),
        (["--since", "2100-01-01T00:00:00+00:00"], "0 jobs match"),
        (["--type", "b"], "0 jobs match"),
    ):
        done = await run("retry", *filters, "--dry-run", "--url", url)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{matched}\n", "")
    done = await run("retry", "--type", "a", "--yes", "--url", url)
    assert (done.returncode, done.stdout, done.stderr) == (0, "3 jobs: waits again\n", "")
    assert await psql.value("SELECT count(*) FROM jobs WHERE state = 'pending'") == 4
    done = await run("actions", "--url", url)
    assert done.stdout.endswith("  retry    3 of 3  done  type=a\n")


async def test_a_person_is_asked_on_a_terminal(url, psql, jobs, worker):
    for answer, left in (("n\n", 3), ("y\n", 0)):
        with Terminal("delete", "--type", "a", "--url", url) as terminal:
            await until_true(lambda: "delete 3 jobs? [y/N]" in terminal.said, seconds=60)
            terminal.write(answer)
            await until_true(terminal.has_ended, seconds=60)
        assert await psql.value("SELECT count(*) FROM jobs WHERE type = 'a'") == left


async def test_where_nobody_can_be_asked_yes_is_needed(url, psql, jobs):
    done = await run("cancel", "--all", "--url", url)
    assert done.returncode == 2
    assert done.stderr.endswith("Error: 1 job matches: --yes is needed where standard input is no terminal.\n")
    assert await psql("SELECT * FROM actions") == []


async def test_ctrl_c_ends_the_wait_and_the_action_can_be_stopped(url, psql, jobs):
    command = [sys.executable, "-m", "workqueue.services.cli", "retry", "--type", "a", "--yes", "--url", url]
    process = await trio.lowlevel.open_process(command, env=environ(), stderr=subprocess.PIPE)
    with trio.fail_after(60):
        while not await psql("SELECT * FROM actions"):
            await trio.sleep(0.05)
    await trio.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert await process.wait() == 130
    assert process.stderr is not None
    said = bytes(await process.stderr.receive_some()).decode()
    action_id = str(await psql.value("SELECT id FROM actions"))
    assert said == f"workqueue: action {action_id} goes on; to end it: workqueue actions --stop {action_id}\n"
    done = await run("actions", "--stop", action_id, "--url", url)
    assert done.stdout == f"{action_id}  retry    0 of 3  stopped  type=a\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Missing argument 'ID...', or a filter: --type, --status, --queue, --group, --error, --since, --all."),
        (["0" * 32, "--type", "a"], "IDs cannot go with a filter, nor with --all, --dry-run or --yes."),
        (["--all", "--type", "a"], "--all cannot go with a filter."),
        (["--since", "yesterday"], "'yesterday' is neither so long ago (90s, 30m, 12h, 7d) nor a time"),
        (["--since", "2026-01-01T00:00:00"], "is neither so long ago"),
        (["--status", "gone"], "'gone' is not one of 'pending', 'scheduled', 'retrying'"),
    ],
)
def test_what_makes_no_sense_is_refused_without_a_request(arguments: list[str], sentence: str):
    done = workqueue("retry", *arguments, "--url", "http://127.0.0.1:9")
    assert done.returncode == 2
    assert sentence in " ".join(done.stderr.split())


async def test_the_sentence_of_the_producer_is_shown(url):
    done = await run("retry", "--type", "x" * 1000, "--dry-run", "--url", url)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("workqueue: filter.type: expected str of length <= ")
