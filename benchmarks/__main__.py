"""Runs every measurement in interleaved rounds on embedded servers, append-only file and fsync on."""

import tempfile
from pathlib import Path

import click
import trio

from benchmarks import floors, ours
from benchmarks.results import Figure, show
from services.local.postgres import run_postgres
from services.local.valkey import run_valkey

TARGET = Path(__file__).parent / "results" / "latest.json"


@click.command()
@click.option("--rounds", default=3, show_default=True, help="Rounds; the table shows medians.")
@click.option("--jobs", default=20_000, show_default=True, help="Jobs a measurement.")
def main(rounds: int, jobs: int) -> None:
    """Measure, and print the table."""
    lpop, rows = "floor: LPOP 500 a call, redis-py", "floor: two UPDATEs of 500, asyncpg"
    figures = {
        name: Figure(name, floor)
        for name, floor in (
            (lpop, None),
            ("submit in batches of 500, Redis only", lpop),
            ("drain, Redis only, concurrency 2", lpop),
            ("drain, Redis only, concurrency 100", lpop),
            (rows, None),
            ("submit in batches of 500, with rows", rows),
            ("drain, with rows, concurrency 2", rows),
            ("drain, with rows, concurrency 100", rows),
        )
    }

    async def servers() -> None:
        with tempfile.TemporaryDirectory(prefix="workqueue-bench-", ignore_cleanup_errors=True) as folder:
            Path(folder).chmod(0o711)
            async with (
                run_valkey(Path(folder) / "valkey") as valkey,
                run_postgres(Path(folder) / "postgres") as postgres,
            ):
                for number in range(rounds):
                    click.echo(f"round {number + 1} of {rounds} ...", err=True)
                    await trio.to_thread.run_sync(measure, valkey.url, postgres.url)

    def measure(redis_url: str, dsn: str) -> None:
        figures[lpop].rounds.append(floors.drain_lpop(redis_url, jobs))
        figures[rows].rounds.append(floors.claim_and_finish(dsn, jobs))
        for kind, database in (("Redis only", None), ("with rows", dsn)):
            for concurrency in (2, 100):
                submitted, done = ours.drain(redis_url, database, jobs, concurrency)
                figures[f"drain, {kind}, concurrency {concurrency}"].rounds.append(done)
            figures[f"submit in batches of 500, {kind}"].rounds.append(submitted)

    trio.run(servers)
    show(list(figures.values()), TARGET)


main()
