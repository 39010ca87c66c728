"""What a running job tells of itself: its progress, and the lines that it logs; memory, until a worker stores it."""

import math
import threading
import time
from collections import deque
from uuid import UUID

from msgspec import Struct

LINES_MAX = 1000  #: of one job that are kept; the oldest go first
TEXT_LENGTH_MAX = 1024  #: characters of one line, and of the text beside a progress


class LogLine(Struct, frozen=True):
    """A line that a handler has logged."""

    number: int  #: when, in microseconds since 1970; a later line of the same run has a higher one
    text: str


class Progress(Struct, frozen=True):
    """How far a run is, as its handler says."""

    fraction: float  #: 0 to 1
    text: str


class JobReport(Struct, frozen=True):
    """What a run has told since it was stored last."""

    job_id: UUID
    token: UUID  #: of its claim
    run: int  #: its number
    progress: Progress | None
    lines: list[LogLine]
    trims: bool  #: remove the oldest lines of the job, beyond LINES_MAX


class Report:
    """Of one run. Each method may be called from any thread.

    Mutable state: the last progress, whether it was not stored yet, and the lines that were not stored yet.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._progress: Progress | None = None
        self._lines: deque[LogLine] = deque(maxlen=LINES_MAX)
        self._last_number = 0

    def progress(self, fraction: float, text: str) -> None:
        """Raises ValueError for what is no fraction."""
        if not (isinstance(fraction, int | float) and math.isfinite(fraction) and 0 <= fraction <= 1):
            raise ValueError(f"progress({fraction!r}): must be a number from 0 to 1")
        progress = Progress(float(fraction), _bounded(text))
        with self._lock:
            self._progress = progress

    def log(self, text: str) -> None:
        """Add a line; beyond LINES_MAX that were not stored yet the oldest goes."""
        bounded = _bounded(text)
        with self._lock:
            self._last_number = max(time.time_ns() // 1000, self._last_number + 1)
            self._lines.append(LogLine(self._last_number, bounded))

    @property
    def is_stored(self) -> bool:
        return self._progress is None and not self._lines

    def pending(self, lines_max: int) -> tuple[Progress | None, list[LogLine]]:
        """What is to be stored: the progress, where it has changed, and the oldest lines."""
        with self._lock:
            return self._progress, [line for line, _ in zip(self._lines, range(lines_max), strict=False)]

    def stored(self, progress: Progress | None, lines: list[LogLine]) -> None:
        """That was stored; what came meanwhile was not."""
        with self._lock:
            if self._progress is progress:
                self._progress = None
            while lines and self._lines and self._lines[0].number <= lines[-1].number:
                self._lines.popleft()


def _bounded(text: object) -> str:
    text = str(text)
    return text if len(text) <= TEXT_LENGTH_MAX else f"{text[: TEXT_LENGTH_MAX - 1]}…"
