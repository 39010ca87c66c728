"""The processes and servers that are killed. A task each keeps them alive, as systemd would."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

import trio

from workqueue.core.retry import Pauses
from workqueue.services.chaos.history import History, Life
from workqueue.services.local.process import end_process
from workqueue.services.local.valkey import Server
from workqueue.services.supervise import supervise, supervise_server

RESTART_SECONDS = 0.3
SERVER_PAUSES_SECONDS = 0.1, 0.5  #: the server before may hold its port or its memory for a moment
END_SECONDS = 40.0


class Kept:
    """A process that is started again whenever it ends.

    Mutable state: the process, and its life in the history.
    """

    def __init__(
        self, name: str, arguments: Sequence[str], environ: Mapping[str, str], log_file: Path, history: History
    ) -> None:
        """`arguments` of `workqueue`."""
        self.name = name
        self.log_file = log_file
        self._command = [sys.executable, "-m", "workqueue.services.cli", *arguments]
        self._environ = dict(environ)
        self._history = history
        self._process: trio.Process | None = None
        self._life: Life | None = None
        self._scope = trio.CancelScope()
        self._ended = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep it alive until `end`."""
        task_status.started()
        try:
            with self._scope, self.log_file.open("ab") as log:
                await supervise(partial(self._live, log.fileno()), pauses=Pauses(RESTART_SECONDS, RESTART_SECONDS))
        finally:
            self._ended.set()

    async def _live(self, log: int) -> str:
        process = await trio.lowlevel.open_process(
            self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            env=self._environ, start_new_session=True,
        )  # fmt: skip
        life = Life(time.monotonic(), name=self.name, pid=process.pid)
        self._history.lives.append(life)
        self._process, self._life = process, life
        try:
            await process.wait()
        finally:
            with trio.CancelScope(shield=True):
                if process.returncode is None:
                    life.asked_at = life.asked_at or time.monotonic()
                    self._send(signal.SIGCONT)
                    await end_process(process, seconds=END_SECONDS)
            life.ended, life.status = time.monotonic(), process.returncode
            self._process = self._life = None
        return "has ended"

    @property
    def pid(self) -> int | None:
        """None: it does not run just now."""
        return None if self._process is None else self._process.pid

    def kill(self) -> bool:
        """kill -9; False: there is nothing to kill just now."""
        if self._life is None or not self._send(signal.SIGKILL):
            return False
        self._life.asked_at, self._life.killed = time.monotonic(), True
        return True

    def terminate(self) -> bool:
        """Send SIGTERM, as a deployment does."""
        if self._life is None or not self._send(signal.SIGTERM):
            return False
        self._life.asked_at = self._life.asked_at or time.monotonic()
        return True

    def stop(self) -> bool:
        return self._send(signal.SIGSTOP)

    def go_on(self) -> bool:
        return self._send(signal.SIGCONT)

    def _send(self, number: signal.Signals) -> bool:
        if self._process is None or self._process.poll() is not None:
            return False
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
        return True

    async def end(self) -> None:
        """End it, for good."""
        self._scope.cancel()
        await self._ended.wait()


class KeptServer:
    """A server of our own that may be killed, stopped, and started anew on its port.

    Mutable state: the server while it serves, and how long it stays away after its next end.
    """

    def __init__(self, open_server: Callable[[int | None], AbstractAsyncContextManager[Server]]) -> None:
        self._open = open_server
        self._away_seconds = 0.0
        self._before_start: Callable[[], None] = lambda: None
        self._up = trio.Event()
        self.server: Server | None = None

    async def run(self, *, task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep it alive until cancelled; started once it answers."""
        pauses = Pauses(*SERVER_PAUSES_SECONDS)
        await supervise_server(self._open_when_due, pauses=pauses, task_status=task_status)

    @asynccontextmanager
    async def _open_when_due(self, port: int | None) -> AsyncIterator[Server]:
        await trio.sleep(self._away_seconds)
        self._before_start()
        self._away_seconds, self._before_start = 0.0, lambda: None
        async with self._open(port) as server:
            self.server = server
            self._up.set()
            try:
                yield server
            finally:
                self.server, self._up = None, trio.Event()

    async def end(
        self, number: signal.Signals, away_seconds: float, before_start: Callable[[], None] = lambda: None
    ) -> None:
        """End it with this signal; returns when it is back: after `away_seconds`, and after `before_start`.

        Cancelled: it comes back all the same.
        """
        self._away_seconds, self._before_start = away_seconds, before_start
        up = self._up
        self._send(number)
        while up is self._up and self.server is not None:  # noqa: ASYNC110 - until its end was noticed
            await trio.sleep(0.01)
        await self._up.wait()

    @asynccontextmanager
    async def stopped(self, index: int | None = None) -> AsyncIterator[None]:
        """The server and its children stand still while the block lasts; with an `index`, one of the children alone."""
        if self.server is None:
            yield
            return
        pids = [self.server.pid] if index is None else []
        self._send_to(pids, signal.SIGSTOP)  # first: from now on it makes no more children
        children = await _children(self.server.pid)
        if index is not None:
            children = [children[index % len(children)]] if children else []
        pids += children
        self._send_to(children, signal.SIGSTOP)
        try:
            yield
        finally:
            self._send_to(pids, signal.SIGCONT)

    def _send(self, number: signal.Signals) -> None:
        if self.server is not None:
            self._send_to([self.server.pid], number)

    @staticmethod
    def _send_to(pids: Sequence[int], number: signal.Signals) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


async def _children(parent: int) -> list[int]:
    """Pids of the processes that this one has started."""
    file = trio.Path(f"/proc/{parent}/task/{parent}/children")
    if await file.exists():
        return sorted(map(int, (await file.read_text("ascii")).split()))
    done = await trio.run_process(["ps", "-A", "-o", "pid=,ppid="], capture_stdout=True)
    pairs = [line.split() for line in done.stdout.decode().splitlines()]
    return sorted(int(pid) for pid, ppid in pairs if int(ppid) == parent)
