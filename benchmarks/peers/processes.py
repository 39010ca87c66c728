"""A peer's worker as a process of ours: how much CPU it and its children take, and that none of them stays."""

import contextlib
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from workqueue.services.local.process import end_process

STOP_SECONDS = 5.0
TICKS = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A peer did not do what it was asked to; in one line."""


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for parent in found:  # grows while it is walked
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += [int(child) for child in task.read_text().split()]
    return found


def cpu_seconds(pid: int) -> float:
    """CPU time of a process, its descendants, and those of them that have ended and were waited for."""
    total = 0
    for member in family(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
            total += sum(int(ticks) for ticks in fields[11:15])
    return total / TICKS


@asynccontextmanager
async def running(command: Sequence[str], environ: Mapping[str, str], folder: Path) -> AsyncIterator[trio.Process]:
    """A worker in a session of its own, until the block ends; then it and its descendants are ended."""
    with (folder / "worker.log").open("ab") as log:
        process = await trio.lowlevel.open_process(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=dict(environ),
            cwd=folder,
        )
    try:
        yield process
    finally:
        with trio.CancelScope(shield=True):
            members = family(process.pid)[1:]  # some leave the group: RQ's forked child, for one
            await end_process(process, seconds=STOP_SECONDS)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)  # a group of our own, whose leader has ended
            for pid in members:
                if _is_child_of_the_dead(pid):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)


def _is_child_of_the_dead(pid: int) -> bool:
    """A descendant that outlived the worker has been given to init; a pid that was given to another has not."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) == 1
    except OSError:
        return False


async def run(command: Sequence[str], environ: Mapping[str, str], folder: Path, seconds: float) -> str:
    """The last line that a command prints. Raises Failed when it fails or takes longer than `seconds`."""
    with trio.move_on_after(seconds):
        done = await trio.run_process(
            list(command), capture_stdout=True, capture_stderr=True, check=False, env=dict(environ), cwd=folder
        )
        lines = done.stdout.decode("utf-8", "replace").splitlines()
        if done.returncode == 0 and lines:
            return lines[-1]
        raise Failed(f"its client failed: {last_line(done.stderr)}")
    raise Failed(f"its client took longer than {seconds:g} s")


def last_line(log: bytes) -> str:
    """What a process said at the end; the last line that names an error, where there is one."""
    lines = [line.strip() for line in log.decode("utf-8", "replace").splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line]
    return (errors or lines or ["it said nothing"])[-1][:200]
