"""Figures: what is measured, its floor, its target, and all of its rounds."""

import json
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median

from msgspec import Struct, to_builtins
from rich.console import Console
from rich.table import Table


class Sample(Struct, frozen=True):
    """One round of one measurement."""

    value: float
    cpu_us: float | None = None  #: CPU of our own process, for each job


class Figure(Struct):
    """One line of the table. A target is met when each of its bounds that is given holds for the medians."""

    name: str
    unit: str = "jobs/s"
    floor: str | None = None  #: name of the figure that it is held against
    at_least: float | None = None
    at_most: float | None = None
    cpu_at_most: float | None = None
    share_at_least: float | None = None  #: of the floor
    either: bool = False  #: `at_least` or `share_at_least` is enough
    rounds: list[Sample] = []

    @property
    def median(self) -> float:
        return median(sample.value for sample in self.rounds)

    @property
    def cpu_us(self) -> float | None:
        cpu = [sample.cpu_us for sample in self.rounds if sample.cpu_us is not None]
        return median(cpu) if cpu else None

    @property
    def target(self) -> str:
        """In words."""
        bounds = []
        if self.at_least is not None:
            bounds.append(f"≥ {show(self.at_least)}")
        if self.share_at_least is not None:
            bounds.append(f"≥ {self.share_at_least:.0%} of its floor")
        if self.at_most is not None:
            bounds.append(f"≤ {show(self.at_most)}")
        if self.cpu_at_most is not None:
            bounds.append(f"≤ {self.cpu_at_most:g} µs")
        return (" or " if self.either else ", ").join(bounds)

    def times(self, floor: "Figure | None") -> float | None:
        """How many times better than its target: of several bounds the worst, or the best where either is enough.

        None: it has no target.
        """
        found = []
        if self.at_least is not None:
            found.append(self.median / self.at_least)
        if self.share_at_least is not None and floor is not None and floor.rounds:
            found.append(self.median / (self.share_at_least * floor.median))
        if self.at_most is not None:
            found.append(self.at_most / max(self.median, 1e-9))
        if self.cpu_at_most is not None and self.cpu_us is not None:
            found.append(self.cpu_at_most / self.cpu_us)
        return (max(found) if self.either else min(found)) if found else None

    def is_met(self, floor: "Figure | None") -> bool | None:
        """None: it has no target."""
        times = self.times(floor)
        return None if times is None else times >= 1


def show(value: float) -> str:
    """With as many digits as say something."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def merge(figures: Iterable[Figure], samples: Mapping[str, Sample]) -> None:
    """Add what a round brought."""
    by_name = {figure.name: figure for figure in figures}
    for name, sample in samples.items():
        by_name[name].rounds.append(sample)


def table(figures: list[Figure]) -> Table:
    """What was measured, for people; figures without a round are left out."""
    by_name = {figure.name: figure for figure in figures}
    shown = Table(title="median (lowest to highest)")
    for column in ("what", "measured", "", "CPU of a job", "of its floor", "target", ""):
        shown.add_column(column, justify="left" if column in {"what", "target"} else "right")
    for figure in figures:
        if not figure.rounds:
            continue
        values = [sample.value for sample in figure.rounds]
        floor = by_name.get(figure.floor) if figure.floor else None  # a part without the one that has its floor
        if floor is not None and not floor.rounds:
            floor = None
        met = figure.is_met(floor)
        shown.add_row(
            figure.name,
            f"{show(figure.median)} {figure.unit}",
            f"{show(min(values))} to {show(max(values))}" if len(values) > 1 else "one round",
            f"{figure.cpu_us:.1f} µs" if figure.cpu_us is not None else "",
            f"{figure.median / floor.median:.0%}" if floor else "",
            figure.target,
            {None: "", True: "met", False: "NOT met"}[met],
        )
    return shown


def write(figures: list[Figure], target: Path) -> None:
    """Print the table and write every round to `target`."""
    Console(width=160).print(table(figures))
    machine = {
        "python": platform.python_version(),
        "processor": _processor(),
        "system": platform.system(),
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    rounds = [to_builtins(figure) for figure in figures if figure.rounds]
    target.write_text(json.dumps({"machine": machine, "figures": rounds}, indent=1) + "\n", "utf-8")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
