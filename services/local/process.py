"""Child processes of our own: in a session of their own, ready before they are used, ended before we go on."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from workqueue.services.local.errors import LocalServerError

POLL_SECONDS = 0.02
READY_SECONDS = 30.0
STOP_SECONDS = 10.0
FREE_FROM, FREE_BELOW = 20_000, 32_768
FREE_TRIES = 100


def free_port() -> int:
    """A port on loopback that is free at this moment.

    Below those that systems give to outgoing connections (Linux from 32,768, others from 49,152): one of these may be
    taken before its server listens.
    """
    for _ in range(FREE_TRIES):
        if is_free("127.0.0.1", port := FREE_FROM + secrets.randbelow(FREE_BELOW - FREE_FROM)):
            return port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_free(host: str, port: int) -> bool:
    """Could we listen there?"""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError:
        return False
    return True


@asynccontextmanager
async def run_server(
    name: str,
    command: Sequence[str | Path],
    *,
    log_file: Path,
    is_ready: Callable[[], Awaitable[bool]],
    pid_file: Path | None = None,
    stop_signal: signal.Signals = signal.SIGTERM,
    environ: Mapping[str, str] | None = None,
    **options: Any,
) -> AsyncIterator[trio.Process]:
    """Run a server until the block ends; entered once `is_ready` says so.

    Raises LocalServerError with the end of its log when it ends by itself before, or takes longer than READY_SECONDS.
    It has a session of its own, so that a Ctrl-C reaches only this process, which then ends it.
    """
    with log_file.open("ab") as log:
        begin = log.tell()
        process = await trio.lowlevel.open_process(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=dict(environ) if environ is not None else None,
            **options,
        )
    try:
        if pid_file is not None:
            pid_file.write_text(str(process.pid), "ascii")
        with trio.move_on_after(READY_SECONDS) as patience:
            while process.poll() is None and not await is_ready():
                await trio.sleep(POLL_SECONDS)
        if patience.cancelled_caught or process.poll() is not None:
            said = await _last_lines(log_file, begin)
            raise LocalServerError(f"{name} did not start: {said or 'it wrote nothing'} (its log: {log_file})")
        yield process
    finally:
        with trio.CancelScope(shield=True):
            await end_process(process, stop_signal)
        if pid_file is not None:
            pid_file.unlink(missing_ok=True)


async def end_process(
    process: trio.Process, stop_signal: signal.Signals = signal.SIGTERM, seconds: float | None = None
) -> None:
    """Send SIGTERM, and SIGKILL after so many seconds."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(stop_signal)
    with trio.move_on_after(STOP_SECONDS if seconds is None else seconds) as patience:
        await process.wait()
    if patience.cancelled_caught:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def end_leftover(pid_file: Path, marks: Sequence[str], stop_signal: signal.Signals = signal.SIGTERM) -> bool:
    """End a server that a killed parent left behind; True: there was one.

    Only a process whose command line holds all of `marks` is ours: a pid may have been given to another since.
    """
    try:
        pid = int((await trio.Path(pid_file).read_text("ascii")).split()[0])
    except (OSError, ValueError, IndexError):
        return False
    if not await _is_ours(pid, marks):
        return False
    for number in (stop_signal, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        with trio.move_on_after(STOP_SECONDS):
            while await _is_ours(pid, marks):
                await trio.sleep(POLL_SECONDS)
            return True
    return True


async def _is_ours(pid: int, marks: Sequence[str]) -> bool:
    if Path("/proc/self/cmdline").exists():
        try:
            line = (await trio.Path(f"/proc/{pid}/cmdline").read_bytes()).decode("utf-8", "replace")
        except OSError:
            return False
    else:  # macOS
        done = await trio.run_process(["ps", "-o", "command=", "-p", str(pid)], capture_stdout=True, check=False)
        line = done.stdout.decode("utf-8", "replace")
    return all(mark in line for mark in marks)


async def _last_lines(log_file: Path, begin: int) -> str:
    text = (await trio.Path(log_file).read_bytes())[begin:].decode("utf-8", "replace").strip()
    return " | ".join(text.splitlines()[-3:])[-500:]
