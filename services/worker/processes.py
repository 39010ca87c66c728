"""Several worker processes under one parent: one metrics endpoint, one SIGTERM, and a child that dies is replaced.

A child that was stopped, by a person or with a SIGTERM of its own, ends with status 0 and is not replaced. The parent
ends with the last of them.

A process uses one core: Python runs a loop and its handlers on no more. Each child is a whole worker with a lease of
its own, so the death of one does not affect the others.
"""

import logging
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx
import msgspec
import trio

from workqueue.core.errors import InvalidSettings, QueueUnavailable
from workqueue.core.settings import Settings
from workqueue.services.http.listener import open_listener
from workqueue.services.signals import Stop
from workqueue.services.supervise import supervise
from workqueue.services.systemd import Notifier
from workqueue.services.worker.endpoint import serve
from workqueue.services.worker.metrics import Snapshot, total

log = logging.getLogger(__name__)

ANSWER_SECONDS = 2.0
LOOK_SECONDS = 3.0  #: between two looks at a child; more than it gets to answer
SILENCE_MARGIN_SECONDS = 15.0  #: added to STALL_LIMIT, as in WatchdogSec: a child ends itself first, where it can
END_MARGIN_SECONDS = 25.0  #: added to the grace: for a worker to give back its jobs and release its lease
STOPPED, WRONG_SETTING = 0, 2  #: statuses of a child
PARENT_LENGTH_MAX = 75  #: of a folder's path: a socket's has at most 107 bytes, and the names of ours need some 30

_snapshots = msgspec.json.Decoder(Snapshot)


class Child:
    """One worker process, started again when it ends by itself.

    Mutable state: the process, and whether it is to end.
    """

    def __init__(
        self,
        number: int,
        folder: Path,
        environ: Mapping[str, str],
        *,
        grace_seconds: float,
        silence_seconds: float,
    ) -> None:
        """`silence_seconds`: a child that has not answered for so long is killed."""
        self._number = number
        self._socket = folder / f"{number}.sock"
        self._environ = environ
        self._grace_seconds = grace_seconds
        self._silence_seconds = silence_seconds
        self._process: trio.Process | None = None
        self._ending = trio.Event()

    async def run(self) -> None:
        """Keep it running until `end`. Cancelled: it is asked to end, and waited for."""
        await supervise(self._run_once, on_end=self._log_end, stop=self._ending)

    async def _run_once(self) -> str:
        status = await self._live()
        if status == STOPPED and not self._ending.is_set():
            log.info("worker process %d was stopped, and is not started again", self._number)
            self._ending.set()
        if status == WRONG_SETTING and not self._ending.is_set():
            raise InvalidSettings([f"worker process {self._number} cannot start: its own lines above say why"])
        return f"has ended by itself (status {status})"

    def _log_end(self, reason: str, pause_seconds: float) -> None:
        log.error("worker process %d %s; it is started again in %g s", self._number, reason, pause_seconds)

    async def _live(self) -> int:
        self._socket.unlink(missing_ok=True)
        process = self._process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "workqueue.services.cli", "worker", "--child-of", str(self._socket)],
            stdin=subprocess.PIPE,  # closed when this process dies, which ends the child
            env=self._environ,
            start_new_session=True,  # a Ctrl-C reaches us alone
        )
        if self._ending.is_set():  # `end` was called while there was no process to send a signal to
            self.send(signal.SIGTERM)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch)
                status = await process.wait()
                nursery.cancel_scope.cancel()
            return status
        finally:
            with trio.CancelScope(shield=True):
                self.send(signal.SIGTERM)
                with trio.move_on_after(self._grace_seconds + END_MARGIN_SECONDS):
                    await process.wait()
                self.send(signal.SIGKILL)
                await process.wait()

    async def _watch(self) -> None:
        """Kill the child when it makes no progress at all, its watchdog included, or does not end in time.

        Failed looks are counted, not seconds: this process may have been stopped as well. A start has no limit.
        """
        has_answered, missed = False, 0
        while not self._ending.is_set():
            with trio.move_on_after(LOOK_SECONDS):
                if await self.ask("/health"):
                    has_answered, missed = True, 0
                elif has_answered:
                    missed += 1
                await self._ending.wait()
            if missed * LOOK_SECONDS >= self._silence_seconds:
                log.error("worker process %d has not answered for %g s: it is killed",
                          self._number, missed * LOOK_SECONDS)  # fmt: skip
                break
        else:
            await trio.sleep(self._grace_seconds + END_MARGIN_SECONDS)
            log.error("worker process %d does not end: it is killed", self._number)
        self.send(signal.SIGKILL)

    def send(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    @property
    def has_ended(self) -> bool:
        """For good: nothing starts it again."""
        return self._ending.is_set() and (self._process is None or self._process.poll() is not None)

    def end(self) -> None:
        """Ask it to end, for good; `run` returns when it has."""
        self._ending.set()
        self.send(signal.SIGTERM)

    async def ask(self, path: str) -> httpx.Response | None:
        """The answer of its endpoint; None: there is none, because the child starts, ends or makes no progress."""
        transport = httpx.AsyncHTTPTransport(uds=str(self._socket))
        try:
            async with httpx.AsyncClient(transport=transport, timeout=ANSWER_SECONDS) as client:
                return await client.get(f"http://localhost{path}")
        except httpx.HTTPError:
            return None


class Children:
    """The source of the parent's endpoint: the sum over the children that answer."""

    def __init__(self, children: list[Child]) -> None:
        self._children = children

    async def snapshot(self) -> Snapshot:
        """Raises QueueUnavailable when no child has an answer."""
        answers = [answer for answer in await self._ask("/snapshot") if answer and answer.status_code == 200]
        if not answers:
            raise QueueUnavailable("no worker process answers")
        return total([_snapshots.decode(answer.content) for answer in answers])

    async def faults(self) -> dict[str, str]:
        """Those of the first process that is not ready: every one has to be, but for those that were stopped."""
        for number, answer in enumerate(await self._ask("/ready"), 1):
            if answer is None and self._children[number - 1].has_ended:
                continue
            if answer is None:
                return {"process": f"worker process {number} does not answer: it starts, or ends"}
            if answer.status_code != 200:
                return msgspec.json.decode(answer.content, type=dict[str, str])
        return {}

    async def _ask(self, path: str) -> list[httpx.Response | None]:
        answers: list[httpx.Response | None] = [None] * len(self._children)

        async def ask(index: int, child: Child) -> None:
            answers[index] = await child.ask(path)

        async with trio.open_nursery() as nursery:
            for index, child in enumerate(self._children):
                nursery.start_soon(ask, index, child)
        return answers


async def run_processes(
    settings: Settings, count: int, environ: Mapping[str, str], notifier: Notifier | None = None
) -> None:
    """Run `count` workers until a signal ends them; a second signal skips their grace.

    Raises PortTaken, and InvalidSettings for a fault that this process or a child finds (a child logs its own).
    """
    notifier = notifier or Notifier(None)
    listener = open_listener(settings.host, settings.worker_port, "WORKER_PORT")
    # Our own port asks for METRICS_TOKEN; the children are asked by us alone, in a folder that no other user may enter.
    kept_back = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "METRICS_TOKEN"}
    handed_on = {name: value for name, value in environ.items() if name not in kept_back}
    stop = Stop()
    with _folder_for_sockets() as folder:
        children = [
            Child(
                number,
                Path(folder),
                handed_on,
                grace_seconds=settings.shutdown_grace,
                silence_seconds=settings.stall_limit + SILENCE_MARGIN_SECONDS,
            )
            for number in range(1, count + 1)
        ]
        source = Children(children)
        async with trio.open_nursery() as process:
            await process.start(stop.listen)
            await process.start(notifier.feed_watchdog)
            process.start_soon(serve, source, settings, listener)
            process.start_soon(_tell_ready, source, notifier.ready)
            process.start_soon(_end_all, stop, children, notifier)
            async with trio.open_nursery() as running:
                for child in children:
                    running.start_soon(child.run)
            process.cancel_scope.cancel()
    log.info("all worker processes have ended")


def _folder_for_sockets() -> "tempfile.TemporaryDirectory[str]":
    """A new folder whose path leaves room for the name of a socket. Raises InvalidSettings."""
    faults = []
    for parent in dict.fromkeys([_usual_folder(), "/tmp", "/var/tmp", "/dev/shm"]):  # noqa: S108 - a fresh folder in it
        if len(parent.encode()) > PARENT_LENGTH_MAX:
            faults.append(f"{parent[:PARENT_LENGTH_MAX]}... is too long for a socket below it")
            continue
        try:
            return tempfile.TemporaryDirectory(prefix="workqueue-", dir=parent)
        except OSError as error:
            faults.append(f"{parent}: {error.strerror or error}")
    raise InvalidSettings([f"TMPDIR: several processes need a folder for their sockets: {'; '.join(faults)}"])


def _usual_folder() -> str:
    """Python's choice, where it finds one."""
    try:
        return tempfile.gettempdir()
    except OSError:
        return "/tmp"  # noqa: S108 - a fresh folder in it


async def _end_all(stop: Stop, children: list[Child], notifier: Notifier) -> None:
    """Pass the first signal on to all children, and a second one, which skips their grace."""
    await stop.first.wait()
    notifier.stopping()
    for child in children:
        child.end()
    await stop.second.wait()
    for child in children:
        child.send(signal.SIGTERM)


async def _tell_ready(source: Children, ready: Callable[[], None]) -> None:
    while await source.faults():  # noqa: ASYNC110 - they are other processes
        await trio.sleep(0.1)
    ready()
