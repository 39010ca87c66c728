"""A real process of ours with what it says on standard error, ended with everything that it has started."""

import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import trio

from tests.support.wait import until_true

ROOT = Path(__file__).parents[2]
#: Of our own environment: what a process needs to run at all, and nothing that is a setting of ours.
KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV")


class RunningProcess:
    """Mutable state: what was said so far, filled by `_read`."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.said = ""

    def send(self, number: signal.Signals) -> None:
        """To the process, as a supervisor does."""
        self.process.send_signal(number)

    def send_to_all(self, number: signal.Signals) -> None:
        """To the process and its children; the kernel's `kill -9` of a whole machine, or SIGSTOP."""
        os.killpg(self.process.pid, number)

    async def says(self, pattern: str, *, seconds: float = 60) -> re.Match[str]:
        """Wait until it has said something like that."""
        await until_true(lambda: re.search(pattern, self.said) or self.process.poll() is not None, seconds=seconds)
        match = re.search(pattern, self.said)
        assert match, self.said
        return match

    async def ended(self, *, seconds: float = 60) -> int:
        with trio.fail_after(seconds):
            return await self.process.wait()

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for piece in self.process.stderr:
            self.said += piece.decode("utf-8", "replace")


@asynccontextmanager
async def running(command: list[str], environ: Mapping[str, str]) -> AsyncIterator[RunningProcess]:
    """`python -m command`, in a session of its own; killed with its children at the end."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", *command],
        env={**kept, "PYTHONUNBUFFERED": "1", **environ},
        cwd=ROOT,
        stderr=-1,
        start_new_session=True,
    )
    ours = RunningProcess(process)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ours._read)
        try:
            yield ours
        finally:
            with trio.CancelScope(shield=True):
                try:
                    os.killpg(process.pid, signal.SIGCONT)
                    os.killpg(process.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
                await process.wait()
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def running_producer(
    environ: Mapping[str, str], *options: str
) -> AsyncIterator[tuple[RunningProcess, httpx.AsyncClient]]:
    """`hypercorn -k trio services.producer:app`, and a client of it."""
    command = ["hypercorn", "-k", "trio", "-b", "127.0.0.1:0", *options, "services.producer:app"]
    async with running(command, environ) as process:
        url = (await process.says(r"Running on (http://127\.0\.0\.1:\d+)"))[1]
        async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as client:
            yield process, client
