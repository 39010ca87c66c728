"""`workqueue up`: the whole system as children of one nursery; each is started again when it dies."""

import fcntl
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path

import httpx
import trio
from rich.console import Console, RenderableType
from rich.markup import escape

from workqueue.core.errors import WorkQueueError
from workqueue.core.retry import Pauses
from workqueue.core.settings import Settings, without_password
from workqueue.services.cli import local_installation
from workqueue.services.cli.access import METRICS_VARIABLE, VARIABLE, bearer
from workqueue.services.cli.log_lines import for_people, log_row
from workqueue.services.cli.screen import local_now
from workqueue.services.cli.sources import wait_for_change
from workqueue.services.local.mail import run_mail_catcher
from workqueue.services.local.postgres import data_folder, run_postgres
from workqueue.services.local.process import end_process, is_free
from workqueue.services.local.valkey import Server, run_valkey
from workqueue.services.logs import printable
from workqueue.services.producer.dashboard import FOLDER as PAGE_FOLDER
from workqueue.services.signals import Stop
from workqueue.services.supervise import supervise_server

READY_SECONDS = 60.0
STOP_MARGIN_SECONDS = 20.0  #: added to the grace: for a worker to give back its jobs and release its lease
LINE_BYTES_MAX = 64 * 1024
WRONG_SETTING = 2  #: the exit status of a service that one of its settings keeps from starting
WATCHED_PAUSES = (0.1, 1.0)  #: seconds, the first and the longest, before a worker whose files are watched starts anew
COLOURS = {"Valkey": "red", "Postgres": "blue", "mail": "yellow", "producer": "green", "worker": "magenta"}

Open = Callable[[int | None], AbstractAsyncContextManager[Server]]


class CannotStart(WorkQueueError):
    """`up` cannot start; the text says why, with the remedy."""


class Child:
    """One component: its task keeps it running until `scope` is cancelled."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.scope = trio.CancelScope()
        self.ended = trio.Event()


class Up:
    """Starts the components in the order of need and ends them in the reverse order.

    Mutable state: the list of children, in the order of their start; whether the worker waits for its user to mend a
    handler.
    """

    def __init__(self, settings: Settings, home: Path, environ: Mapping[str, str], watched: Sequence[str] = ()) -> None:
        """`watched`: modules of handlers; the worker is started anew when a file of theirs has changed."""
        self._settings = settings
        self._watched = watched
        self._home = home
        self._given = environ
        self._environ = dict(environ)
        self._children: list[Child] = []
        self._is_worker_broken = False
        self._console = Console(highlight=False, soft_wrap=True)

    async def run(self) -> int:
        """Run until SIGINT or SIGTERM; returns the exit status. Raises WorkQueueError when the start is impossible."""
        self._check_ports()
        with self._alone():
            stop = Stop()
            async with trio.open_nursery() as nursery:
                await nursery.start(stop.listen)
                try:
                    await self._start(nursery, stop)
                    await stop.first.wait()
                finally:
                    with trio.CancelScope(shield=True):
                        await self._end()
                nursery.cancel_scope.cancel()
        self._show_kept()
        return 0

    # --- before anything is started

    def _check_ports(self) -> None:
        settings = self._settings
        ports = {"producer": (settings.producer_port, "PRODUCER_PORT"), "worker": (settings.worker_port, "WORKER_PORT")}
        for name, (port, variable) in ports.items():
            if port and not is_free(settings.host, port):
                raise CannotStart(
                    f"port {port} for the {name} is in use: end what listens there, or set {variable} to another port"
                )
        if settings.producer_port == settings.worker_port:
            raise CannotStart(
                f"producer and worker would share port {settings.producer_port}: set PRODUCER_PORT or WORKER_PORT"
            )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One `up` in one folder, which is for its owner alone: payloads are in its logs, mails and data.

        The lock goes with the process, however it ends.
        """
        os.umask(0o077)
        self._home.mkdir(parents=True, exist_ok=True)
        # Root's Postgres runs as another user, which has to reach its folder below.
        self._home.chmod(0o711 if os.geteuid() == 0 else 0o700)
        with (self._home / local_installation.LOCK).open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                lock.seek(0)
                raise CannotStart(
                    f"`workqueue up` runs already in {self._home} (process {lock.read().strip() or 'unknown'}): "
                    "end it, or set WORKQUEUE_HOME to another folder"
                ) from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield

    # --- start

    async def _start(self, nursery: trio.Nursery, stop: Stop) -> None:
        with trio.CancelScope() as starting:
            nursery.start_soon(_cancel_after, stop, starting)
            environ = self._environ
            rows: list[tuple[str, str]] = []
            if not (environ.get("REDIS_URL") or environ.get("REDIS_ADDR")):
                server = await self._serve(nursery, "Valkey", lambda port: run_valkey(self._home / "valkey", port=port))
                environ["REDIS_URL"] = server.url
                rows.append(("Redis (Valkey)", self._address(server.url, self._home / "valkey")))
            else:
                rows.append(("Redis", without_password(self._settings.redis_url)))
            if not environ.get("DATABASE_URL"):
                server = await self._serve(
                    nursery, "Postgres", lambda port: run_postgres(self._home / "postgres", port=port)
                )
                environ["DATABASE_URL"] = server.url
                rows.append(("Postgres", self._address(server.url, self._home / "postgres")))
            else:
                rows.append(("Postgres", without_password(environ["DATABASE_URL"])))
            if not environ.get("SMTP_URL"):
                server = await self._serve(
                    nursery, "mail", lambda port: run_mail_catcher(self._home / "mail", port=port)
                )
                environ["SMTP_URL"] = server.url
                rows.append(("Mails", f"caught in {self._home / 'mail' / 'mails'}"))
            environ.setdefault("IMAGE_FOLDER", str(self._home / "images"))
            await trio.Path(environ["IMAGE_FOLDER"]).mkdir(parents=True, exist_ok=True)
            await self._run_service(nursery, "producer", self._settings.producer_port)
            await self._run_service(nursery, "worker", self._settings.worker_port)
            local_installation.write(self._home, environ | {"PRODUCER_PORT": str(self._settings.producer_port)})
            self._show(rows)

    @staticmethod
    def _address(url: str, folder: Path) -> str:
        """The address of an embedded server, without its password: the terminal may go to a log."""
        found = sorted(folder.rglob("password"))
        return f"{without_password(url)}" + (f"  (its password: {found[0]})" if found else "")

    async def _serve(self, nursery: trio.Nursery, name: str, open_server: Open) -> Server:
        """Start an embedded server and keep it running; its URL stays the same."""
        self._say(f"starting {name} ...")
        child = self._child(name)
        server: Server = await nursery.start(self._keep, child, open_server)
        return server

    async def _run_service(self, nursery: trio.Nursery, name: str, port: int) -> None:
        """Start one of our services and wait until it is ready."""
        self._say(f"starting the {name} ...")
        child = self._child(name)
        await nursery.start(self._keep, child, lambda _: self._process(name, port))
        base = f"http://{_shown_host(self._settings.host)}:{port}"
        headers = bearer(self._environ, {"producer": VARIABLE, "worker": METRICS_VARIABLE}[name])
        async with httpx.AsyncClient(timeout=2, headers=headers) as client:
            with trio.move_on_after(READY_SECONDS) as patience:
                while not (self._is_worker_broken or await _is_ready(client, f"{base}/ready")):  # noqa: ASYNC110
                    await trio.sleep(0.05)
        if patience.cancelled_caught:
            self._say(f"the {name} is not ready after {READY_SECONDS:g} s; {base}/ready says why")

    def _child(self, name: str) -> Child:
        child = Child(name)
        self._children.append(child)
        return child

    async def _keep(
        self, child: Child, open_server: Open, *, task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Run it until `child.scope` is cancelled; again, with backoff, when it ends by itself."""

        def say(reason: str, pause_seconds: float) -> None:
            self._say(f"{child.name} {reason}; it is started again in {pause_seconds:g} s", "bold red")

        try:
            with child.scope:
                pauses = Pauses(*WATCHED_PAUSES) if self._watched and child.name == "worker" else None
                await supervise_server(open_server, pauses=pauses, on_end=say, task_status=task_status)
        finally:
            child.ended.set()

    @asynccontextmanager
    async def _process(self, name: str, port: int) -> AsyncIterator[Server]:
        """One of our services in a session of its own, so that a Ctrl-C reaches only `up`."""
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "workqueue.services.cli", name],
            env=self._environ
            | {
                "PRODUCER_PORT": str(self._settings.producer_port),
                "WORKER_PORT": str(self._settings.worker_port),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        # Shielded: lines that the process writes while it ends are passed on too. Ends when the pipe is closed.
        async with trio.open_nursery() as nursery:
            speaking = trio.CancelScope(shield=True)
            if process.stdout is not None:
                nursery.start_soon(self._pass_on, name, process.stdout, speaking)
            ended: Callable[[], Awaitable[object]] = process.wait
            if name == "worker" and self._watched:
                changed = trio.Event()
                nursery.start_soon(self._end_when_changed, process, changed)
                ended = partial(self._wait_for_mended, process, changed)
            try:
                yield Server("", port, process.pid, ended)
            finally:
                with trio.CancelScope(shield=True):
                    await end_process(process, seconds=self._settings.shutdown_grace + STOP_MARGIN_SECONDS)
                    await trio.sleep(0.02)
                speaking.shield = False
                nursery.cancel_scope.cancel()

    async def _end_when_changed(self, process: trio.Process, changed: trio.Event) -> None:
        file = await wait_for_change(self._watched, Path.cwd())
        self._say(f"{printable(file)} has changed: the worker is started anew")
        changed.set()
        process.terminate()

    async def _wait_for_mended(self, process: trio.Process, changed: trio.Event) -> None:
        """The worker's end; of one that could not import its handlers, that of the mistake: until then it would fail
        again each second.
        """
        if await process.wait() == WRONG_SETTING:
            self._say(f"the worker does not run: mend {', '.join(self._watched)}, and it starts", "bold red")
            self._is_worker_broken = True
            await changed.wait()
            self._is_worker_broken = False

    async def _pass_on(self, name: str, output: trio.abc.ReceiveStream, scope: trio.CancelScope) -> None:
        rest = b""
        with scope:
            async for piece in output:
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    self._print_line(name, line)
                if len(rest) > LINE_BYTES_MAX:
                    self._print_line(name, rest)
                    rest = b""
        if rest:
            self._print_line(name, rest)

    def _print_line(self, name: str, line: bytes) -> None:
        text = line.decode("utf-8", "replace")
        if self._console.is_terminal:
            time, style, shown = for_people(text)
            self._print(log_row(time, name, COLOURS[name], shown, style))
        else:  # a file, which may be read in another week: each line as it is
            self._print(f"{name:>9} | {escape(printable(text))}")

    # --- end

    async def _end(self) -> None:
        """The reverse order of the start: the worker gives back while Redis and Postgres are there."""
        if self._console.is_terminal:
            self._print("")  # behind the ^C that the terminal shows
        for child in reversed(self._children):
            if not child.ended.is_set():
                self._say(f"ending {child.name} ...")
                child.scope.cancel()
                await child.ended.wait()

    # --- output

    def _say(self, line: str, style: str = "") -> None:
        """A line of our own."""
        if self._console.is_terminal:
            self._print(log_row(f"{local_now():%H:%M:%S}", "workqueue", "bold", line, style))
        else:
            self._print(f"workqueue | {escape(line)}")

    def _print(self, line: RenderableType) -> None:
        """Does not fail where the terminal was closed: children must be ended (rich exits at a broken pipe)."""
        with suppress(OSError, SystemExit):
            self._console.print(line)

    def _show(self, rows: list[tuple[str, str]]) -> None:
        host = _shown_host(self._settings.host)
        base = f"http://{host}:{self._settings.producer_port}"
        is_built = (PAGE_FOLDER / "index.html").exists()
        page = base if is_built else f"{base} serves none: {_remedy_without_page()}"
        shown = [
            ("Dashboard", page),
            ("API", f"{base}/docs" if is_built else f"{base}/openapi.json"),
            ("Metrics", f"http://{host}:{self._settings.worker_port}/metrics"),
            *rows,
            ("Data", str(self._home)),
        ]
        payload = '{"type": "send_email", "payload": {"to": "you@example.com", "subject": "Welcome!", "body": "Hello"}}'
        console = self._console
        console.print()
        console.print("[bold green]WorkQueue runs.[/] Ctrl-C ends it and keeps the data.")
        for name, text in shown:
            console.print(f"  [bold]{name:<15}[/] {escape(text)}")
        console.print(f"\nHow it goes: {_own_command()} status --watch", markup=False)
        console.print("\nTry:")
        has_tokens = self._settings.api_tokens is not None or self._settings.api_tokens_file is not None
        token = f' -H "Authorization: Bearer ${VARIABLE}"' if has_tokens else ""
        console.print(f"  curl -X POST {base}/enqueue{token} -d '{escape(payload)}'")
        console.print(f'  {_own_command()} enqueue generate_pdf --payload \'{{"title": "Hello"}}\'', markup=False)
        if not self._settings.handler_modules:
            console.print(
                "\nYour own handlers: workqueue up --handlers MODULE (make up HANDLERS=MODULE), or beside this"
            )
            console.print(f"  {_own_command()} worker --handlers MODULE", markup=False)
        console.print("\nThese servers for other programs, with their passwords, from this folder:")
        console.print(f"  {_own_command()} env", markup=False)
        console.print()

    def _show_kept(self) -> None:
        """What is there for the next start, and how to make it."""
        mails = len(list((self._home / "mail" / "mails").glob("*.eml")))
        postgres = data_folder(self._home / "postgres")
        rows = [("Data", str(self._home))]
        if postgres and not postgres.is_relative_to(self._home):  # root's
            rows.append(("Jobs", str(postgres)))
        if mails:
            rows.append(("Mails", f"{mails} caught in {self._home / 'mail' / 'mails'}"))
        again = [_own_command(), "up"]
        home = self._given.get("WORKQUEUE_HOME")
        if home:
            again.insert(0, f"WORKQUEUE_HOME={shlex.quote(home)}")
        if self._watched:
            again += ["--handlers", shlex.quote(",".join(self._watched))]
        here = "" if home and Path(home).is_absolute() else "  (in this folder)"
        rows.append(("Start again", " ".join(again) + here))
        self._say("everything has ended, and is kept for the next start")
        for name, text in rows:
            self._print(f"  [bold]{name:<15}[/] {escape(text)}")


def _own_command() -> str:
    """How this program is called from here: `make up` runs it from an environment that is not on PATH."""
    command = Path(sys.argv[0])
    if command.name != "workqueue" or shutil.which("workqueue"):
        return "workqueue"
    return os.path.relpath(command)


def _remedy_without_page() -> str:
    if PAGE_FOLDER.resolve().parents[2].joinpath("Makefile").exists():
        return "install Node >= 20.19, and `make up` builds it"
    return "install WorkQueue from a checkout in which `make web` has run"


async def _cancel_after(stop: Stop, scope: trio.CancelScope) -> None:
    await stop.first.wait()
    scope.cancel()


async def _is_ready(client: httpx.AsyncClient, url: str) -> bool:
    """Is the service ready, or does it say at least that we may not know? API_TOKENS may have hashes alone, so that we
    have no token: then that it serves has to do."""
    try:
        return (await client.get(url)).status_code in {200, 401, 403}
    except httpx.HTTPError:
        return False


def _shown_host(host: str) -> str:
    """Where a browser on this machine reaches us."""
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not listened on
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
