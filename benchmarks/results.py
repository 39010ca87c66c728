"""Rounds, medians, a table and a file."""

import json
import platform
from pathlib import Path
from statistics import median

from msgspec import Struct, to_builtins
from rich.console import Console
from rich.table import Table


class Rate(Struct, frozen=True):
    """One round of one measurement."""

    per_second: float
    cpu_us: float | None = None  #: CPU of our own process, for each job


class Figure(Struct):
    """All rounds of one measurement, and the floor that was measured beside it."""

    name: str
    floor: str | None
    rounds: list[Rate] = []

    @property
    def median(self) -> float:
        return median(rate.per_second for rate in self.rounds)


def show(figures: list[Figure], target: Path) -> None:
    """Print the table and write every round to `target`."""
    by_name = {figure.name: figure for figure in figures}
    table = Table(title="jobs per second: median (lowest to highest)")
    for column in ("what", "per second", "CPU of a job", "share of its floor"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for figure in figures:
        rates = sorted(rate.per_second for rate in figure.rounds)
        cpu = [rate.cpu_us for rate in figure.rounds if rate.cpu_us is not None]
        floor = by_name[figure.floor] if figure.floor else None
        table.add_row(
            figure.name,
            f"{figure.median:,.0f} ({rates[0]:,.0f} to {rates[-1]:,.0f})",
            f"{median(cpu):.1f} us" if cpu else "",
            f"{figure.median / floor.median:.0%}" if floor else "floor",
        )
    Console().print(table)
    machine = {"python": platform.python_version(), "machine": platform.machine(), "system": platform.system()}
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps({"machine": machine, "figures": to_builtins(figures)}, indent=2), "utf-8")
