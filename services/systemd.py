"""systemd's notification protocol: ready, stopping, and the watchdog that the loop itself feeds."""

import socket
from collections.abc import Mapping

import trio


class Notifier:
    """Sends the state of this process to systemd; does nothing where systemd did not ask. See sd_notify(3)."""

    def __init__(self, address: str | None, watchdog_seconds: float | None = None) -> None:
        self._address = "\0" + address[1:] if address and address.startswith("@") else address
        self._watchdog_seconds = watchdog_seconds

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "Notifier":
        """Read NOTIFY_SOCKET and WATCHDOG_USEC, which systemd sets for Type=notify and WatchdogSec=."""
        microseconds = environ.get("WATCHDOG_USEC", "")
        return cls(environ.get("NOTIFY_SOCKET"), int(microseconds) / 1e6 if microseconds.isdigit() else None)

    def ready(self) -> None:
        self._send("READY=1")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    async def feed_watchdog(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """A sign of life three times in each WatchdogSec, from the loop: a blocked loop sends none."""
        task_status.started()
        if not self._address or not self._watchdog_seconds:
            return
        while True:
            self._send("WATCHDOG=1")
            await trio.sleep(self._watchdog_seconds / 3)

    def _send(self, state: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to_systemd:
            to_systemd.setblocking(False)
            try:
                to_systemd.sendto(state.encode(), self._address)
            except OSError:
                return  # systemd does not listen: no reason to fail
