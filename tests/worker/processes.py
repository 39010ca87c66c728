"""Worker processes, started and ended as systemd would."""

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import httpx
import trio

from tests.cli.support import environ
from tests.support.wait import until, until_true
from workqueue.services.local.process import free_port


class WorkerProcess:
    """A running worker. Mutable state: what it has said so far."""

    def __init__(self, process: trio.Process, port: int) -> None:
        self.process = process
        self.port = port
        self.said = ""

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    async def says(self, pattern: str, *, seconds: float = 30) -> None:
        """Until it has said something like that."""
        await until_true(lambda: re.search(pattern, self.said), seconds=seconds)

    async def get(self, path: str, **headers: str) -> httpx.Response:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=20) as client:
            return await client.get(path, headers=headers)

    async def answers(self, path: str, status: int, *, seconds: float = 30) -> None:
        """Until `path` is answered with this status."""

        async def has_status() -> bool:
            return (await self.get(path)).status_code == status

        await until(has_status, seconds=seconds)

    async def listen(self) -> None:
        assert self.process.stdout is not None
        async for piece in self.process.stdout:
            self.said += piece.decode("utf-8", "replace")

    async def terminate(self, *, seconds: float = 90) -> float:
        """SIGTERM; returns how long it took to end."""
        begun = trio.current_time()
        self.process.send_signal(signal.SIGTERM)
        with trio.fail_after(seconds):
            await self.process.wait()
        return trio.current_time() - begun


def worker_process(
    nursery: trio.Nursery,
    ledger: Path,
    *,
    wait: bool = True,
    processes: int = 1,
    code: Path | None = None,
    **variables: str,
) -> AbstractAsyncContextManager[WorkerProcess]:
    """As `open_worker`, with the variables by name."""
    return open_worker(nursery, ledger, variables, wait=wait, processes=processes, code=code)


@asynccontextmanager
async def open_worker(
    nursery: trio.Nursery,
    ledger: Path,
    variables: Mapping[str, str],
    *,
    wait: bool = True,
    processes: int = 1,
    code: Path | None = None,
) -> AsyncIterator[WorkerProcess]:
    """A worker with the handlers of ledger_handlers; `wait`: until it takes jobs, in each of its processes.

    `code`: a folder with that of another release.
    """
    port = free_port()
    several = ["-m", "workqueue.services.cli", "worker", "--processes", str(processes)]
    process = await trio.lowlevel.open_process(
        [sys.executable, *(several if processes > 1 else ["-m", "workqueue.services.worker"])],
        env=environ(**{
            "WORKER_HANDLERS": "tests.worker.ledger_handlers", "LEDGER": str(ledger), "WORKER_PORT": str(port),
            "RETRY_BASE_SECONDS": "0.05",
        } | dict(variables)),
        cwd=code,  # where `python -m` looks first
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    worker = WorkerProcess(process, port)
    nursery.start_soon(worker.listen)
    try:
        if wait:
            await until_true(
                lambda: worker.said.count("takes jobs from") == processes or process.poll() is not None, seconds=60
            )
            assert process.poll() is None, worker.said
        yield worker
    finally:
        if process.poll() is None:
            process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


def ledger_counts(ledger: Path) -> tuple[Counter[str], Counter[str]]:
    """How often each job started and ended."""
    starts: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    if ledger.exists():
        for line in ledger.read_text("ascii").splitlines():
            what, job_id = line.split()
            (starts if what == "start" else ends)[job_id] += 1
    return starts, ends


def cpu_seconds(pid: int) -> float:
    """Processor time of a process so far. Linux."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float:
    """Memory of a process. Linux."""
    return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
