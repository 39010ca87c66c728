"""The embedded servers, as `workqueue up` and these tests use them."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trio

from tests.support.wait import until_true
from workqueue.core.bridge import open_bridge
from workqueue.core.queue import open_queue
from workqueue.core.store import migrate
from workqueue.services.local.errors import LocalServerError
from workqueue.services.local.postgres import _copy_of, _programs
from workqueue.services.local.process import end_leftover, free_port, is_free, run_server
from workqueue.services.local.valkey import run_valkey


async def test_valkey_keeps_its_tasks_and_its_address_over_a_restart(tmp_path: Path):
    async with run_valkey(tmp_path) as first, open_bridge() as bridge, open_queue(bridge, first.url, "q") as queue:
        await queue.push([b"kept"])
    async with run_valkey(tmp_path) as second, open_bridge() as bridge:
        assert second.url == first.url
        async with open_queue(bridge, second.url, "q") as queue:
            assert (await queue.depths()).ready == 1
    await until_true(lambda: is_free("127.0.0.1", first.port))


async def test_valkey_asks_for_a_password_and_its_folder_is_closed_to_others(tmp_path: Path):
    async with run_valkey(tmp_path) as server:
        async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
            await stream.send_all(b"PING\r\n")
            assert (await stream.receive_some()).startswith(b"-NOAUTH")
        assert tmp_path.stat().st_mode & 0o077 == 0
        assert (tmp_path / "valkey.conf").stat().st_mode & 0o077 == 0
        command = Path(f"/proc/{server.pid}/cmdline")
        if command.exists():
            assert server.url.split(":")[2].split("@")[0] not in command.read_text()


async def test_a_server_that_a_killed_parent_left_is_ended_and_replaced(tmp_path: Path):
    code = (
        "import sys, trio\n"
        "from pathlib import Path\n"
        "from workqueue.services.local.valkey import run_valkey\n"
        "async def main():\n"
        "    async with run_valkey(Path(sys.argv[1])) as server:\n"
        "        print(server.pid, flush=True)\n"
        "        await trio.sleep_forever()\n"
        "trio.run(main)\n"
    )
    parent = await trio.lowlevel.open_process([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    left = int(await parent.stdout.receive_some())
    parent.kill()
    await parent.wait()
    assert _runs(left)  # it lives on
    async with run_valkey(tmp_path) as server:
        assert server.pid != left
        assert not _runs(left)


def _runs(pid: int) -> bool:
    """Is there such a process, and not only a zombie?"""
    if Path("/proc/self").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
        except OSError:
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_process_that_only_has_the_pid_is_left_alone(tmp_path: Path):
    stranger = await trio.lowlevel.open_process(["sleep", "60"])
    try:
        (tmp_path / "pid").write_text(str(stranger.pid))
        assert not await end_leftover(tmp_path / "pid", ["valkey-server"])
        assert stranger.poll() is None
    finally:
        stranger.kill()
        await stranger.wait()


async def test_a_server_that_does_not_start_says_why(tmp_path: Path):
    async def never() -> bool:
        return False

    command = [sys.executable, "-c", "import sys; sys.exit('no room on this ship')"]
    with pytest.raises(LocalServerError, match="the ship did not start: no room on this ship"):
        async with run_server("the ship", command, log_file=tmp_path / "log", is_ready=never):
            pass


async def test_a_server_that_ignores_its_signal_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("workqueue.services.local.process.STOP_SECONDS", 0.3)
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open('up', 'w').close(); time.sleep(60)"

    async def is_up() -> bool:
        return (tmp_path / "up").exists()

    async with run_server(
        "deaf", [sys.executable, "-c", code], log_file=tmp_path / "log", is_ready=is_up, cwd=tmp_path
    ) as process:
        pass
    assert process.returncode == -signal.SIGKILL


async def test_postgres_asks_for_the_password(bridge, postgres, database_schema):
    assert (await migrate(bridge, postgres.url, database_schema))[0] == "0001_initial"
    found = postgres.url.replace(postgres.url.split(":")[2].split("@")[0], "wrong")
    with pytest.raises(Exception, match="password authentication failed"):
        await migrate(bridge, found, database_schema)


def test_a_free_port_is_free():
    assert is_free("127.0.0.1", free_port())


def test_programs_that_were_copied_out_of_a_closed_folder_find_their_libraries(monkeypatch, tmp_path):
    """As root, below a folder that only root may enter, Postgres runs as another user from a copy."""
    monkeypatch.setattr("workqueue.services.local.postgres.ROOT_FOLDER", tmp_path)
    with ThreadPoolExecutor() as several:  # at once
        [copy] = set(several.map(_copy_of, [_programs()] * 4))
    assert copy.is_relative_to(tmp_path)
    assert len(list((tmp_path / "programs").iterdir())) == 1, "nothing is left of the others"
    for program in ("postgres", "initdb", "pg_ctl"):
        done = subprocess.run([copy / program, "--version"], check=False, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
    assert _copy_of(_programs()) == copy, "once"
