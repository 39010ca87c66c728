"""`python -m workqueue.services.local.mail_catcher FOLDER PORT`: writes each mail that it gets to FOLDER."""

import os
import re
import signal
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

MESSAGE_BYTES_MAX = 32 * 1024 * 1024


class Catcher:
    """Writes each message as one .eml file; the name has the time and the receiver."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.content or b""
        to = re.sub(r"[^A-Za-z0-9@._+-]", "_", ",".join(envelope.rcpt_tos))[:80]
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
        handle, name = tempfile.mkstemp(dir=self._folder, prefix=".", suffix=".part")
        with os.fdopen(handle, "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())
        Path(name).rename(self._folder / f"{now}-{to}.eml")  # readers see it whole or not at all
        return "250 caught"


def main(folder: Path, port: int) -> None:
    """Serve until SIGTERM."""
    folder.mkdir(parents=True, exist_ok=True)
    controller = Controller(
        Catcher(folder), hostname="127.0.0.1", port=port, data_size_limit=MESSAGE_BYTES_MAX, ident="WorkQueue"
    )
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    controller.start()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    controller.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
