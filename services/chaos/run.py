"""A chaos run from its start to its verdict."""

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from uuid import uuid4

import httpx
import msgspec
import trio
from msgspec import Struct

from workqueue.core.bridge import Bridge, open_bridge
from workqueue.core.errors import QueueUnavailable, StoreUnavailable, WorkQueueError
from workqueue.core.queue import open_queue
from workqueue.core.settings import Settings
from workqueue.core.store import migrate
from workqueue.core.store.pool import open_pool
from workqueue.services.chaos import schedules
from workqueue.services.chaos.aftermath import Aftermath
from workqueue.services.chaos.faults import Faults, Link, Servers
from workqueue.services.chaos.history import History
from workqueue.services.chaos.ledger import read_ledger
from workqueue.services.chaos.limits import ALWAYS, UNIQUE_SCOPE
from workqueue.services.chaos.load import Foreign, Load, delay_of, pausable, scopes
from workqueue.services.chaos.logs import bugs
from workqueue.services.chaos.person import Person
from workqueue.services.chaos.plan import (
    LINK_FAULTS,
    LOSSES,
    PAUSE_SECONDS,
    POSTGRES_FAULTS,
    PRODUCER_FAULTS,
    REDIS_FAULTS,
    WORKER_FAULTS,
    plan,
)
from workqueue.services.chaos.processes import END_SECONDS, Kept, KeptServer
from workqueue.services.chaos.proxy import Proxy, address, through
from workqueue.services.chaos.verdict import Evidence, Verdict, judge
from workqueue.services.local.postgres import run_postgres
from workqueue.services.local.process import free_port
from workqueue.services.local.valkey import flush, run_valkey

TERM_SECONDS = 3.0
READY_SECONDS = 90.0
LOAD_SHARE = 0.9  #: of the seconds: the load is spread over this, so that what was refused can be made up for
LOAD_LIMIT = 2.0  #: times the seconds: what was not accepted by then is left out
DRAIN_SECONDS = 90.0  #: of peace at the end, within which everything has to come to its end


class Options(Struct, frozen=True, kw_only=True):
    """The options of a run."""

    seed: int
    seconds: float
    jobs: int
    workers: int = 3
    producers: int = 2
    concurrency: int = 20  #: of each worker
    pause: float = PAUSE_SECONDS  #: between two faults, on average
    embedded: bool = False  #: servers of the run's own, which are broken too
    postgres: bool = True  #: of the embedded ones
    keep: bool = False  #: the folder, also when all is well


class Outcome(Struct, frozen=True):
    """How a run ended."""

    options: Options
    verdict: Verdict
    evidence: Evidence
    accepted: int
    seconds: float  #: from the first job to the last end
    folder: Path  #: of the logs, the ledger and the evidence; kept only if the verdict is bad, or told to


class NotReady(WorkQueueError):
    """The processes of the run could not be started; the text says where their logs are."""


async def run(
    options: Options, settings: Settings, environ: Mapping[str, str], say: Callable[[str], None] = lambda line: None
) -> Outcome:
    """Run chaos and judge it. `environ` is what the processes get, but for what the run decides itself.

    Raises QueueUnavailable or StoreUnavailable where the user's servers are not there, LocalServerError, NotReady.
    Cancelled: ends its processes, removes its queue and its schema, and then ends.
    """
    folder = _folder()
    chaos: _Chaos | None = None
    try:
        async with AsyncExitStack() as stack:
            bridge = await stack.enter_async_context(open_bridge())
            nursery = await stack.enter_async_context(trio.open_nursery())
            chaos = _Chaos(options, settings, environ, folder, bridge, nursery, say)
            try:
                outcome = await chaos.run(stack)
            finally:
                await chaos.end()
            nursery.cancel_scope.cancel()
        await trio.Path(folder / "evidence.msgpack").write_bytes(msgspec.msgpack.encode(outcome.evidence))
        await trio.Path(folder / "faults.txt").write_text("\n".join(outcome.evidence.history.told))
    finally:
        if chaos is None or not chaos.keeps_folder:
            shutil.rmtree(folder, ignore_errors=True)
    return outcome


class _Chaos:
    """One run. Mutable state: its parts, made by `run` in the order of need."""

    def __init__(
        self, options: Options, settings: Settings, environ: Mapping[str, str], folder: Path, bridge: Bridge,
        nursery: trio.Nursery, say: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._options = options
        self._folder = folder
        self._bridge = bridge
        self._nursery = nursery
        self._say = say
        self._history = History()
        self._servers = Servers()
        self._redis_url, self._database_url = settings.redis_url, settings.database_url
        if options.embedded and not options.postgres:
            self._database_url = None
        name = uuid4().hex[:12]
        self._queue_name, self._schema = f"chaos:{name}", f"chaos_{name}"
        self._environ = dict(environ)
        self._workers: list[Kept] = []
        self._producers: list[Kept] = []
        self._ports: dict[str, int] = {}
        self._links: list[Link] = []
        self._aftermath: Aftermath | None = None
        self.keeps_folder = options.keep
        self._keeps_rows = options.embedded  # they go with their servers

    async def run(self, stack: AsyncExitStack) -> Outcome:
        options = self._options
        self._say(f"seed {options.seed}: {options.jobs:,} jobs in {options.seconds:g} s; logs in {self._folder}")
        if options.embedded:
            await self._start_servers()
        queue = await stack.enter_async_context(open_queue(self._bridge, self._redis_url, self._queue_name))
        await queue.depths()
        pool = None
        if self._database_url is not None:
            await migrate(self._bridge, self._database_url, self._schema)
            pool = await stack.enter_async_context(open_pool(self._bridge, self._database_url, self._schema))
        after = self._aftermath = Aftermath(queue, pool, self._schema)
        await self._start_processes(after)

        begun = time.monotonic()
        load = Load(self._ports, jobs=options.jobs, seconds=options.seconds * LOAD_SHARE, seed=options.seed)
        foreign = Foreign(queue, jobs=options.jobs, seconds=options.seconds * LOAD_SHARE, seed=options.seed)
        person = Person(load, self._ports, seed=options.seed) if pool is not None else None
        violations = await self._make_trouble(load, foreign, person)
        self._say(f"peace after {time.monotonic() - begun:.0f} s: {load.accepted:,} accepted")
        violations += await self._drain(after)
        seconds = time.monotonic() - begun
        violations += await after.check_rows()
        await self._end_processes()
        violations += await after.left()
        violations += self._check_processes()
        rows = await after.rows()
        violations += await after.due_times()
        dead, strange = await after.dead()
        violations += [*load.violations, *strange, *(person.violations if person else ())]
        text = await trio.Path(self._folder / "ledger").read_text("ascii")
        evidence = Evidence(
            told=load.told,
            foreign=foreign.told,
            ledger=read_ledger(text.splitlines()),
            history=self._history,
            term_seconds=TERM_SECONDS,
            rows=rows,
            dead=dead,
            violations=violations,
            acts=person.acts if person else {},
            kinds={n: pausable(options.seed, n) for n in (*load.told, *foreign.told)} if person else {},
            delays={n: delay for n in load.told if (delay := delay_of(options.seed, n))},
            pauses=person.pauses if person else [],
            limits=[*ALWAYS, *(person.limits if person else [])],
            scopes={n: self._scopes(n, person) for n in (*load.told, *foreign.told)},
            retried_many=person.retried_many if person else [],
            acted=person.counts if person else {},
        )
        verdict = judge(evidence)
        if not verdict.is_good:
            self.keeps_folder = True
            if not self._keeps_rows:
                self._keeps_rows = True
                self._say(f"kept for a look: queue {self._queue_name}, schema {self._schema}")
        return Outcome(options, verdict, evidence, load.accepted, seconds, self._folder)

    # --- start

    async def _start_servers(self) -> None:
        folder, with_postgres = self._folder, self._options.postgres
        # Without Postgres nothing makes up for what Redis forgets.
        sync = "everysec" if with_postgres else "always"
        redis = KeptServer(lambda port: run_valkey(folder / "valkey", port=port, sync=sync))
        server = await self._nursery.start(redis.run)
        self._redis_url = server.url
        self._servers.redis, self._servers.redis_folder = redis, folder / "valkey"
        self._servers.redis_keeps_all = not with_postgres
        self._servers.flush_redis = partial(flush, folder / "valkey", server.port)
        if with_postgres:
            postgres = KeptServer(lambda port: run_postgres(folder / "postgres", port=port))
            self._database_url = (await self._nursery.start(postgres.run)).url
            self._servers.postgres = postgres

    async def _start_processes(self, after: Aftermath) -> None:
        options = self._options
        (self._folder / "ledger").touch()
        for number in range(1, options.producers + 1):
            name = f"producer {number}"
            self._ports[name] = free_port()
            own = {"PRODUCER_PORT": str(self._ports[name])}
            self._producers.append(await self._start(name, "producer", own))
        for number in range(1, options.workers + 1):
            self._workers.append(await self._start(f"worker {number}", "worker", {"WORKER_PORT": "0"}))
        with trio.move_on_after(READY_SECONDS) as patience:
            async with httpx.AsyncClient(timeout=5, trust_env=False) as client:
                for port in self._ports.values():
                    while not await _is_ready(client, port):  # noqa: ASYNC110 - another process
                        await trio.sleep(0.1)
            while len(await after.workers()) < options.workers:  # noqa: ASYNC110 - other processes
                await trio.sleep(0.1)
        if patience.cancelled_caught:
            self.keeps_folder = True
            raise NotReady(
                f"producers and workers were not ready within {READY_SECONDS:g} s: {self._folder} has the logs"
            )

    async def _start(self, name: str, command: str, own: dict[str, str]) -> Kept:
        environ = self._environ | own | {
            "HOST": "127.0.0.1",
            "REDIS_URL": await self._link(name, "Redis", self._redis_url),
            "DATABASE_URL": await self._link(name, "Postgres", self._database_url) if self._database_url else "",
            "DATABASE_SCHEMA": self._schema,
            "QUEUE_NAME": self._queue_name,
            "WORKER_CONCURRENCY": str(self._options.concurrency),
            "WORKER_HANDLERS": "workqueue.services.chaos.handlers",
            "WORKQUEUE_CHAOS_LEDGER": str(self._folder / "ledger"),
            **({schedules.SWITCH: "1"} if self._database_url else {}),
            "LEASE_SECONDS": str(TERM_SECONDS),
            "SHUTDOWN_GRACE": "5",
            "RETRY_BASE_SECONDS": "0.2",
            "RETRY_CAP_SECONDS": "2",
            "LOG_LEVEL": "info",
            # They listen on loopback for the length of the run, and its clients have no tokens.
            "API_TOKENS": "", "API_TOKENS_FILE": "", "REQUIRE_TOKENS": "", "METRICS_TOKEN": "",
        }  # fmt: skip
        log_file = self._folder / f"{name.replace(' ', '-')}.log"
        kept = Kept(name, [command], environ, log_file, self._history)
        await self._nursery.start(kept.run)
        return kept

    async def _link(self, process: str, server: str, url: str) -> str:
        """A way of its own from one process to a server; the URL itself where a proxy cannot stand in between."""
        found = address(url)
        if found is None:
            return url
        host, port = found
        proxy = Proxy(port, host)
        await self._nursery.start(proxy.run)
        self._links.append(Link(process, server, proxy))
        return through(url, proxy)

    # --- trouble, and peace

    async def _make_trouble(self, load: Load, foreign: Foreign, person: Person | None) -> list[str]:
        """Faults for as long as the load lasts, and for the seconds that were asked for."""
        options = self._options
        kinds = [WORKER_FAULTS, PRODUCER_FAULTS, LINK_FAULTS]
        if options.embedded:
            kinds += [REDIS_FAULTS, POSTGRES_FAULTS, LOSSES] if options.postgres else [REDIS_FAULTS]
        faults = Faults(self._workers, self._producers, self._links, self._servers, self._history)
        begun = trio.current_time()
        async with trio.open_nursery() as beside:
            beside.start_soon(foreign.run)
            beside.start_soon(self._show, load)
            if person is not None:
                beside.start_soon(person.run)
            async with trio.open_nursery() as trouble:
                trouble.start_soon(faults.run, plan(options.seed, kinds, options.pause))
                with trio.move_on_after(LOAD_LIMIT * options.seconds) as patience:
                    await load.run()
                await trio.sleep_until(begun + options.seconds)
                faults.end()
            beside.cancel_scope.cancel()
        if person is not None:
            with trio.move_on_after(DRAIN_SECONDS):
                await person.resume_at_last()
        if patience.cancelled_caught:  # a slow machine, or too much trouble: no job was harmed
            self._say(f"only {load.accepted:,} of {options.jobs:,} jobs were accepted")
        return [] if load.accepted else ["no job was accepted"]

    async def _show(self, load: Load) -> None:
        shown = 0
        while True:
            await trio.sleep(0.25)
            for line in self._history.told[shown:]:
                self._say(f"{load.accepted:>8,} accepted; {line.partition(' ')[2]}")
            shown = len(self._history.told)

    def _scopes(self, n: int, person: Person | None) -> frozenset[str]:
        """By what limits a job is counted; a retry by hand does not ask who has the unique key by then."""
        found = scopes(self._options.seed, n)
        if person is not None and any(act.kind == "retry" for act in person.acts.get(n, ())):
            return frozenset(scope for scope in found if not scope.startswith(UNIQUE_SCOPE))
        return found

    async def _drain(self, after: Aftermath) -> list[str]:
        """Wait until everything has come to its end; what is left, if it does not."""
        left = "unknown"
        with trio.move_on_after(DRAIN_SECONDS):
            while left:
                try:
                    left = await after.unsettled([kept.pid for kept in self._workers])
                except (QueueUnavailable, StoreUnavailable) as error:
                    left = str(error)
                if left:
                    await trio.sleep(0.3)
        return [f"not quiet after {DRAIN_SECONDS:g} s of peace: {left}"] if left else []

    async def end(self) -> None:
        """End what still runs, and leave nothing on servers that are not ours. Shielded and bounded."""
        with trio.CancelScope(shield=True):
            await self._end_processes()
        if self._aftermath is not None and not self._keeps_rows:
            await self._aftermath.remove()

    async def _end_processes(self) -> None:
        """Ask all of them to end, and wait until they have."""
        async with trio.open_nursery() as nursery:
            for kept in [*self._producers, *self._workers]:
                nursery.start_soon(kept.end)

    # --- evidence

    def _check_processes(self) -> list[str]:
        found = [
            f"{life.name} (process {life.pid}) ended by itself with status {life.status}"
            for life in self._history.lives
            if life.asked_at is None
        ]
        found += [
            f"{life.name} (process {life.pid}) was asked to end, and took {life.ended - life.asked_at:.0f} s"
            for life in self._history.lives
            if life.asked_at is not None and not life.killed and life.ended - life.asked_at > END_SECONDS - 1
        ]
        for kept in [*self._producers, *self._workers]:
            log = kept.log_file.read_text("utf-8", "replace")
            found += [f"{kept.name} logged: {record}" for record in bugs(log)]
        return found


async def _is_ready(client: httpx.AsyncClient, port: int) -> bool:
    try:
        return (await client.get(f"http://127.0.0.1:{port}/ready")).status_code == 200
    except httpx.HTTPError:
        return False


def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="workqueue-chaos-"))
    folder.chmod(0o711)  # root runs Postgres as another user, who has to pass
    return folder
