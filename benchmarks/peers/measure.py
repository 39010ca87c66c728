"""The workloads, on one peer at one setting: fresh servers' data, a client, a worker, and what they report."""

import json
import os
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from io import FileIO
from pathlib import Path
from uuid import uuid4

import asyncpg
import trio
from msgspec import Struct

from benchmarks.peers.catalog import Peer, Server, Setting
from benchmarks.peers.install import HERE, Environment
from benchmarks.peers.processes import Failed, cpu_seconds, last_line, run, running
from benchmarks.peers.results import NOTHING, Span, add_report, at, chunk_of, p50_p99
from benchmarks.peers.shared.peering import SLEEP_SECONDS
from workqueue.core.bridge import open_bridge
from workqueue.services.local.valkey import run_valkey

LOOK_SECONDS = 0.02
SAMPLE_SECONDS = 0.1
ENQUEUE_SECONDS = 2.0
GAP_SECONDS = 0.02  #: between two jobs whose latency is measured: the system is idle again
KEPT = ("PATH", "HOME", "LANG", "TMPDIR")


class Drained(Struct, frozen=True):
    per_second: float
    cpu_us: float


class Stage(Struct, frozen=True):
    """A peer, its setting, and the servers of one measurement."""

    environment: Environment
    environ: dict[str, str]
    folder: Path
    seconds_cap: float

    async def client(self, *arguments: object) -> dict[str, object]:
        """What a command of the peer's script answers."""
        command = (*self.environment.command, *map(str, arguments))
        said = await run(command, self.environ, self.folder, self.seconds_cap)
        try:
            answer: dict[str, object] = json.loads(said)
        except ValueError:
            raise Failed(f"its client said: {said[:200]}") from None
        return answer

    def worker(self, **environ: object) -> AbstractAsyncContextManager[trio.Process]:
        return running(
            (*self.environment.command, "worker"),
            self.environ | {name: str(value) for name, value in environ.items()},
            self.folder,
        )


@asynccontextmanager
async def stage(
    peer: Peer, setting: Setting, environment: Environment, dsn: str, seconds_cap: float
) -> AsyncIterator[Stage]:
    """Nothing of another measurement: a Valkey of its own, a database of its own."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="peer-", ignore_cleanup_errors=True)))
        urls = {}
        if Server.REDIS in peer.servers:
            urls["PEER_URL"] = (await stack.enter_async_context(run_valkey(folder / "valkey"))).url
        if Server.POSTGRES in peer.servers:
            url = await stack.enter_async_context(_database(dsn))
            urls["PEER_DATABASE_URL" if urls else "PEER_URL"] = url
        report, pipe = folder / "report", folder / "pipe"
        report.touch()
        os.mkfifo(pipe)
        environ = {name: os.environ[name] for name in KEPT if name in os.environ} | urls
        environ |= {
            "PYTHONPATH": os.pathsep.join([str(HERE / "shared"), str(HERE / peer.folder)]),
            "PYTHONUNBUFFERED": "1",
            "PEER_HOME": str(environment.home),
            "PEER_CONCURRENCY": str(setting.concurrency),
            "PEER_MODE": setting.mode,
            "PEER_REPORT": str(report),
            "PEER_PIPE": str(pipe),
        }
        if setting.poll_seconds:
            environ["PEER_POLL"] = str(setting.poll_seconds)
        yield Stage(environment, environ, folder, seconds_cap)


@asynccontextmanager
async def _database(dsn: str) -> AsyncIterator[str]:
    name = f"peer_{uuid4().hex}"
    await _execute(dsn, f"CREATE DATABASE {name}")
    try:
        yield f"{dsn.rpartition('/')[0]}/{name}"
    finally:
        with trio.CancelScope(shield=True):
            await _execute(dsn, f"DROP DATABASE {name} WITH (FORCE)")


async def _execute(dsn: str, statement: str) -> None:
    async def unit() -> None:
        connection = await asyncpg.connect(dsn, timeout=10)
        try:
            await connection.execute(statement, timeout=30)
        finally:
            await connection.close()

    async with open_bridge() as bridge:
        await bridge.run(unit)


async def drain(at_stage: Stage, setting: Setting, kind: str, jobs: int) -> Drained:
    """Jobs are enqueued first, then a worker starts: its rate from the first job done to the last. Raises Failed."""
    await at_stage.client("fill", kind, jobs)
    chunk = 1 if setting.processes else chunk_of(jobs)
    samples: list[tuple[int, float]] = []
    span = NOTHING
    async with at_stage.worker(PEER_CHUNK=chunk) as process, AsyncExitStack() as stack:
        report = stack.enter_context((at_stage.folder / "report").open("rb", buffering=0))
        with trio.move_on_after(at_stage.seconds_cap) as patience:
            while (span := add_report(span, _whole_lines(report))).jobs < jobs and process.poll() is None:
                if not samples or time.monotonic_ns() - samples[-1][0] > SAMPLE_SECONDS * 1e9:
                    samples.append((time.monotonic_ns(), cpu_seconds(process.pid)))
                await trio.sleep(LOOK_SECONDS)
        samples.append((time.monotonic_ns(), cpu_seconds(process.pid)))
        if span.jobs < jobs:
            why = f"in {at_stage.seconds_cap:g} s" if patience.cancelled_caught else "before its worker ended"
            said = last_line((at_stage.folder / "worker.log").read_bytes())
            raise Failed(f"did {span.jobs:,} of {jobs:,} jobs {why}: {said}")
    if kind == "sleep":  # the first has slept before it was done
        span = Span(span.first_ns - int(SLEEP_SECONDS * 1e9), span.last_ns, span.jobs + 1)
    return Drained(span.per_second, _cpu_us(samples, span))


def _whole_lines(report: FileIO) -> bytes:
    """What has been added since the last call; the rest of a line that is being written comes next time."""
    added = report.read()
    whole = added[: added.rfind(b"\n") + 1]
    report.seek(len(whole) - len(added), os.SEEK_CUR)
    return whole


def _cpu_us(samples: list[tuple[int, float]], span: Span) -> float:
    return (at(samples, span.last_ns) - at(samples, span.first_ns)) / span.jobs * 1e6


async def enqueue(at_stage: Stage, *, bulk: bool) -> tuple[float, int]:
    """Jobs per second of one client, and how many it enqueued. Raises Failed."""
    answer = await at_stage.client("bulk" if bulk else "one", ENQUEUE_SECONDS)
    jobs, seconds = int(str(answer["jobs"])), float(str(answer["seconds"]))
    return jobs / seconds, jobs


async def latency(at_stage: Stage, setting: Setting) -> tuple[float, float]:
    """p50 and p99 in milliseconds, from the call that enqueues to the start of the handler. Raises Failed."""
    waits: list[float] = []
    ended, failure = False, ""

    async def ask() -> None:
        answer = await at_stage.client("latency", setting.jobs, max(GAP_SECONDS, setting.poll_seconds))
        assert isinstance(answer["ms"], list)
        waits.extend(answer["ms"])
        nursery.cancel_scope.cancel()

    async with at_stage.worker(PEER_CHUNK=1) as process:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                await process.wait()  # a client whose worker has ended would wait for ever
                ended = True
                nursery.cancel_scope.cancel()
        except* Failed as group:
            failure = str(group.exceptions[0])
    if ended or failure:
        said = last_line((at_stage.folder / "worker.log").read_bytes())
        raise Failed(f"{failure or 'its worker ended'}; its worker said: {said}")
    return p50_p99(waits)
