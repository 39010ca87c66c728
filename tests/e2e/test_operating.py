"""Every block of docs/operating.md can be pasted, and does what the text around it says."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from tests.producer.published import publish
from tests.producer.rows import claim, enqueue
from tests.producer.serving import serving
from tests.producer.test_trees import play_worker, says
from tests.producer.tokens import API_TOKENS, SECRETS, bearer
from tests.services.test_job_tree import TREE
from workqueue.core.dead_letter import dead_letter, dead_letter_id
from workqueue.core.steps.actions import Actions
from workqueue.core.steps.acts import Acts
from workqueue.core.steps.piggyback import Piggyback
from workqueue.services.job_tree import TreeAnswer, write_answer

DOCS = Path(__file__).parents[2] / "docs"


def blocks_of(name: str) -> list[tuple[str, str]]:
    """(name, lines) of each block of shell."""
    return re.findall(r"^```sh ?([a-z-]*)\n(.*?)^```$", (DOCS / name).read_text("utf-8"), re.DOTALL | re.MULTILINE)


BLOCKS = blocks_of("operating.md")
#: Blocks of operating.md whose lines show something, whatever there is.
LOOKS = frozenset({"find", "stats", "pause"})

#: Block -> the state of a job that each of its lines is run on, and the state after it (None: there is no row).
ACTS = {
    "wait": ("completed", "completed"),
    "look-inside": ("pending", "pending"),
    "cancel": ("pending", "cancelled"),
    "retry": ("failed", "pending"),
    "run-now": ("pending", "pending"),
    "delete": ("failed", None),
}
#: Block about dead letters -> whether the entry is there after each of its lines, and whether its task waits.
DEAD = {
    "dead-look": (True, False),
    "dead-show": (True, False),
    "dead-retry": (False, True),
    "dead-delete": (False, False),
}
#: Block about workers -> what the worker is asked by each of its lines.
WORKERS = {"worker-list": None, "worker-quiet": "quiet", "worker-resume": "resume", "worker-stop": "stop"}


@pytest.fixture
async def url(store, redis_url, postgres_dsn, queue_name, database_schema):
    environ = {"REDIS_URL": redis_url, "DATABASE_URL": postgres_dsn, "DATABASE_SCHEMA": database_schema}
    async with serving(environ | {"QUEUE_NAME": queue_name}) as client:
        yield client


def test_each_block_is_known_to_a_test():
    assert {name for name, _ in BLOCKS if name} == {
        *ACTS,
        "inspect",
        "many",
        *DEAD,
        *LOOKS,
        *WORKERS,
        "tokens",
        "audit",
        "watch",
    }
    assert [name for name, _ in BLOCKS].count("") == 1


async def paste(line: str, url: str, tmp_path: Path, **variables: object) -> subprocess.CompletedProcess[str]:
    """Run a line as a shell does, with `workqueue` on the path. Skips the test where there is no curl."""
    if line.startswith("curl") and shutil.which("curl") is None:
        pytest.skip("curl is not installed: apt-get install curl")
    command = tmp_path / "workqueue"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m workqueue.services.cli "$@"\n', "ascii")
    command.chmod(0o700)
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path), "URL": url}
    environ |= {name: str(value) for name, value in variables.items()}
    run = ["sh", "-ec", line]
    return await trio.to_thread.run_sync(
        lambda: subprocess.run(run, capture_output=True, text=True, timeout=60, env=environ, check=False)
    )


@pytest.mark.parametrize(
    ("name", "line"), [(name, line) for name, text in BLOCKS if name in ACTS for line in text.splitlines()]
)
async def test_each_line_of_an_act_does_it(name: str, line: str, url, psql, tmp_path: Path):
    before, after = ACTS[name]
    job_id = await enqueue(url)
    await psql("UPDATE jobs SET state = $2, run_at = now() + interval '1 h' WHERE id = $1", job_id, before)
    done = await paste(line, str(url.base_url).rstrip("/"), tmp_path, ID=job_id)
    assert (done.returncode, "curl: (" in done.stderr) == (0, False), done.stderr
    assert await psql.value("SELECT max(state) FROM jobs WHERE id = $1", job_id) == after, done.stdout
    if name == "run-now":
        assert await psql.value("SELECT run_at FROM jobs WHERE id = $1", job_id) is None


async def test_the_lines_that_inspect_show_what_the_worker_answers(url, queue, store, nursery, tmp_path: Path):
    text = write_answer(TreeAnswer(TREE))
    await nursery.start(lambda task_status: play_worker(queue, says(queue, text), task_status=task_status))
    job_id = await enqueue(url)
    await claim(store, queue, job_id)
    [block] = [text for name, text in BLOCKS if name == "inspect"]
    for line in block.splitlines():
        done = await paste(line, str(url.base_url).rstrip("/"), tmp_path, ID=job_id)
        assert (done.returncode, "curl: (" in done.stderr) == (0, False), done.stderr
        assert "await x" in done.stdout


async def test_the_lines_for_many_jobs_count_and_do_it(url, queue, store, psql, nursery, tmp_path: Path):
    actions = Actions(queue, store, Acts(queue, store, Piggyback()))

    async def work() -> None:
        while True:
            await actions.run_once()
            await trio.sleep(0.1)

    nursery.start_soon(work)
    await enqueue(url)
    [block] = [text for name, text in BLOCKS if name == "many"]
    for line in block.splitlines():
        await psql("UPDATE jobs SET state = 'failed', failed_at = now()")
        done = await paste(line, str(url.base_url).rstrip("/"), tmp_path)
        assert (done.returncode, "curl: (" in done.stderr) == (0, False), done.stderr
        assert "1" in done.stdout
    assert await psql("SELECT DISTINCT done, state FROM actions") == [(1, "done")]


@pytest.mark.parametrize(("name", "said"), [("tokens", "admin-1"), ("audit", "cancel")])
async def test_the_lines_about_tokens_show_whose_they_are_and_who_did_what(
    name: str, said: str, store, redis_url, postgres_dsn, queue_name, database_schema, tmp_path: Path
):
    environ = {"REDIS_URL": redis_url, "DATABASE_URL": postgres_dsn, "DATABASE_SCHEMA": database_schema}
    [block] = [text for each, text in BLOCKS if each == name]
    async with serving(environ | {"QUEUE_NAME": queue_name, "API_TOKENS": API_TOKENS}) as client:
        client.headers.update(bearer("admin"))
        job_id = await enqueue(client)
        await client.post(f"/api/jobs/{job_id}/cancel", json={})
        for line in block.splitlines():
            url = str(client.base_url).rstrip("/")
            done = await paste(line, url, tmp_path, WORKQUEUE_TOKEN=SECRETS["admin"])
            assert (done.returncode, "curl: (" in done.stderr) == (0, False), done.stderr
            assert (said if line.startswith("curl") else "API_TOKENS=ci:enqueue:sha256=") in done.stdout


async def test_the_lines_that_look_show_the_job(url, tmp_path: Path):
    job_id = await enqueue(url)
    [block] = [text for each, text in BLOCKS if not each]
    for line in block.splitlines():
        done = await paste(line, str(url.base_url).rstrip("/"), tmp_path, ID=job_id)
        assert done.returncode == 0
        assert done.stdout.startswith(("{", "["))


async def test_the_line_that_watches_shows_events_as_they_come(url, tmp_path: Path):
    job_id = await enqueue(url)
    [line] = [line for name, text in BLOCKS if name == "watch" for line in text.splitlines()]
    bounded = line.replace("curl ", "curl --max-time 3 ")
    done = await paste(bounded, str(url.base_url).rstrip("/"), tmp_path, ID=job_id)
    assert done.returncode == 28, "it goes on for ever, but for the limit of this test"
    for name in ("counts", "jobs", "job"):
        assert f"event: {name}\n" in done.stdout
    assert str(job_id) in done.stdout


@pytest.mark.parametrize(
    "line",
    [
        line
        for name, text in [*blocks_of("runbook.md"), *((name, text) for name, text in BLOCKS if name in LOOKS)]
        for line in text.splitlines()
    ],
)
async def test_each_line_that_looks_around_says_something(line: str, url, psql, tmp_path: Path):
    job_id = await enqueue(url)
    await psql("UPDATE jobs SET state = 'failed', failed_at = now(), error_message = 'timeout' WHERE id = $1", job_id)
    done = await paste(line, str(url.base_url).rstrip("/"), tmp_path)
    assert "curl: (" not in done.stderr
    if "workqueue status" in line:  # no worker is there, which it says by its status
        assert "Traceback" not in done.stderr
        return
    assert done.returncode == 0, done.stderr
    if line.startswith("curl -i"):
        assert "X-Total-Count: 0" in done.stdout or "x-total-count: 0" in done.stdout
    elif line.startswith("curl") and "/ready" not in line:
        assert isinstance(json.loads(done.stdout), dict | list), done.stdout
    else:
        assert done.stdout or "no type is paused" in done.stderr


@pytest.mark.parametrize(
    ("name", "line"), [(name, line) for name, text in BLOCKS if name in DEAD for line in text.splitlines()]
)
async def test_each_line_about_dead_letters_does_it(name: str, line: str, url, redis, queue, tmp_path: Path):
    entry = dead_letter(b'{"type":"a","retries":1,"attempts":2}', "E: x")
    await redis("RPUSH", queue.keys.dead, entry)
    done = await paste(line, str(url.base_url).rstrip("/"), tmp_path, DEAD=dead_letter_id(entry))
    assert (done.returncode, "curl: (" in done.stderr) == (0, False), done.stderr
    stays, waits = DEAD[name]
    assert await redis.list(queue.keys.dead) == [entry] * stays, done.stdout
    assert [json.loads(task)["attempts"] for task in await redis.list(queue.name)] == [0] * waits
    if stays:
        assert dead_letter_id(entry) in done.stdout


@pytest.mark.parametrize(
    ("name", "line"), [(name, line) for name, text in BLOCKS if name in WORKERS for line in text.splitlines()]
)
async def test_each_line_about_workers_does_it(name: str, line: str, url, queue, tmp_path: Path):
    lease = await publish(queue, b'{"name":"host.1"}')
    done = await paste(line, str(url.base_url).rstrip("/"), tmp_path, WORKER=lease)
    assert (done.returncode, "curl: (" in done.stderr) == (0, False), done.stderr
    assert str(lease)[:8] in done.stdout
    asked = await queue.asked([lease])
    assert asked == ({} if WORKERS[name] is None else {lease: WORKERS[name]})
