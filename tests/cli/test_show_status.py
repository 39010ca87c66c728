"""`workqueue status --watch` on a terminal, as a person has it."""

import re
import signal

import pytest

from tests.cli.support import Terminal
from tests.support.wait import until_true
from workqueue.services.local.process import free_port


@pytest.mark.parametrize("is_there", [True, False])
async def test_watch_draws_again_in_place_and_ctrl_c_is_status_0_without_a_traceback(url, is_there):
    shown_url = url if is_there else f"http://127.0.0.1:{free_port()}"
    with Terminal("status", "--watch", "--url", shown_url) as terminal:
        fault = "no worker is alive" if is_there else "no answer from a producer"
        await until_true(lambda: terminal.said.count(fault) >= 3, seconds=60)
        assert "\x1b[1A" in terminal.said, "in place: the cursor goes up"
        assert "\x1b[31m" in terminal.said, "in colour"
        terminal.process.send_signal(signal.SIGINT)
        await until_true(terminal.has_ended, seconds=30)
        assert terminal.process.returncode == 0, terminal.said
        assert "Traceback" not in terminal.said
        assert terminal.said.endswith("\x1b[?25h"), "the cursor is shown again"


async def test_no_color_is_honoured(url):
    with Terminal("status", "--no-rates", "--url", url, NO_COLOR="1") as terminal:
        await until_true(terminal.has_ended, seconds=60)
        assert "no worker is alive" in terminal.said
        assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", terminal.said)


async def test_ctrl_c_while_it_looks_twice_is_130_and_no_traceback(url, queue):
    lease = "0199c2f4-7d1e-7b52-8c0a-4f1d22aa9e31"  # of a worker that publishes no second time
    seconds, _ = await queue._command("TIME")
    await queue._command("ZADD", queue.keys.leases, int(seconds) * 1000, lease)
    await queue._command("HSET", queue.keys.workers, lease, '{"name":"w","uptime_seconds":9}')
    with Terminal("status", "--url", url) as terminal:
        await until_true(lambda: "looking twice" in terminal.said, seconds=60)
        terminal.process.send_signal(signal.SIGINT)
        await until_true(terminal.has_ended, seconds=30)
        assert terminal.process.returncode == 130, terminal.said
        assert "Traceback" not in terminal.said
