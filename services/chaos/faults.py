"""Faults, carried out: on our processes, on their links, and on servers where these are our own."""

import shutil
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import trio
from msgspec import Struct

from workqueue.services.chaos.history import History, Stop, Trouble
from workqueue.services.chaos.plan import LINK_FAULTS, Fault
from workqueue.services.chaos.processes import Kept, KeptServer
from workqueue.services.chaos.proxy import Proxy

BACK_SECONDS = 60.0  #: within which a process that was ended is there again
DELAYS_SECONDS = (0.02, 0.5)  #: for each piece of an answer
FLUSH_PAUSE_SECONDS = 0.1


class Link(Struct):
    """The way from one process to one server."""

    process: str
    server: str  #: Redis | Postgres
    proxy: Proxy


class Servers(Struct):
    """Servers that may be broken; None: not this one."""

    redis: KeptServer | None = None
    redis_folder: Path | None = None
    redis_keeps_all: bool = False  #: a kill costs it nothing: it syncs before it answers
    flush_redis: Callable[[], Awaitable[None]] | None = None
    postgres: KeptServer | None = None


class Faults:
    """Carries out a plan. A target that is in trouble already is left alone, so each fault has its full length.

    Mutable state: the targets that are in trouble, and the history.
    """

    def __init__(
        self, workers: Sequence[Kept], producers: Sequence[Kept], links: Sequence[Link], servers: Servers,
        history: History,
    ) -> None:  # fmt: skip
        self._workers = workers
        self._producers = producers
        self._links = links
        self._servers = servers
        self._history = history
        self._busy: set[str] = set()
        self._striking = trio.CancelScope()

    async def run(self, plan: Iterator[Fault]) -> None:
        """Let each fault of the plan strike when its time has come, until `end`; returns when all of them are over."""
        begun = trio.current_time()
        async with trio.open_nursery() as nursery:
            with self._striking:
                for fault in plan:
                    await trio.sleep_until(begun + fault.at)
                    nursery.start_soon(self._strike, fault)

    def end(self) -> None:
        """Begin no further fault; those that have begun last as planned."""
        self._striking.cancel()

    async def _strike(self, fault: Fault) -> None:
        kind, _, what = fault.kind.partition(" a ")
        match what or fault.kind:
            case "worker" | "producer":
                kept = self._workers if what == "worker" else self._producers
                await self._strike_process(kind, kept[fault.index % len(kept)], fault)
            case link if link in LINK_FAULTS:
                await self._strike_links(fault)
            case _:
                await self._strike_server(fault)

    # --- processes

    async def _strike_process(self, kind: str, kept: Kept, fault: Fault) -> None:
        with self._alone(kept.name) as free:
            pid = kept.pid
            if not free or pid is None:
                return
            match kind:
                case "kill" if kept.kill():
                    self._tell(fault, kept.name)
                case "restart" if kept.terminate():
                    self._tell(fault, kept.name)
                case "stop" if kept.stop():
                    self._tell(fault, kept.name)
                    stop = Stop(time.monotonic(), name=kept.name, pid=pid)
                    self._history.stops.append(stop)
                    try:
                        await trio.sleep(fault.seconds)
                    finally:
                        kept.go_on()
                        stop.ended = time.monotonic()
                    return
                case _:
                    return
            with trio.move_on_after(BACK_SECONDS):
                while kept.pid in {pid, None}:  # noqa: ASYNC110 - another process
                    await trio.sleep(0.05)

    # --- links

    async def _strike_links(self, fault: Fault) -> None:
        if not self._links:
            return
        hit = self._links[fault.index % len(self._links)]
        # One in four strikes the links of all processes to that server at once.
        chosen = [link for link in self._links if link.server == hit.server] if fault.index % 4 == 0 else [hit]
        async with trio.open_nursery() as nursery:
            self._tell(fault, f"{hit.server}, " + ("all" if len(chosen) > 1 else hit.process))
            for link in chosen:
                nursery.start_soon(self._strike_link, link, fault)

    async def _strike_link(self, link: Link, fault: Fault) -> None:
        proxy = link.proxy
        with self._alone(f"{link.process} to {link.server}") as free:
            if not free:
                return
            with self._trouble(fault.kind, link.server, link.process):
                match fault.kind:
                    case "cut connections":
                        proxy.cut()
                        return
                    case "swallow answers":
                        proxy.swallow_replies()
                    case "swallow requests":
                        proxy.swallow_requests()
                    case "black hole":
                        proxy.black_hole()
                    case "refuse connections":
                        proxy.go_away()
                    case "delay answers":
                        shortest, longest = DELAYS_SECONDS
                        proxy.delay_seconds = shortest + (longest - shortest) * (fault.index % 100) / 100
                try:
                    await trio.sleep(fault.seconds)
                finally:
                    proxy.heal()

    # --- servers

    async def _strike_server(self, fault: Fault) -> None:
        server = "Postgres" if "Postgres" in fault.kind else "Redis"
        kept = self._servers.postgres if server == "Postgres" else self._servers.redis
        with self._alone(server) as free:
            if not free or kept is None or kept.server is None:
                return
            self._tell(fault, "")
            with self._trouble(fault.kind, server, ""):
                match fault.kind.split()[0]:
                    case "kill":
                        await self._end(kept, signal.SIGKILL, fault.seconds, loses=server == "Redis")
                    case "restart" if server == "Redis":
                        await self._end(kept, signal.SIGTERM, fault.seconds)
                    case "restart":
                        await self._end(kept, signal.SIGINT, fault.seconds)  # its fast shutdown
                    case "replace":
                        self._history.losses.append(time.monotonic())
                        await self._end(kept, signal.SIGKILL, fault.seconds, self._forget)
                    case "flush":
                        await self._flush()
                    case "stop":
                        one = fault.index if fault.kind == "stop one backend of Postgres" else None
                        async with kept.stopped(one):
                            await trio.sleep(fault.seconds)

    async def _end(
        self, kept: KeptServer, number: signal.Signals, seconds: float,
        before_start: Callable[[], None] = lambda: None, *, loses: bool = False,
    ) -> None:  # fmt: skip
        if loses and not self._servers.redis_keeps_all:
            self._history.losses.append(time.monotonic())  # its last second, perhaps
        with trio.move_on_after(BACK_SECONDS + seconds):
            await kept.end(number, seconds, before_start)

    def _forget(self) -> None:
        if self._servers.redis_folder is not None:
            shutil.rmtree(self._servers.redis_folder / "appendonlydir", ignore_errors=True)

    async def _flush(self) -> None:
        if self._servers.flush_redis is None:
            return
        self._history.losses.append(time.monotonic())
        await self._servers.flush_redis()
        self._history.losses.append(time.monotonic())

    # --- the record

    @contextmanager
    def _alone(self, target: str) -> Iterator[bool]:
        """False: another fault is at it already."""
        free = target not in self._busy
        self._busy.add(target)
        try:
            yield free
        finally:
            if free:
                self._busy.discard(target)

    @contextmanager
    def _trouble(self, kind: str, server: str, process: str) -> Iterator[None]:
        trouble = Trouble(time.monotonic(), kind=kind, server=server, process=process)
        self._history.troubles.append(trouble)
        try:
            yield
        finally:
            trouble.ended = time.monotonic()

    def _tell(self, fault: Fault, target: str) -> None:
        self._history.count(fault.kind)
        lasts = f" for {fault.seconds:.1f} s" if fault.seconds else ""
        self._history.told.append(f"{time.monotonic():.3f} {fault.kind} ({target}){lasts}")
