"""The command line as a process, with an environment of its own."""

import os
import pty
import signal
import subprocess
import sys
from contextlib import suppress
from functools import partial

import trio


def environ(**variables: str) -> dict[str, str]:
    """The environment of a child: nothing of ours but PATH and HOME."""
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG", "TMPDIR"}}
    return kept | variables


def workqueue(*arguments: str, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `workqueue` to its end."""
    command = [sys.executable, "-m", "workqueue.services.cli", *arguments]
    return subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=120, env=environ(**variables), check=False
    )


async def enqueue(*arguments: str, stdin: str = ""):
    return await trio.to_thread.run_sync(partial(workqueue, "enqueue", *arguments, stdin=stdin))


class Terminal:
    """`workqueue` on a pseudo terminal of 80 columns. Mutable state: what it has written so far."""

    def __init__(self, *arguments: str, **variables: str) -> None:
        self._ours, theirs = pty.openpty()
        os.set_blocking(self._ours, False)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "workqueue.services.cli", *arguments],
            env=environ(TERM="xterm", COLUMNS="80", LINES="30", **variables),
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        self._said = b""

    @property
    def said(self) -> str:
        with suppress(BlockingIOError, OSError):  # EIO: it has ended
            while piece := os.read(self._ours, 65536):
                self._said += piece
        return self._said.decode("utf-8", "replace")

    def write(self, text: str) -> None:
        """What a person types."""
        os.write(self._ours, text.encode())

    def has_ended(self) -> bool:
        """It can end only while it is read."""
        return self.said is not None and self.process.poll() is not None

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):  # `up` has children, which it ends
                self.process.wait(30)
        self.process.kill()
        self.process.wait()
        os.close(self._ours)
