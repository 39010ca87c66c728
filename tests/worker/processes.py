"""Worker processes, started and ended as systemd would."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from tests.cli.support import environ
from tests.support.wait import until_true
from workqueue.services.local.process import free_port


class WorkerProcess:
    """A running worker. Mutable state: what it has said so far."""

    def __init__(self, process: trio.Process, port: int) -> None:
        self.process = process
        self.port = port
        self.said = ""

    async def listen(self) -> None:
        assert self.process.stdout is not None
        async for piece in self.process.stdout:
            self.said += piece.decode("utf-8", "replace")

    async def terminate(self, *, seconds: float = 30) -> float:
        """SIGTERM; returns how long it took to end."""
        begun = trio.current_time()
        self.process.send_signal(signal.SIGTERM)
        with trio.fail_after(seconds):
            await self.process.wait()
        return trio.current_time() - begun


@asynccontextmanager
async def worker_process(
    nursery: trio.Nursery,
    ledger: Path,
    *,
    wait: bool = True,
    processes: int = 1,
    code: Path | None = None,
    **variables: str,
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
        } | variables),
        cwd=code,  # where `python -m` looks first
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    worker = WorkerProcess(process, port)
    nursery.start_soon(worker.listen)
    try:
        if wait:
            await until_true(
                lambda: worker.said.count("takes jobs from") == processes or process.poll() is not None, seconds=30
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
