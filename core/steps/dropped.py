"""What the full dead letters had to drop: told by type, and not with every batch."""

import logging
from collections import Counter
from collections.abc import Callable, Mapping

import trio

log = logging.getLogger(__name__)

TELL_SECONDS = 10.0  #: between two lines
TYPES_SHOWN = 5


class Dropped:
    """Mutable state: what was dropped since the last line, and when that was. Since the start: `total`."""

    def __init__(self, clock: Callable[[], float] = trio.current_time) -> None:
        self._clock = clock
        self._untold: Counter[str] = Counter()
        self._told_at = float("-inf")
        self.total = 0

    def add(self, dropped: Mapping[str, int]) -> None:
        """Tell at once, or with what comes later."""
        self._untold.update(dropped)
        self.total += sum(dropped.values())
        self.tell()

    def tell(self, *, at_once: bool = False) -> None:
        """What was not told yet, when it is time. To be called now and then; `at_once`: we end."""
        now = self._clock()
        if not self._untold or (now - self._told_at < TELL_SECONDS and not at_once):
            return
        self._told_at = now
        count = self._untold.total()
        shown = [f"{number} of {_named(each)}" for each, number in self._untold.most_common(TYPES_SHOWN)]
        rest = count - sum(number for _, number in self._untold.most_common(TYPES_SHOWN))
        log.error("dead letters are full: the oldest %d were dropped (%s)", count,
                  ", ".join([*shown, *([f"{rest} of others"] if rest else [])]))  # fmt: skip
        self._untold.clear()


def _named(job_type: str) -> str:
    """As JSON writes it; any program may have chosen it."""
    return "".join(letter if letter.isprintable() else "?" for letter in job_type) or "no known type"
