"""The embedded Valkey."""

import os
import subprocess
import sys
from pathlib import Path

import trio

from tests.support.wait import until_true
from workqueue.core.bridge import open_bridge
from workqueue.core.queue import open_queue
from workqueue.services.local.process import is_free
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
