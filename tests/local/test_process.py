"""Child processes of our own."""

import signal
import sys
from pathlib import Path

import pytest
import trio

from workqueue.services.local.errors import LocalServerError
from workqueue.services.local.process import end_leftover, free_port, is_free, run_server


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


def test_a_free_port_is_free():
    assert is_free("127.0.0.1", free_port())
