"""Processes under measurement: started, looked at from outside, and ended."""

import http.client
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent
START_SECONDS = 30.0
END_SECONDS = 15.0


@contextmanager
def process(*arguments: str, environ: Mapping[str, str]) -> Iterator["subprocess.Popen[str]"]:
    """`python -m ARGUMENTS`; ended by SIGTERM at the end of the block, and by SIGKILL where that takes too long."""
    started = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=_kept() | {"PYTHONUNBUFFERED": "1", **environ},
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield started
    finally:
        end(started)


def end(started: "subprocess.Popen[str]") -> float:
    """SIGTERM; how many seconds the end took."""
    began = time.perf_counter()
    started.send_signal(signal.SIGTERM)
    try:
        started.communicate(timeout=END_SECONDS)
    except subprocess.TimeoutExpired:
        started.kill()
        started.wait()
    return time.perf_counter() - began


def _kept() -> dict[str, str]:
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}


@contextmanager
def hypercorn(app: str, environ: Mapping[str, str]) -> Iterator[tuple[int, int]]:
    """`hypercorn -k trio app` as a process of its own; yields its port and the pid of the process that serves."""
    command = [sys.executable, "-m", "hypercorn", "-k", "trio", "-b", "127.0.0.1:0", app]
    started = subprocess.Popen(
        command, cwd=ROOT, env=_kept() | {"PYTHONUNBUFFERED": "1", **environ}, stderr=subprocess.PIPE, text=True
    )
    try:
        yield _port(started), _serving_pid(started.pid)
    finally:
        end(started)


@contextmanager
def producer(environ: Mapping[str, str]) -> Iterator[tuple[int, int]]:
    """The real one under Hypercorn, once its servers and tables are there."""
    with hypercorn("workqueue.services.producer:app", environ) as (port, pid):
        deadline = time.monotonic() + START_SECONDS
        while not _is_ready(port):
            if time.monotonic() > deadline:
                raise RuntimeError("the producer is not ready")
            time.sleep(0.05)
        yield port, pid


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
    connection.request("GET", "/ready")
    status = connection.getresponse().status
    connection.close()
    return status == 200


def _port(started: "subprocess.Popen[str]") -> int:
    assert started.stderr is not None
    deadline = time.monotonic() + START_SECONDS
    said = ""
    while time.monotonic() < deadline:
        line = started.stderr.readline()
        said += line
        if match := re.search(r"Running on http://127\.0\.0\.1:(\d+)", line):
            return int(match[1])
        if not line:
            break
    raise RuntimeError(f"hypercorn did not start: {said}")


def _serving_pid(parent: int) -> int:
    """Hypercorn's command is a parent with a resource tracker and a process that serves: the one that imported most."""
    children = [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    return max(children, key=resident_bytes)


def resident_bytes(pid: int) -> int:
    """Memory that a process holds now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_bytes(pid: int) -> int:
    """The most memory that a process has held since `forget_peak`."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the kernel tells no peak of memory")


def forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")
