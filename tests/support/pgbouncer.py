"""A real PgBouncer before the Postgres of the session, in either of its modes."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import trio

from scripts.debian import PGBOUNCER
from workqueue.services.local.process import free_port

MODES = ("session", "transaction")
NOBODY = "nobody"
START_SECONDS = 10


def program() -> str | None:
    """Where it is; Debian puts it where only root looks."""
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


MISSING = f"there is no pgbouncer: {PGBOUNCER.remedy}"


@asynccontextmanager
async def run_pgbouncer(dsn: str, mode: str) -> AsyncIterator[str]:
    """A URL that leads to `dsn` through a PgBouncer, for as long as the block lasts."""
    address, port = urlsplit(dsn), free_port()
    sessions = 3 if mode == "transaction" else 30  # few, so that they are shared; or one for each connection
    with tempfile.TemporaryDirectory(prefix="workqueue-pgbouncer-") as name:
        config, log = Path(name, "pgbouncer.ini"), Path(name, "log")
        log.touch()
        config.write_text(
            f"""
[databases]
* = host={address.hostname} port={address.port} user={address.username} password={address.password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
logfile = {log}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = {sessions}
max_client_conn = 100
ignore_startup_parameters =
""",
            "utf-8",
        )
        user: dict[str, Any] = {}
        if os.geteuid() == 0:  # it refuses to run as root
            entry = pwd.getpwnam(NOBODY)
            os.chmod(name, 0o711)
            os.chown(log, entry.pw_uid, entry.pw_gid)
            config.chmod(0o644)
            user = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        command = [program() or "pgbouncer", str(config)]
        process = await trio.lowlevel.open_process(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, cwd="/", **user
        )
        try:
            await _until_it_listens(port, process, log)
            yield f"postgresql://anybody@127.0.0.1:{port}{address.path}"
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()


async def _until_it_listens(port: int, process: trio.Process, log: Path) -> None:
    with trio.fail_after(START_SECONDS):
        while True:
            assert process.poll() is None, log.read_text("utf-8")
            try:
                await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
            except OSError:
                await trio.sleep(0.02)
            else:
                return
