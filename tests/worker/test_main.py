"""From the start of a process to its first job: signals, modules of handlers, the log, and children that they fork."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from tests.cli.support import environ
from tests.support.wait import until_true
from tests.worker.processes import worker_process
from workqueue.services.local.process import free_port, is_free


@pytest.fixture
def variables(redis_url, queue_name, tmp_path) -> dict[str, str]:
    return {"REDIS_URL": redis_url, "QUEUE_NAME": queue_name, "PYTHONPATH": str(tmp_path)}


def module(folder: Path, text: str) -> str:
    """A module of handlers; its name."""
    (folder / "mine.py").write_text(text, "utf-8")
    return "mine"


FAULTY = {
    "an import that fails": ("import nonsense_of_mine", "mine.py:1", "No module named 'nonsense_of_mine'"),
    "a bug": ("x = 1\ny = x / 0", "mine.py:2", "ZeroDivisionError: division by zero"),
    "an exit": ("import sys\nsys.exit(3)", "mine.py:2", "SystemExit: 3"),
    "no Python": ("def f(:\n", "mine.py:1", "SyntaxError: "),
    "a decorator without its type": (
        "from workqueue import handler\n@handler\ndef f(job): ...", "mine.py:2", "a handler needs the type of its jobs",
    ),
    "a function without a job": (
        "from workqueue import handler\n@handler('x')\ndef f(): ...", "mine.py:2", "f must take one argument, the job",
    ),
    "a newline in the error": ("raise ValueError('a\\nb')", "mine.py:1", "ValueError: a"),
}  # fmt: skip


@pytest.mark.parametrize(("fault", "processes"), [*((fault, 1) for fault in FAULTY), ("a bug", 2)])
async def test_a_module_that_cannot_be_imported_is_one_line_with_its_place(variables, tmp_path, fault, processes):
    text, place, says = FAULTY[fault]
    variables["WORKER_HANDLERS"] = module(tmp_path, text)
    command = [sys.executable, "-m", "workqueue.services.cli", "worker", "--processes", str(processes)]
    with trio.fail_after(60):
        done = await trio.run_process(
            command, env=environ(**variables, WORKER_PORT=str(free_port())), check=False, capture_stderr=True
        )
    lines = [line for line in done.stderr.decode().splitlines() if line.startswith("workqueue: WORKER_HANDLERS")]
    assert done.returncode == 2
    assert set(lines) == {lines[0]}, "each child says the same"
    assert lines[0].startswith("workqueue: WORKER_HANDLERS='mine': cannot import mine (")
    assert place in lines[0]
    assert says in lines[0]
    assert "Traceback" not in done.stderr.decode()


async def test_a_stop_counts_while_modules_are_imported(nursery, variables, tmp_path):
    variables["WORKER_HANDLERS"] = module(tmp_path, "import sys, time\nprint('importing', flush=True)\ntime.sleep(60)")
    async with worker_process(nursery, tmp_path / "ledger", wait=False, **variables) as worker:
        await until_true(lambda: "importing" in worker.said, seconds=30)
        assert await worker.terminate() < 20
        assert worker.process.returncode == 0
        assert "Traceback" not in worker.said


async def test_a_terminal_that_is_closed_is_a_stop(nursery, variables, tmp_path):
    async with worker_process(nursery, tmp_path / "ledger", **variables) as worker:
        worker.process.send_signal(signal.SIGHUP)
        with trio.fail_after(30):
            assert await worker.process.wait() == 0
        assert "SIGHUP: stopping" in worker.said


async def test_a_module_that_sets_up_logging_does_not_mute_the_worker(nursery, variables, tmp_path, queue):
    text = (
        "import logging.config\nlogging.config.dictConfig({'version': 1})\n"
        "from workqueue import handler\n@handler('fails')\ndef fails(job): raise ValueError('no')"
    )
    ledger = tmp_path / "ledger"
    async with worker_process(nursery, ledger, WORKER_HANDLERS=module(tmp_path, text), **variables) as worker:
        await queue.push([b'{"type":"fails"}'])
        await until_true(lambda: "ValueError: no" in worker.said)


@pytest.mark.parametrize("processes", [1, 2])
async def test_a_log_that_nothing_reads_stops_neither_jobs_nor_the_end(variables, tmp_path, queue, processes):
    text = (
        "from workqueue import handler\n@handler('fails')\nasync def fails(job): raise ValueError('x' * 400)\n"
        "import logging\n"
        "@handler('talks')\nasync def talks(job):\n    logging.getLogger('mine').info('y' * 10_000)"
    )
    command = [sys.executable, "-m", "workqueue.services.cli", "worker", "--processes", str(processes)]
    variables |= {"WORKER_HANDLERS": module(tmp_path, text), "WORKER_PORT": str(free_port()), "STALL_LIMIT": "5"}
    reading, writing = os.pipe()
    process = await trio.lowlevel.open_process(command, env=environ(**variables), stderr=writing)
    os.close(writing)
    try:
        await queue.push([b'{"type":"fails"}', b'{"type":"talks"}'] * 300)

        async def all_have_run() -> bool:
            return (await queue.depths()).dead == 300 and await queue.count_tasks() == 0

        with trio.fail_after(60):
            while not await all_have_run():
                await trio.sleep(0.05)
                assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        with trio.fail_after(40):
            assert await process.wait() == 0
    finally:
        if process.poll() is None:
            process.kill()
        os.close(reading)


FORKS = """
import multiprocessing, os, time
from workqueue import handler

def child(path):
    with open(path, "w") as file:
        file.write(str(os.getpid()))
    time.sleep(600)

@handler("forks")
def forks(job):
    process = multiprocessing.get_context("fork").Process(target=child, args=(job.payload["path"],), daemon=True)
    process.start()
    while not os.path.exists(job.payload["path"]) or not open(job.payload["path"]).read():
        time.sleep(0.01)
    if job.payload["ends"]:
        process.terminate()
        process.join(20)
        return process.exitcode
    return None
"""


@pytest.mark.skipif(sys.platform != "linux", reason="fork is the default on Linux")
async def test_a_child_that_a_handler_forks_can_be_ended_and_holds_no_port(nursery, variables, tmp_path, queue):
    variables["WORKER_HANDLERS"] = module(tmp_path, FORKS)
    ended, left = tmp_path / "ended", tmp_path / "left"
    pid = 0
    try:
        async with worker_process(nursery, tmp_path / "ledger", **variables) as worker:
            for path, ends in ((ended, "true"), (left, "false")):
                await queue.push([b'{"type":"forks","payload":{"path":"%b","ends":%b}}' % (bytes(path), ends.encode())])
            await until_true(lambda: ended.exists() and left.exists() and left.read_text(), seconds=30)
            await until_true(lambda: not _lives(int(ended.read_text() or "0")), seconds=30)
            pid = int(left.read_text())
            worker.process.kill()
            with trio.fail_after(30):
                await worker.process.wait()
            assert _lives(pid)
            assert is_free("127.0.0.1", worker.port)
            os.kill(pid, signal.SIGTERM)
            await until_true(lambda: not _lives(pid), seconds=30)
            pid = 0
    finally:
        if pid and _lives(pid):
            os.kill(pid, signal.SIGKILL)


def _lives(pid: int) -> bool:
    """A child that has ended and that no one has waited for does not."""
    try:
        return pid != 0 and Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.skipif(os.geteuid() != 0, reason="a namespace of processes needs root")
async def test_process_one_of_a_container_hears_a_stop_at_any_time(variables, tmp_path):
    text = "import time\nopen('{path}', 'w').close()\ntime.sleep(60)".replace("{path}", str(tmp_path / "begun"))
    variables["WORKER_HANDLERS"] = module(tmp_path, text)
    unshare = ["unshare", "--pid", "--fork", "--kill-child"]
    probe = await trio.run_process([*unshare, "true"], capture_stderr=True, check=False)
    if probe.returncode != 0:
        pytest.skip("there are no namespaces here")
    process = await trio.lowlevel.open_process(
        [*unshare, sys.executable, "-m", "workqueue.services.worker"],
        env=environ(**variables, WORKER_PORT=str(free_port())),
    )
    try:
        await until_true((tmp_path / "begun").exists, seconds=30)
        [child] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(child), signal.SIGTERM)
        with trio.fail_after(30):
            assert await process.wait() == 0
    finally:
        if process.poll() is None:
            process.kill()


@pytest.mark.parametrize(
    "command",
    [["workqueue.services.worker"], ["workqueue.services.cli", "worker"], ["workqueue.services.cli", "producer"]],
)
async def test_signals_that_come_while_it_ends_do_not_change_the_status(command, redis_url, queue_name):
    variables = environ(REDIS_URL=redis_url, QUEUE_NAME=queue_name, WORKER_PORT=str(free_port()),
                        PRODUCER_PORT=str(free_port()))  # fmt: skip
    process = await trio.lowlevel.open_process([sys.executable, "-m", *command], env=variables, stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = b""
    with trio.fail_after(60):
        while b"Redis answers" not in said:
            said += await process.stderr.receive_some(4096)
        while process.poll() is None:
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGTERM):
                with suppress(ProcessLookupError):
                    process.send_signal(number)
                await trio.sleep(0.001)
    assert process.returncode == 0, said
    await process.stderr.aclose()


SABOTAGE = """
import trio
from workqueue import handler

@handler("cancels")
async def cancels(job):
    trio.lowlevel.current_task().parent_nursery.cancel_scope.cancel()
    await trio.sleep_forever()
"""


async def test_a_worker_that_a_handler_has_ended_does_not_end_as_if_it_were_stopped(variables, tmp_path, queue):
    variables |= {"WORKER_HANDLERS": module(tmp_path, SABOTAGE), "WORKER_PORT": str(free_port())}
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "workqueue.services.worker"], env=environ(**variables), stderr=subprocess.PIPE
    )
    await queue.push([b'{"type":"cancels"}'])
    assert process.stderr is not None
    said = b""
    with trio.fail_after(30):
        async for piece in process.stderr:
            said += piece
        assert await process.wait() == 1
    assert b"the worker has ended though nothing had stopped it" in said
    assert b"Traceback" not in said
