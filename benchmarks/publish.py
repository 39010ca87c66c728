"""Puts the figures of the last runs into docs/: `python -m benchmarks.publish`.

Reads benchmarks/results/bench.json and peers.json; writes them, their pictures and docs/figures.md with every table.
"""

import shutil
from pathlib import Path
from statistics import median

import msgspec
from msgspec import Struct

from benchmarks.peers.results import UNITS, Row
from benchmarks.plot import GOOD, OTHERS, OURS, SHORT, Bar, bars
from benchmarks.results import Figure, show

RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parent.parent / "docs"
TIMES_MAX = 3.0  #: how far the picture of the targets reaches


class Bench(Struct):
    """bench.json."""

    machine: dict[str, object]
    figures: list[Figure]


class Peers(Struct):
    """peers.json."""

    machine: dict[str, object]
    settings: dict[str, object]
    peers: dict[str, dict[str, object]]
    workloads: dict[str, list[Row]]


def main() -> None:
    bench = msgspec.json.decode((RESULTS / "bench.json").read_bytes(), type=Bench)
    peers = msgspec.json.decode((RESULTS / "peers.json").read_bytes(), type=Peers)
    folder = DOCS / "figures"
    folder.mkdir(exist_ok=True)
    for name in ("bench.json", "peers.json"):
        shutil.copyfile(RESULTS / name, folder / name)
    (folder / "bench.svg").write_text(plot_targets(bench.figures), "utf-8")
    (folder / "peers.svg").write_text(plot_peers(peers.workloads["drain"]), "utf-8")
    text = "\n\n".join([_head(bench, peers), _targets(bench.figures), *_workloads(peers), _notes(peers)])
    (DOCS / "figures.md").write_text(text + "\n", "utf-8")


def plot_targets(figures: list[Figure]) -> str:
    """Each bar is measured / target, so that 1 is where it should be."""
    lines = []
    for figure, floor in _with_floors(figures):
        if (times := figure.times(floor)) is not None:
            value = f"{show(figure.median)} {figure.unit} ({times:.2g}×)"
            lines.append(Bar(figure.name, times / TIMES_MAX, value, GOOD if times >= 1 else SHORT))
    return bars("measured, in terms of its target (dashed)", lines, mark_at=1 / TIMES_MAX)


def plot_peers(drain: list[Row]) -> str:
    """No-op jobs a second, the best on top."""
    done = sorted((row for row in drain if row.median is not None), key=lambda row: -(row.median or 0.0))
    best = max((row.median or 0.0 for row in done), default=1.0)
    return bars(
        "no-op jobs a second, one worker process",
        [
            Bar(
                f"{row.peer} {row.version}, {_shorter(row.settings)}", (row.median or 0.0) / best,
                f"{row.median:,.0f}", OURS if row.peer.startswith("WorkQueue") else OTHERS,
            )
            for row in done
        ],
    )  # fmt: skip


def _shorter(settings: str) -> str:
    return settings if len(settings) <= 44 else settings[:43] + "…"


def _with_floors(figures: list[Figure]) -> list[tuple[Figure, Figure | None]]:
    by_name = {figure.name: figure for figure in figures}
    return [(figure, by_name.get(figure.floor or "")) for figure in figures if figure.rounds]


def _head(bench: Bench, peers: Peers) -> str:
    machine = ", ".join(f"{value}" for value in bench.machine.values())
    sentences = [
        "Made by `python -m benchmarks.publish` out of the last runs of `make bench` and `make bench-peers`.",
        f"Python {machine}, {peers.machine['cores']} cores; Redis is {peers.settings['redis']}; Postgres has",
        f"{peers.settings['postgres']}. Every figure is the median of its rounds, with the lowest and the highest; all",
        "rounds stand in [bench.json](figures/bench.json) and [peers.json](figures/peers.json).",
        "[performance.md](performance.md) says where the time goes.",
    ]
    return "# Figures\n\n" + " ".join(sentences)


def _targets(figures: list[Figure]) -> str:
    lines = [
        "## Ours, beside floors of the same run", "", "![Each figure in terms of its target](figures/bench.svg)", "",
        "| what | measured | CPU of a job | of its floor | target | |", "| --- | --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    for figure, floor in _with_floors(figures):
        values = [sample.value for sample in figure.rounds]
        span = f" ({show(min(values))} to {show(max(values))})" if len(values) > 1 else ""
        cpu = f"{figure.cpu_us:.1f} µs" if figure.cpu_us is not None else ""
        share = f"{figure.median / floor.median:.0%}" if floor is not None else ""
        met = {None: "", True: "met", False: "**not met**"}[figure.is_met(floor)]
        lines.append(
            f"| {figure.name} | {show(figure.median)} {figure.unit}{span} | {cpu} | {share} | {figure.target} | {met} |"
        )
    return "\n".join(lines)


def _workloads(peers: Peers) -> list[str]:
    texts = ["## Beside other job systems\n\n![No-op jobs a second](figures/peers.svg)"]
    for workload, rows in peers.workloads.items():
        unit = UNITS[workload]
        sign = 1 if unit == "ms" else -1
        lines = [f"### {workload[0].upper()}{workload[1:]}", "", f"| | settings | {unit} | CPU of a job |"]
        lines.append("| --- | --- | --- | --- |")
        for row in sorted(rows, key=lambda row: (row.median is None, sign * (row.median or 0.0))):
            if row.median is None or row.min is None or row.max is None:
                measured = row.note or "–"
            else:
                digits = 2 if unit == "ms" else 0
                measured = f"{row.median:,.{digits}f} ({row.min:,.{digits}f} to {row.max:,.{digits}f})"
            cpu = f"{median(row.cpu_us):,.0f} µs" if row.cpu_us else ""
            name = f"**{row.peer} {row.version}**" if row.peer.startswith("WorkQueue") else f"{row.peer} {row.version}"
            lines.append(f"| {name} | {row.settings} | {measured} | {cpu} |")
        texts.append("\n".join(lines))
    return texts


def _notes(peers: Peers) -> str:
    notes = [f"- {name} ({peer['language']}): {peer['note']}" for name, peer in peers.peers.items() if peer["note"]]
    return "\n".join(["### What has to be known of each", "", *notes])


if __name__ == "__main__":
    main()
