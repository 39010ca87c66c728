"""Rounds, medians, tables and a file."""

from collections.abc import Mapping, Sequence
from statistics import median, quantiles

from msgspec import Struct, field
from rich.console import Console
from rich.table import Table

UNITS = {
    "drain": "jobs/s",
    "enqueue, one call at a time": "jobs/s",
    "enqueue, in bulk": "jobs/s",
    "latency p50": "ms",
    "latency p99": "ms",
    "sleep": "jobs/s",
}


class Row(Struct):
    """One peer at one setting in one workload."""

    peer: str
    version: str
    settings: str
    unit: str
    jobs: list[int] = field(default_factory=list)  #: of each round
    rounds: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)  #: CPU of the worker's processes, a job, of each round (drain)
    median: float | None = None
    min: float | None = None
    max: float | None = None
    note: str = ""  #: why there is no figure, or fewer rounds than asked for

    def add(self, value: float, jobs: int, cpu_us: float | None = None) -> None:
        """Take a round in."""
        self.rounds.append(value)
        self.jobs.append(jobs)
        if cpu_us is not None:
            self.cpu_us.append(cpu_us)
        self.median, self.min, self.max = median(self.rounds), min(self.rounds), max(self.rounds)


class Span(Struct, frozen=True):
    """From the first job done to the last."""

    first_ns: int
    last_ns: int
    jobs: int

    @property
    def per_second(self) -> float:
        """The first job only starts the clock."""
        return (self.jobs - 1) / max(1e-9, (self.last_ns - self.first_ns) / 1e9)


NOTHING = Span(0, 0, 0)


def add_report(span: Span, lines: bytes) -> Span:
    """A span, and the chunks that a worker has reported since: whole lines."""
    chunks = [[int(part) for part in line.split()] for line in lines.splitlines()]
    if not chunks:
        return span
    firsts, lasts, counts = zip(*chunks, strict=True)
    first = min(firsts) if not span.jobs else min(span.first_ns, *firsts)
    return Span(first, max(span.last_ns, *lasts), span.jobs + sum(counts))


def at(samples: Sequence[tuple[int, float]], when_ns: int) -> float:
    """The value of a growing quantity at a time, between the samples around it (or the nearest one)."""
    before = after = samples[0]
    for sample in samples:
        before, after = after, sample
        if sample[0] >= when_ns:
            break
    (begin, low), (end, high) = before, after
    if end == begin or when_ns >= end:
        return high
    if when_ns <= begin:
        return low
    return low + (high - low) * (when_ns - begin) / (end - begin)


def chunk_of(jobs: int) -> int:
    """Jobs a report of a worker: some 20 reports a round, and no remainder that is never reported."""
    return next((jobs // parts for parts in (20, 10, 5, 4, 2) if jobs % parts == 0), 1)


def jobs_for(per_second: float, seconds: float, jobs_max: int) -> int:
    """How many jobs take about so long: two digits that count, and a multiple of 20."""
    wanted = min(per_second * seconds, float(jobs_max))
    step = 20
    while step * 100 <= wanted:
        step *= 10
    return min(max(step, round(wanted / step) * step), max(20, jobs_max // 20 * 20))


def p50_p99(values: Sequence[float]) -> tuple[float, float]:
    cuts = quantiles(values, n=100, method="inclusive")
    return cuts[49], cuts[98]


def show(workloads: Mapping[str, list[Row]], notes: Mapping[str, str]) -> None:
    """A table a workload, the best on top; then what has to be known of each peer."""
    console = Console()
    for workload, rows in workloads.items():
        if not rows:
            continue
        unit = UNITS[workload]
        table = Table(title=f"{workload}, {unit}: median (lowest to highest)")
        for column in ("peer", "settings", unit, "jobs", *(("CPU of a job",) if workload == "drain" else ())):
            table.add_column(column, justify="left" if column in ("peer", "settings") else "right")
        best_first = sorted(
            rows, key=lambda row: (row.median is None, (row.median or 0.0) * (1 if unit == "ms" else -1))
        )
        for row in best_first:
            cells = [f"{row.peer} {row.version}", row.settings, _figure(row), _range(row.jobs)]
            if workload == "drain":
                cells.append(f"{median(row.cpu_us):,.0f} us" if row.cpu_us else "")
            table.add_row(*cells)
        console.print(table)
    for peer, note in notes.items():
        console.print(f"{peer}: {note}", highlight=False)


def _figure(row: Row) -> str:
    if row.median is None or row.min is None or row.max is None:
        return row.note or "-"
    digits = 2 if row.unit == "ms" else 0
    return f"{row.median:,.{digits}f} ({row.min:,.{digits}f} to {row.max:,.{digits}f})"


def _range(jobs: Sequence[int]) -> str:
    low, high = (min(jobs), max(jobs)) if jobs else (0, 0)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
