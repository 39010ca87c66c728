"""What systemd is told of a service."""

import socket
from functools import partial
from pathlib import Path

import trio

from workqueue.services.systemd import Notifier


async def test_systemd_is_told_ready_stopping_and_that_the_loop_lives(tmp_path: Path, nursery):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(20)
        notifier = Notifier.from_environ({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "90000"})
        notifier.ready()
        assert systemd.recv(100) == b"READY=1"
        await nursery.start(notifier.feed_watchdog)
        for _ in range(3):
            assert await trio.to_thread.run_sync(partial(systemd.recv, 100)) == b"WATCHDOG=1"
        nursery.cancel_scope.cancel()
        notifier.stopping()
        while (said := systemd.recv(100)) == b"WATCHDOG=1":
            pass
        assert said == b"STOPPING=1"


async def test_a_service_without_systemd_goes_on():
    for notifier in (Notifier.from_environ({}), Notifier("/nowhere/at/all")):
        notifier.ready()
        with trio.fail_after(10):
            await notifier.feed_watchdog()
        notifier.stopping()
