"""One line per event on standard error. Set up once by the entry point of a process; all others only get a logger."""

import logging
import os
import select
import sys
import time
from collections.abc import Callable

from workqueue.core.settings import Settings

OURS = ("core", "services", "workqueue")
WAIT_MS = 100  #: for standard error to be read; a log that is not read must not hold up the process
PIECE_BYTES = 4096  #: that a pipe takes as a whole, or not at all (PIPE_BUF)


def unmute(settings: Settings) -> None:
    """Call after users' modules were imported: logging.config.dictConfig disables every logger that exists then.

    Where a module has set up the root logger, our lines go there.
    """
    for name, logger in logging.root.manager.loggerDict.items():
        if isinstance(logger, logging.Logger) and name.partition(".")[0] in OURS:
            logger.disabled = False
    if not logging.root.handlers:
        configure_logging(settings)


class _StandardError(logging.Handler):
    """Writes to standard error as long as it is read. A line that it does not take in WAIT_MS is dropped and counted.

    A pipe that nothing reads would hold up the loop with its first line beyond 64 KiB, and with it the worker: its
    jobs would be given to others, its parent would kill it, and stand still itself when it says so.
    Mutable state: how many lines were dropped since the last one that was written; logging's lock guards it.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._left_out = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = f"{self.format(record)}\n".encode("utf-8", "backslashreplace")
            if self._left_out:
                line = b"(%d lines were left out: standard error was not read)\n%b" % (self._left_out, line)
            self._left_out = 0 if self._write(line) else self._left_out + 1
        except OSError:  # a full disk, a closed descriptor: a report there would fail as well
            self._left_out += 1
        except Exception:  # noqa: BLE001 - as logging's own handlers do: a line that cannot be written is no error
            self.handleError(record)

    def _write(self, line: bytes) -> bool:
        for begin in range(0, len(line), PIECE_BYTES):
            if not self._has_room(0 if self._left_out and begin == 0 else WAIT_MS):
                return False
            os.write(self._descriptor, line[begin : begin + PIECE_BYTES])
        return True

    def _has_room(self, milliseconds: int) -> bool:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(milliseconds))


def _to_standard_error() -> logging.Handler:
    try:
        return _StandardError(sys.stderr.fileno())
    except (AttributeError, OSError, ValueError):  # replaced by something that is no file
        return logging.StreamHandler(sys.stderr)


def configure_logging(settings: Settings) -> None:
    """Send every logger of this process to standard error, from LOG_LEVEL up. May be called again."""
    handler = _to_standard_error()
    handler.setFormatter(_Lines())
    handler.addFilter(_is_not_printed_yet)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(settings.log_level.upper())
    for library in ("fontTools", "fpdf", "PIL", "httpx", "httpcore"):  # they log much about their own work
        logging.getLogger(library).setLevel(max(logging.WARNING, root.level))
    # Above our own level: on info and debug they log details of their own work.
    for library in ("asyncio", "hypercorn.error", "trio_asyncio"):
        logging.getLogger(library).setLevel(max(logging.INFO, root.level))


#: Characters that steer a terminal, end a line, or reverse the order of text, each as \\x.. or \\u....
_CONTROL = {
    code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
    for code in [*range(32), 127, *range(128, 160), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
}
_LINES = {code: text for code, text in _CONTROL.items() if chr(code) not in "\n\t"}


def printable(text: str) -> str:
    """`text` in one line, made safe for a log or a terminal."""
    return text.translate(_CONTROL)


class Seldom:
    """A line that may be due a thousand times a second: written once in a while, with the number of times it was due.

    Mutable state: when it was written last, and how often it was due since.
    """

    def __init__(self, seconds: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._told_at = float("-inf")
        self._omitted = 0

    def warning(
        self, log: logging.Logger, line: str, *arguments: object, exc_info: BaseException | None = None
    ) -> None:
        """Write it, unless it was written just now. `exc_info` is shown where the log is on debug."""
        now = self._clock()
        if now - self._told_at < self._seconds:
            self._omitted += 1
            return
        if self._omitted:
            line += f" (and {self._omitted} more times since it was logged last)"
        self._told_at, self._omitted = now, 0
        log.warning(line, *arguments, exc_info=exc_info if log.isEnabledFor(logging.DEBUG) else None)


class _Lines(logging.Formatter):
    """`2026-11-20T09:30:00.123Z warning workqueue.services.health: Redis is away: ...`"""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(level)s %(name)s: %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z"

    def format(self, record: logging.LogRecord) -> str:
        """A line, and below it a traceback, indented: no part of it can look like another line of ours."""
        record.level = record.levelname.lower()
        record.message = printable(record.getMessage())
        record.asctime = self.formatTime(record)
        parts = [self.formatMessage(record)]
        if record.exc_info:
            parts.append(self.formatException(record.exc_info))
        if record.stack_info:
            parts.append(record.stack_info)
        if traceback := getattr(record, "traceback", None):  # of a handler: text by now, no exception
            parts.append(traceback)
        return "\n  ".join(line for part in parts for line in part.translate(_LINES).rstrip().split("\n"))


def _is_not_printed_yet(record: logging.LogRecord) -> bool:
    """Hypercorn gives its loggers handlers of their own; a second line from ours would be one too many."""
    return not (record.name.startswith("hypercorn.") and logging.getLogger(record.name).handlers)
