"""A newcomer's second minute: a handler of one's own, in `workqueue up` and in a worker beside it."""

import fcntl
import json
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import trio
import trio.testing

from tests.cli.support import environ
from tests.support.wait import until, until_true
from workqueue.services.cli import local_installation
from workqueue.services.cli.sources import stamp, wait_for_change
from workqueue.services.local.process import free_port

HANDLER = """
from workqueue import Job, handler


@handler("greet")
def greet(job: Job) -> str:
    return "{} " + job.payload["name"]
"""
OTHER = HANDLER.replace("greet", "part")


@pytest.mark.slow
async def test_own_handlers_run_in_up_are_reloaded_and_join_it_from_beside(nursery, tmp_path: Path):
    home, module = tmp_path / ".workqueue", tmp_path / "myjobs.py"
    module.write_text(HANDLER.format("hello"))
    (tmp_path / "others.py").write_text(OTHER.format("bye"))
    ports = {"PRODUCER_PORT": str(free_port()), "WORKER_PORT": str(free_port())}
    command = [sys.executable, "-m", "workqueue.services.cli"]
    up = await trio.lowlevel.open_process(
        [*command, "up", "--handlers", "myjobs"], cwd=tmp_path, env=environ(**ports), stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    said = ""

    async def listen() -> None:
        nonlocal said
        assert up.stdout is not None
        async for piece in up.stdout:
            said += piece.decode()

    nursery.start_soon(listen)
    try:
        await until_true(lambda: "WorkQueue runs." in said or up.poll() is not None, seconds=60)
        assert up.poll() is None, said
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{ports['PRODUCER_PORT']}", trust_env=False) as client:

            async def result(job_type: str) -> object:
                job = (await client.post("/enqueue", json={"type": job_type, "payload": {"name": "you"}})).json()

                async def has_ended() -> bool:
                    return (await client.get(f"/api/jobs/{job['job_id']}")).json()["status"] in {"completed", "failed"}

                await until(has_ended, seconds=30)
                return (await client.get(f"/api/jobs/{job['job_id']}")).json()["result"]

            assert await result("greet") == "hello you"
            assert (home / "environment.json").stat().st_mode & 0o777 == 0o600
            module.write_text(HANDLER.format("good morning"))
            await until_true(lambda: "myjobs.py has changed" in said, seconds=10)

            async def is_new() -> bool:
                return await result("greet") == "good morning you"

            await until(is_new, seconds=30)
            beside = await trio.lowlevel.open_process(
                [*command, "worker", "--handlers", "others"], cwd=tmp_path, env=environ(), stderr=subprocess.DEVNULL
            )

            async def has_joined() -> bool:
                return [each["state"] for each in (await client.get("/api/workers")).json()].count("working") == 2

            try:
                await until(has_joined, seconds=30)
                assert await result("part") == "bye you"
            finally:
                beside.send_signal(signal.SIGTERM)
                with trio.fail_after(20):
                    assert await beside.wait() == 0
    finally:
        with trio.CancelScope(shield=True):
            up.send_signal(signal.SIGINT)
            with trio.move_on_after(40):
                await up.wait()
    assert up.returncode == 0, said


@pytest.mark.slow
async def test_a_handler_that_cannot_be_imported_is_told_once_and_runs_when_it_is_mended(nursery, tmp_path: Path):
    module = tmp_path / "myjobs.py"
    module.write_text("def greet(:\n")
    ports = {"PRODUCER_PORT": str(free_port()), "WORKER_PORT": str(free_port())}
    up = await trio.lowlevel.open_process(
        [sys.executable, "-m", "workqueue.services.cli", "up", "--handlers", "myjobs"], cwd=tmp_path,
        env=environ(**ports), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    said = ""

    async def listen() -> None:
        nonlocal said
        assert up.stdout is not None
        async for piece in up.stdout:
            said += piece.decode()

    nursery.start_soon(listen)
    try:
        await until_true(lambda: "WorkQueue runs." in said or up.poll() is not None, seconds=60)
        assert "is not ready after" not in said, "it waited for what cannot come"
        assert "the worker does not run: mend myjobs, and it starts" in said
        await trio.sleep(1.5)  # the pause between two starts is 0.1 s at first: there is none
        assert said.count("cannot import myjobs") == 1
        module.write_text(HANDLER.format("hello"))
        await until_true(lambda: "takes jobs from" in said and "greet" in said, seconds=30)
        module.write_text("1 / 0\n")  # of one that has run as well
        await until_true(lambda: said.count("the worker does not run") == 2, seconds=30)
    finally:
        with trio.CancelScope(shield=True):
            up.send_signal(signal.SIGINT)
            with trio.move_on_after(40):
                await up.wait()
    assert up.returncode == 0, said


def installation(home: Path, **given: str) -> None:
    home.mkdir()
    (home / local_installation.LOCK).touch()
    local_installation.write(home, given)


def test_only_a_running_up_is_joined_and_only_where_no_server_is_named(tmp_path: Path):
    home = tmp_path / "home"
    installation(home, REDIS_URL="redis://a", QUEUE_NAME="q", SECRET="x")
    mine = {"WORKQUEUE_HOME": str(home), "QUEUE_NAME": "mine"}
    assert local_installation.joined(mine) == mine, "it does not run"
    with (home / local_installation.LOCK).open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert local_installation.joined(mine) == mine | {"REDIS_URL": "redis://a", "WORKER_PORT": "0"}
        for name in ("REDIS_URL", "REDIS_ADDR", "DATABASE_URL"):
            assert local_installation.joined(mine | {name: "x"}) == mine | {name: "x"}
        assert local_installation.joined(mine | {"PORT": "5"})["PORT"] == "5"
        (home / local_installation.FILE).write_text("no JSON")
        assert local_installation.joined(mine) == mine


def test_what_is_left_for_others_has_no_more_than_they_need(tmp_path: Path):
    installation(tmp_path / "home", REDIS_URL="redis://a", AWS_SECRET="x")
    assert json.loads((tmp_path / "home" / local_installation.FILE).read_text()) == {"REDIS_URL": "redis://a"}


async def test_a_change_of_a_module_or_of_a_file_in_a_package_is_seen(tmp_path: Path):
    (tmp_path / "one.py").touch()
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "jobs.py").touch()
    (tmp_path / "three.py").touch()
    modules = ["one", "two.jobs"]
    assert len(stamp(modules, tmp_path)) == 2
    for changed in ("two/jobs.py", "two/more.py", "one.py"):
        async with trio.open_nursery() as nursery:
            seen: list[str] = []

            async def wait(seen: list[str] = seen) -> None:
                seen.append(await wait_for_change(modules, tmp_path))

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            (tmp_path / changed).write_text("x = 1")
            with trio.fail_after(10):
                while not seen:
                    await trio.sleep(0.01)
        assert seen == [changed]
