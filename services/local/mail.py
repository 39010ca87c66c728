"""A local mail catcher: `send_email` has somewhere to deliver, and the messages can be looked at."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

import trio

from workqueue.services.local.errors import LocalServerError
from workqueue.services.local.process import end_leftover, free_port, run_server
from workqueue.services.local.valkey import Server


@asynccontextmanager
async def run_mail_catcher(folder: Path, *, port: int | None = None) -> AsyncIterator[Server]:
    """An SMTP server on loopback that writes each message into `folder`/mails as an .eml file.

    Raises LocalServerError.
    """
    if find_spec("aiosmtpd") is None:
        raise LocalServerError(
            "no mail catcher here (package aiosmtpd): install workqueue[local], or set SMTP_URL to a mail server"
        )
    mails = folder / "mails"
    mails.mkdir(parents=True, exist_ok=True)
    pid_file = folder / "mail.pid"
    await end_leftover(pid_file, ["workqueue.services.local.mail_catcher"])
    port = port or free_port()
    command = [sys.executable, "-m", "workqueue.services.local.mail_catcher", str(mails), str(port)]
    async with run_server(
        "the mail catcher",
        command,
        log_file=folder / "mail.log",
        pid_file=pid_file,
        is_ready=lambda: _greets(port),
    ) as process:
        yield Server(f"smtp://127.0.0.1:{port}", port, process.pid, process.wait)


async def _greets(port: int) -> bool:
    try:
        with trio.fail_after(1):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            async with stream:
                return (await stream.receive_some(3)) == b"220"
    except (OSError, trio.TooSlowError, trio.BrokenResourceError):
        return False
