"""README's figures are those of the last runs (docs/figures/), to the digit that it rounds to."""

import re
from pathlib import Path

import msgspec
import pytest

from benchmarks.publish import Bench, Peers
from benchmarks.results import Figure

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
NUMBER = r"\d+(?:,\d{3})*(?:\.\d+)?"

#: Of bench.json, in the order of README's table; `@cpu`: the CPU of a job.
OF_THE_TABLE = [
    *[f"no-ops, {where}, concurrency {at}{cpu}"
      for at in (2, 1000) for where in ("Redis only", "with rows") for cpu in ("", "@cpu")],
    "no-ops, --processes 2",
    "all jobs fail, Redis only, concurrency 2",
    "floor: a bare ASGI app on Hypercorn, 64 connections",
    *[f"POST {what}" for what in ("/enqueue, Redis only, 64 connections", "/enqueue, with rows, 64 connections",
                                  "/api/jobs/batch, Redis only, one client", "/api/jobs/batch, with rows, one client")],
    *[f"{way} to the start of its handler, {where}, {part}"
      for way in ("RPUSH", "POST /enqueue") for where in ("Redis only", "with rows") for part in ("p50", "p99")],
]  # fmt: skip


def agree(shown: list[str], measured: list[float]) -> None:
    assert len(shown) == len(measured), shown
    for text, value in zip(shown, measured, strict=True):
        digits = text.replace(",", "")
        zeros = len(digits) - len(digits.rstrip("0"))
        unit = 10.0 ** -len(digits.partition(".")[2]) if "." in digits else 10.0**zeros
        assert abs(float(digits) - value) <= unit / 2, f"README has {text}, measured was {value:g}"


def test_the_table_is_that_of_the_bench():
    bench = msgspec.json.decode((ROOT / "docs/figures/bench.json").read_bytes(), type=Bench)
    figures = {figure.name: figure for figure in bench.figures}

    def value(name: str) -> float:
        figure: Figure = figures[name.removesuffix("@cpu")]
        measured = figure.cpu_us if name.endswith("@cpu") else figure.median
        assert measured is not None, name
        return measured

    rows = README[README.index("| one worker process does no-op jobs") : README.index("![No-op jobs a second")]
    agree(re.findall(rf"({NUMBER})(?=/s| jobs/s| µs| ms)", rows), list(map(value, OF_THE_TABLE)))


def test_the_comparison_is_that_of_the_run_beside_other_systems():
    peers = msgspec.json.decode((ROOT / "docs/figures/peers.json").read_bytes(), type=Peers)
    ours = "WorkQueue"

    def best(workload: str, peer: str, settings: str = "") -> float:
        rows = [row for row in peers.workloads[workload] if row.peer == peer and row.settings.startswith(settings)]
        return (min if "latency" in workload else max)(row.median for row in rows if row.median is not None)

    others = [name for name, about in peers.peers.items() if about["language"] == "python"]
    python = max(best("drain", name) for name in others if "redis" in str(peers.peers[name]["servers"]))
    at_2, at_100 = (best("drain", ours, f"Redis only, WORKER_CONCURRENCY {number}") for number in (2, 100))
    calls, latency = "enqueue, one call at a time", "latency p50"
    both = ("Redis only", "with rows")
    measured = [
        at_2 / python, at_100 / python, at_2 / best("drain", "BullMQ"),
        *[best(calls, ours, settings) for settings in both], best(calls, "Huey"),
        *[best(latency, ours, settings) for settings in both],
        *[best(latency, peer) for peer in ("Huey", "taskiq", "graphile-worker")],
    ]  # fmt: skip
    (said,) = re.findall(r"In the run beside other systems .*", README)
    agree(re.findall(NUMBER, said.replace("concurrency 100", "")), measured)
    assert best("drain", ours, "with rows") == pytest.approx(best("drain", "graphile-worker"), rel=0.05)
    assert len(peers.peers) - 1 == 13, "the picture's caption says thirteen"
