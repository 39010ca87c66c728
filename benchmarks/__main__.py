"""Runs every measurement in interleaved rounds on embedded servers, append-only file and fsync on."""

import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import trio

from benchmarks import drain, floors, http, listing, options, workers
from benchmarks.results import Figure, Sample, merge, write
from benchmarks.servers import Servers
from workqueue.services.local.postgres import run_postgres
from workqueue.services.local.valkey import run_valkey

RESULTS = Path(__file__).parent / "results"
Measure = Callable[[Servers], dict[str, Sample]]

#: name -> what it measures in each round, and what once; one row of the table after the other.
PARTS: dict[str, tuple[list[Figure], Measure | None, list[Figure], Measure | None]] = {
    "floors": (floors.FIGURES, floors.measure, [], None),
    "drain": (drain.FIGURES, drain.measure, [], None),
    "options": (options.FIGURES, options.measure, options.ONCE, options.measure_once),
    "workers": (workers.FIGURES, workers.measure, workers.ONCE, workers.measure_once),
    "http": (http.FIGURES, http.measure, http.ONCE, http.measure_once),
    "listing": ([], None, listing.ONCE, listing.measure_once),
}


@click.command()
@click.option("--rounds", default=3, show_default=True, help="The table shows medians.")
@click.option("--scale", default=1.0, show_default=True, help="Of the number of jobs: 0.1 for a first look.")
@click.option("--only", multiple=True, type=click.Choice(list(PARTS)), help="Parts; the floors come along.")
def main(rounds: int, scale: float, only: tuple[str, ...]) -> None:
    """Measure, print the table, and leave every round in benchmarks/results/bench.json."""
    chosen = [name for name in PARTS if not only or name == "floors" or name in only]
    begun = time.monotonic()
    logging.disable(logging.CRITICAL)  # jobs that fail on purpose are no news

    def run(name: str, measure: Measure, servers: Servers, what: str) -> None:
        click.echo(f"{time.monotonic() - begun:5.0f} s  {what}: {name} ...", err=True)
        merge([*PARTS[name][0], *PARTS[name][2]], measure(servers))

    def all_of_it(servers: Servers) -> None:
        for number in range(1, rounds + 1):
            for name in chosen:
                if (measure := PARTS[name][1]) is not None:
                    run(name, measure, servers, f"round {number} of {rounds}")
        for name in chosen:
            if (once := PARTS[name][3]) is not None:
                run(name, once, servers, "once")

    async def on_servers() -> None:
        with tempfile.TemporaryDirectory(prefix="workqueue-bench-", ignore_cleanup_errors=True) as folder:
            Path(folder).chmod(0o711)
            async with (
                run_valkey(Path(folder) / "valkey") as valkey,
                run_postgres(Path(folder) / "postgres") as postgres,
            ):
                await trio.to_thread.run_sync(all_of_it, Servers(valkey.url, postgres.url, scale))

    trio.run(on_servers)
    figures = [figure for name in chosen for figure in (*PARTS[name][0], *PARTS[name][2])]
    write(figures, RESULTS / "bench.json")


main()
