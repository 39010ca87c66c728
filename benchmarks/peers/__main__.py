"""`python -m benchmarks.peers`: every peer and WorkQueue, in interleaved rounds on embedded servers."""

import json
import os
import platform
import signal
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import click
import trio
from msgspec import to_builtins

from benchmarks.peers import measure
from benchmarks.peers.catalog import PEERS, Peer, Setting
from benchmarks.peers.install import CannotInstall, Environment, install
from benchmarks.peers.measure import stage
from benchmarks.peers.processes import Failed
from benchmarks.peers.results import UNITS, Row, jobs_for, show
from workqueue.services.local.errors import LocalServerError
from workqueue.services.local.postgres import run_postgres

TARGET = Path(__file__).parent.parent / "results" / "peers.json"
ROUND_SECONDS = 5.0
GROWTH_MAX = 40  #: a trial that one batch did tells little about the rate
OUTAGES = (Failed, LocalServerError, OSError)


class Comparison:
    """All rounds of all peers. Its rows are its state; only the methods that measure add to them."""

    def __init__(self, dsn: str, jobs_max: int, seconds_cap: float, only: frozenset[str]) -> None:
        self.workloads: dict[str, list[Row]] = {name: [] for name in UNITS}
        self._dsn = dsn
        self._jobs_max = jobs_max
        self._seconds_cap = seconds_cap
        self._only = only
        self._rows: dict[tuple[str, str, str], Row] = {}

    def refuse(self, peer: Peer, why: str) -> None:
        """A peer that cannot be run stands in every table all the same."""
        for workload in self.workloads:
            self._row(workload, peer, Setting("-"), "-").note = why

    async def round(self, peer: Peer, environment: Environment) -> None:
        """Every workload once."""
        wanted = self._only
        for setting in peer.drain if "drain" in wanted else ():
            await self._drain("drain", peer, setting, environment)
        for setting in peer.enqueue_modes if "enqueue" in wanted else ():
            await self._enqueue(peer, setting, environment)
        for setting in peer.latency if "latency" in wanted else ():
            await self._latency(peer, setting, environment)
        for setting in peer.sleep if "sleep" in wanted else ():
            await self._drain("sleep", peer, setting, environment)

    def _row(self, workload: str, peer: Peer, setting: Setting, version: str) -> Row:
        key = (workload, peer.name, setting.text)
        if key not in self._rows:
            row = Row(peer=peer.title, version=version, settings=setting.text, unit=UNITS[workload])
            self._rows[key] = row
            self.workloads[workload].append(row)
        return self._rows[key]

    async def _drain(self, workload: str, peer: Peer, setting: Setting, environment: Environment) -> None:
        row = self._row(workload, peer, setting, environment.version)
        if row.note:
            return  # it failed or hung before: not again

        async def once(jobs: int) -> measure.Drained:
            async with stage(peer, setting, environment, self._dsn, self._seconds_cap) as at_stage:
                kind = "noop" if workload == "drain" else "sleep"
                return await measure.drain(at_stage, setting, kind, jobs)

        try:
            jobs = min(setting.jobs, self._jobs_max)
            if workload == "drain" and jobs < self._jobs_max:
                rate = median(row.rounds) if row.rounds else (await once(jobs)).per_second
                jobs = jobs_for(rate, ROUND_SECONDS, min(self._jobs_max, GROWTH_MAX * jobs))
            done = await once(jobs)
        except OUTAGES as error:
            self._failed(peer, workload, [row], error)
            return
        row.add(done.per_second, jobs, done.cpu_us if workload == "drain" else None)
        click.echo(f"  {peer.title}, {workload}, {setting.text}: {done.per_second:,.0f} jobs/s", err=True)

    async def _enqueue(self, peer: Peer, setting: Setting, environment: Environment) -> None:
        one = self._row("enqueue, one call at a time", peer, setting, environment.version)
        many = self._row("enqueue, in bulk", peer, _named(setting, peer.bulk), environment.version)
        if not peer.bulk:
            many.note = "it has no bulk call"
        for row, bulk in ((one, False), (many, True)):
            if row.note:
                continue
            try:
                async with stage(peer, setting, environment, self._dsn, self._seconds_cap) as at_stage:
                    per_second, jobs = await measure.enqueue(at_stage, bulk=bulk)
            except OUTAGES as error:
                self._failed(peer, "enqueue", [row], error)
                continue
            row.add(per_second, jobs)
            how = "in bulk" if bulk else "one call at a time"
            click.echo(f"  {peer.title}, enqueue {how}, {setting.text}: {per_second:,.0f} jobs/s", err=True)

    async def _latency(self, peer: Peer, setting: Setting, environment: Environment) -> None:
        rows = [self._row(f"latency p{percent}", peer, setting, environment.version) for percent in (50, 99)]
        if rows[0].note:
            return
        try:
            async with stage(peer, setting, environment, self._dsn, self._seconds_cap) as at_stage:
                values = await measure.latency(at_stage, setting)
        except OUTAGES as error:
            self._failed(peer, "latency", rows, error)
            return
        for row, value in zip(rows, values, strict=True):
            row.add(value, setting.jobs)
        p50, p99 = values
        click.echo(f"  {peer.title}, latency, {setting.text}: p50 {p50:.2f} ms, p99 {p99:.2f} ms", err=True)

    def _failed(self, peer: Peer, workload: str, rows: list[Row], error: Exception) -> None:
        for row in rows:
            row.note = str(error)
        click.echo(f"  {peer.title}, {workload}: {error}", err=True)


def _named(setting: Setting, call: str) -> Setting:
    return Setting(f"{setting.text}, {call}" if call else setting.text, mode=setting.mode)


async def _main(*arguments: Any) -> bool:
    """False: a signal broke it off. Whatever runs then is ended all the same."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_on_signal, nursery.cancel_scope)
        await _compare(*arguments)
        nursery.cancel_scope.cancel()
        return True
    return False


async def _cancel_on_signal(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()


async def _compare(
    peers: list[Peer], rounds: int, jobs_max: int, seconds_cap: float, only: frozenset[str], python: str | None
) -> None:
    with tempfile.TemporaryDirectory(prefix="workqueue-bench-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        async with run_postgres(Path(folder) / "postgres") as postgres:
            comparison = Comparison(postgres.url, jobs_max, seconds_cap, only)
            environments: dict[str, Environment] = {}
            for peer in peers:
                click.echo(f"installing {peer.title} ...", err=True)
                try:
                    environments[peer.name] = await install(peer, python)
                except CannotInstall as error:
                    click.echo(f"  {error}", err=True)
                    comparison.refuse(peer, str(error))
            _save(comparison, peers, rounds, environments)
            for number in range(rounds):
                for peer in peers:
                    if peer.name in environments:
                        click.echo(f"round {number + 1} of {rounds}: {peer.title}", err=True)
                        await comparison.round(peer, environments[peer.name])
                        _save(comparison, peers, rounds, environments)
    show(comparison.workloads, {peer.title: peer.note for peer in peers})
    click.echo(f"every round: {TARGET}", err=True)


def _save(comparison: Comparison, peers: list[Peer], rounds: int, environments: dict[str, Environment]) -> None:
    """After each peer, so that a run that is broken off leaves what it has."""
    machine = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
        "cores": os.cpu_count(),
    }
    settings = {
        "rounds": rounds,
        "redis": "Valkey, appendonly yes, appendfsync everysec",
        "postgres": "fsync on, synchronous_commit on",
        "payload_bytes": 100,
        "sleep_seconds": 0.1,
    }
    described = {
        peer.title: {
            "package": peer.package,
            "version": environments[peer.name].version if peer.name in environments else None,
            "language": peer.language,
            "servers": peer.servers,
            "note": peer.note,
        }
        for peer in peers
    }
    answer = {"machine": machine, "settings": settings, "peers": described, "workloads": comparison.workloads}
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(json.dumps(to_builtins(answer), indent=2), "utf-8")


WORKLOADS = ("drain", "enqueue", "latency", "sleep")


@click.command()
@click.option("--only", metavar="NAME,...", help="These peers: " + ", ".join(peer.name for peer in PEERS))
@click.option("--workload", type=click.Choice(WORKLOADS), multiple=True, help="These workloads; all without it.")
@click.option("--rounds", default=3, show_default=True, help="Interleaved rounds; the tables show medians.")
@click.option("--jobs", default=500_000, show_default=True, help="At most so many jobs a measurement.")
@click.option("--seconds-cap", default=60.0, show_default=True, help="What takes longer is given up.")
@click.option("--python", metavar="PATH", help="An interpreter for peers that need a newer Python.")
def main(
    only: str | None, workload: tuple[str, ...], rounds: int, jobs: int, seconds_cap: float, python: str | None
) -> None:
    """Measure WorkQueue beside its peers, and print the tables."""
    names = only.split(",") if only else [peer.name for peer in PEERS]
    known = {peer.name: peer for peer in PEERS}
    if unknown := [name for name in names if name not in known]:
        raise click.UsageError(f"no such peer: {', '.join(unknown)}")
    chosen = frozenset(workload or WORKLOADS)
    done = trio.run(_main, [known[name] for name in names], rounds, jobs, seconds_cap, chosen, python)
    if not done:
        raise click.Abort


if __name__ == "__main__":
    main()
