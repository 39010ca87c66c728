"""`workqueue inspect`: against a real producer, with a worker that is played by the test; and its text."""

import json
from functools import partial
from uuid import UUID, uuid4

import pytest
import trio

from tests.cli.support import Terminal, enqueue, workqueue
from tests.producer.rows import claim
from tests.producer.test_trees import play_worker, says
from tests.services.test_job_tree import TREE
from tests.support.wait import until_true
from workqueue.core.queue import Queue
from workqueue.core.store import JobStore
from workqueue.services.cli.inspect_jobs import lines_of
from workqueue.services.job_tree import (
    JobTree,
    TreeAnswer,
    TreeFrame,
    TreeNursery,
    TreeScope,
    TreeTask,
    write_answer,
)

HOME = "/srv/shop/a/path/that/is/rather/long/for/a/terminal/of/eighty/columns"
SLEEP = TreeFrame("/srv/.venv/lib/python3.12/site-packages/trio/_timeouts.py", 87, "sleep")
NONE, ENDING = TreeScope(None, False, False), TreeScope(12.345, True, True)


def leaf(name: str, line: int, *scopes: TreeScope) -> TreeTask:
    at = TreeFrame(f"{HOME}/jobs.py", line, "sync.<locals>.fetch", "await trio.sleep(3)")
    return TreeTask(name, [at, SLEEP], 0, list(scopes), [], [])


WHOLE = JobTree(
    UUID(int=7), "sync", 2, "box.4711", 12.34, 17.66, True,
    TreeTask(
        "jobs.sync",
        [TreeFrame("jobs.py", 3, "sync", "async with trio.open_nursery() as nursery:")], 0, [ENDING],
        [TreeFrame("jobs.py", 30, "count", "return sum(rows)")],
        [TreeNursery(NONE, [leaf("jobs.a", 8), leaf("jobs.fetch", 9, NONE), leaf("jobs.fetch", 9)], 201)],
    ),
)  # fmt: skip

TEXT = f"""\
00000000-0000-0000-0000-000000000007  sync
run 2 on box.4711, for 12.3 s, times out in 17.7 s, is being cancelled
  jobs.sync
    jobs.py:3 in sync
      async with trio.open_nursery() as nursery:
    in a thread
      jobs.py:30 in count
        return sum(rows)
    scope  ends in 12.3 s, cancelled, shielded
    nursery
      jobs.a
        {HOME}/jobs.py:8 in fetch
          await trio.sleep(3)
      jobs.fetch  (2 tasks that wait there)
        {HOME}/jobs.py:9 in fetch
          await trio.sleep(3)
        scope
      ... 201 more tasks
"""


def test_the_tree_is_indented_and_tasks_that_wait_at_one_line_are_one():
    assert "\n".join(lines_of(WHOLE)) + "\n" == TEXT


def test_no_line_is_wider_than_the_terminal_and_a_path_keeps_its_end():
    lines = list(lines_of(WHOLE, 80))
    assert max(map(len, lines)) == 80
    assert any(line.strip().startswith("…") and line.endswith("jobs.py:8 in fetch") for line in lines)


def test_a_long_stack_says_how_much_of_it_is_missing():
    frames = [TreeFrame("a.py", number, "f") for number in range(4)]
    tree = JobTree(UUID(int=7), "sync", 1, "box.1", 1.0, None, False, TreeTask("f", frames, 30, [], [], []))
    assert list(lines_of(tree))[1:6] == [
        "run 1 on box.1, for 1.0 s", "  f", "    a.py:0 in f", "    a.py:1 in f", "    ... 30 more",
    ]  # fmt: skip


def test_what_a_name_has_in_it_does_not_reach_the_terminal():
    task = TreeTask("f\x1b[31m", [TreeFrame("\x1b]0;x", 1, "f", "\x07")], 0, [], [], [])
    text = "".join(lines_of(JobTree(UUID(int=7), "a\r", 1, "box.1", 1.0, None, False, task), 80))
    assert text.isprintable()


async def run(*arguments: str):
    return await trio.to_thread.run_sync(partial(workqueue, "inspect", *arguments))


@pytest.fixture
async def answering(queue: Queue, nursery):
    text = write_answer(TreeAnswer(TREE))
    await nursery.start(lambda task_status: play_worker(queue, says(queue, text), task_status=task_status))


async def test_running_jobs_are_shown_and_the_others_named(answering, url, queue: Queue, store: JobStore):
    running, waiting = [(await enqueue("a", "--url", url)).stdout.strip() for _ in range(2)]
    await claim(store, queue, UUID(running))
    done = await run(running, waiting, "--url", url)
    assert done.stdout == "\n".join(lines_of(TREE)) + "\n"
    assert (done.returncode, done.stderr) == (1, f"{waiting}  the job is not running (409)\n")
    done = await run(running, "--json", "--url", url)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["task"]["name"] == "root"


async def test_on_a_terminal_it_has_its_width(answering, url, queue: Queue, store: JobStore):
    job_id = (await enqueue("a", "--url", url)).stdout.strip()
    await claim(store, queue, UUID(job_id))
    with Terminal("inspect", job_id, "--url", url) as terminal:
        await until_true(terminal.has_ended, seconds=60)
        assert "await x" in terminal.said


def test_a_producer_that_is_away_and_a_command_without_an_id_are_one_line():
    done = workqueue("inspect", str(uuid4()), "--url", "http://127.0.0.1:9")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("workqueue: no answer from the producer at http://127.0.0.1:9: ")
    assert workqueue("inspect").returncode == 2
    assert workqueue("inspect", "x").returncode == 2
