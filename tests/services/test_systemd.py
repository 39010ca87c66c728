"""The notification protocol of systemd."""

import socket
from functools import partial
from pathlib import Path

import trio

from workqueue.services.systemd import Notifier


async def test_systemd_is_told_ready_stopping_and_that_the_loop_lives(tmp_path: Path, nursery):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(5)
        notifier = Notifier.from_environ({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "90000"})
        notifier.ready()
        assert systemd.recv(100) == b"READY=1"
        await nursery.start(notifier.feed_watchdog)
        for _ in range(3):
            assert await trio.to_thread.run_sync(partial(systemd.recv, 100)) == b"WATCHDOG=1"
        nursery.cancel_scope.cancel()
        notifier.stopping()


def test_without_systemd_nothing_is_sent():
    Notifier.from_environ({}).ready()
    Notifier("/nowhere/at/all").ready()
