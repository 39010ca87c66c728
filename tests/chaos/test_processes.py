"""What is killed and stopped in a chaos run comes back, and the record says what was done to it."""

import signal
from pathlib import Path

import pytest
import trio

from tests.cli.support import environ
from tests.support.wait import until_true
from workqueue.services.chaos.history import History
from workqueue.services.chaos.processes import Kept, KeptServer
from workqueue.services.local.valkey import run_valkey


@pytest.fixture
async def kept(nursery, tmp_path: Path):
    """A worker without a Redis: it waits for one."""
    own = environ(REDIS_URL="redis://127.0.0.1:1", WORKER_PORT="0")
    kept = Kept("worker 1", ["worker"], own, tmp_path / "log", History())
    await nursery.start(kept.run)
    await until_true(lambda: "Redis" in (tmp_path / "log").read_text(), seconds=30)
    yield kept
    await kept.end()


async def test_a_process_is_started_again_and_its_lives_are_known(kept):
    first = kept.pid
    assert kept.kill()
    await until_true(lambda: kept.pid not in {first, None}, seconds=20)
    second = kept.pid
    assert kept.stop()
    await until_true(lambda: _state(second) == "T")
    assert kept.terminate(), "it takes the signal when it goes on"
    await trio.sleep(0.2)
    assert kept.pid == second
    assert kept.go_on()
    await until_true(lambda: kept.pid not in {second, None}, seconds=20)
    killed, asked, now = kept._history.lives
    assert (killed.pid, killed.killed, killed.status) == (first, True, -signal.SIGKILL)
    assert (asked.pid, asked.killed, asked.asked_at is not None) == (second, False, True)
    assert (now.asked_at, now.status) == (None, None)
    assert kept._history.life(first, killed.begun) is killed


async def test_a_server_comes_back_on_its_port_after_a_kill_and_stands_still_while_it_is_stopped(nursery, tmp_path):
    kept = KeptServer(lambda port: run_valkey(tmp_path / "valkey", port=port))
    server = await nursery.start(kept.run)
    swept = []
    with trio.fail_after(30):
        await kept.end(signal.SIGKILL, 0.1, lambda: swept.append(True))
    assert kept.server is not None
    assert (kept.server.port, kept.server.url) == (server.port, server.url)
    assert kept.server.pid != server.pid
    assert swept == [True]
    pid = kept.server.pid
    async with kept.stopped():
        await until_true(lambda: _state(pid) == "T")
    await until_true(lambda: _state(pid) != "T")
    nursery.cancel_scope.cancel()


def _state(pid: int) -> str:
    if not Path("/proc/self").exists():
        pytest.skip("looks into /proc")
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


async def test_one_child_of_a_server_stands_still_alone(nursery, postgres):
    kept = KeptServer(lambda port: None)  # type: ignore[arg-type, return-value]
    kept.server = postgres
    async with kept.stopped(3):
        assert _state(postgres.pid) != "T"
        children = Path(f"/proc/{postgres.pid}/task/{postgres.pid}/children").read_text().split()
        await until_true(lambda: [_state(int(pid)) for pid in children].count("T") == 1)
