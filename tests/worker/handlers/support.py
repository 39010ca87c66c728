"""A job as a handler gets it, and the processes behind one."""

import os
import resource
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from workqueue.core.job import Job, Standalone

WORKER_MIB = 100  #: of a worker, and of one of its processes that has made nothing large: docs/deployment.md
PROCESS_MIB = 80


def job(payload: Mapping[str, object], *, keeps_artifacts: bool = True, type: str = "x") -> Job:
    return Job(
        id=str(uuid4()),
        type=type,
        payload=dict(payload),
        attempt=1,
        retries=0,
        context=Standalone(keeps_artifacts=keeps_artifacts),
    )


def children_of(pid: int) -> list[int]:
    """The processes with a Python that `pid` has started and that live; servers of the tests have none. Linux."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError):
            found += [int(child) for child in (task / "children").read_text("ascii").split()]
    return sorted(child for child in found if _program(child) == _program(os.getpid()))


def _program(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def peak_mib(pid: int) -> int:
    """The most memory that it has had so far."""
    lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) >> 10


def cpu_ticks(pid: int) -> int:
    """What a process has used of a processor; 0 where there is none."""
    fields = _status(pid)
    return int(fields[11]) if fields else 0


def is_alive(pid: int) -> bool:
    fields = _status(pid)
    return bool(fields) and fields[0] != "Z"


def _status(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


@contextmanager
def few_descriptors(*, left: int) -> Iterator[None]:
    """While the block lasts, this process may open so many files and no more."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    most = max(int(each.name) for each in Path("/proc/self/fd").iterdir()) + 10
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, before[1]))
    try:
        with suppress(OSError):
            while True:
                taken.append(os.dup(2))
        for _ in range(left):
            os.close(taken.pop())
        yield
    finally:
        for each in taken:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
