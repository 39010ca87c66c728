"""What is killed: processes and servers that a task each keeps alive, as systemd would."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import trio

from services.local.errors import LocalServerError
from services.local.process import end_process
from services.local.valkey import Server

RESTART_SECONDS = 0.3
END_SECONDS = 40.0


class Kept:
    """A process that is started again whenever it ends.

    Mutable state: the process, how many were started, and the statuses with which they ended by themselves.
    """

    def __init__(self, name: str, arguments: Sequence[str], environ: Mapping[str, str], log_file: Path) -> None:
        """`arguments` of `workqueue`."""
        self.name = name
        self._command = [sys.executable, "-m", "services.cli", *arguments]
        self._environ = dict(environ)
        self._log_file = log_file
        self._process: trio.Process | None = None
        self._scope = trio.CancelScope()
        self._ended = trio.Event()
        self.starts = 0
        self.statuses: list[int] = []

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep it alive until `end`."""
        task_status.started()
        with self._scope, self._log_file.open("ab") as log:
            while True:
                self._process = await trio.lowlevel.open_process(
                    self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                    env=self._environ, start_new_session=True,
                )  # fmt: skip
                self.starts += 1
                try:
                    self.statuses.append(await self._process.wait())
                    await trio.sleep(RESTART_SECONDS)
                finally:
                    with trio.CancelScope(shield=True):
                        self.signal(signal.SIGCONT)
                        await end_process(self._process, seconds=END_SECONDS)
        self._ended.set()

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def end(self) -> None:
        """Ask it to end, for good."""
        self._scope.cancel()
        await self._ended.wait()


class KeptServer:
    """A server of our own that may be killed, stopped, and started anew on its port.

    Mutable state: the server, and how long it stays away after its next end.
    """

    def __init__(self, open_server: Callable[[int | None], AbstractAsyncContextManager[Server]]) -> None:
        self._open = open_server
        self._away_seconds = 0.0
        self._before_start: Callable[[], None] = lambda: None
        self.server: Server | None = None

    async def run(self, *, task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep it alive until cancelled; started once it answers."""
        port: int | None = None
        while True:
            try:
                async with self._open(port) as server:
                    if port is None:
                        task_status.started(server)
                    port, self.server = server.port, server
                    await server.ended()
                    self.server = None
            except LocalServerError:  # what is left of the one before still holds its port or its memory
                if port is None:
                    raise
                await trio.sleep(0.5)
            await trio.sleep(self._away_seconds)
            self._before_start()
            self._away_seconds, self._before_start = 0.0, lambda: None

    def kill(self, away_seconds: float, before_start: Callable[[], None] = lambda: None) -> None:
        """kill -9; it comes back after `away_seconds`, and after `before_start`."""
        self._away_seconds, self._before_start = away_seconds, before_start
        self.signal(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        if self.server is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.server.pid, number)
