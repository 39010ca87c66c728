"""The ledger: every run of every job, as the handlers noted it. Pure.

Lines are `start|end|fail|cut TIME PID N NUMBER` and `asleep FROM PID UNTIL`; TIME is the machine's monotonic clock,
N the job's own number from its payload, NUMBER that of the run.
"""

from collections.abc import Iterable

from msgspec import Struct


class Run(Struct):
    """One run of one job, put together from its lines."""

    n: int
    number: int  #: 1 = the job's first run, as the system counts
    pid: int
    begun: float
    ended: float | None = None  #: None: its process died in the middle, or it was cancelled without a record
    how: str = ""  #: end | fail | cut
    line: int = 0  #: of the ledger, from 1

    def __str__(self) -> str:
        end = f"{self.how} at {self.ended:.3f}" if self.ended is not None else "no end"
        return f"line {self.line}: job {self.n} run {self.number} in process {self.pid} from {self.begun:.3f}, {end}"


class Stillness(Struct, frozen=True):
    """A process as a whole did nothing: it was stopped, or got no processor."""

    pid: int
    begun: float
    ended: float


class Ledger(Struct):
    """What the handlers noted."""

    runs: dict[int, list[Run]]  #: job -> its runs, in the order of their starts
    stillness: list[Stillness]
    faults: list[str]  #: lines that make no sense


def read_ledger(lines: Iterable[str]) -> Ledger:
    """Put the lines together."""
    ledger = Ledger({}, [], [])
    open_runs: dict[tuple[int, int, int], Run] = {}
    for count, line in enumerate(lines, 1):
        try:
            what, time, pid, *rest = line.split()
            if what == "asleep":
                ledger.stillness.append(Stillness(int(pid), float(time), float(rest[0])))
                continue
            n, number = map(int, rest)
            key = int(pid), n, number
            if what == "start":
                run = open_runs[key] = Run(n, number, int(pid), float(time), line=count)
                ledger.runs.setdefault(n, []).append(run)
            else:
                run = open_runs.pop(key)
                run.ended, run.how = float(time), what
        except (ValueError, KeyError, IndexError):
            ledger.faults.append(f"line {count} of the ledger makes no sense: {line.strip()[:100]}")
    for runs in ledger.runs.values():
        runs.sort(key=lambda run: run.begun)
    return ledger
