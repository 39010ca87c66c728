"""Signs of life: each service of a worker gives one, and whoever falls silent is found out."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from workqueue.core.steps.again import Alive

FIRST_SECONDS = 1.0  #: within which a service gives its first sign of life


class Beats:
    """Which services run, and until when each of them may be silent.

    Mutable state: one dict, written by the services on the Trio thread and by the lease thread for itself, read by
    both. Each change is one assignment.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due: dict[str, float] = {}

    @contextmanager
    def service(self, name: str) -> Iterator[Alive]:
        """Watch a service while the block lasts; yields `alive(name)`."""
        alive = self.alive(name)
        self._due[name] = self._clock() + FIRST_SECONDS
        try:
            yield alive
        finally:
            self._due.pop(name, None)

    def alive(self, name: str) -> Alive:
        """What a service calls with the seconds until its next sign of life; ignored unless it is watched."""
        return partial(self._beat, name)

    def _beat(self, name: str, seconds: float) -> None:
        if name in self._due:
            self._due[name] = self._clock() + seconds

    def silent(self, longer_than: float) -> dict[str, float]:
        """Service -> seconds that its sign of life is overdue, of those overdue for more than `longer_than`."""
        now = self._clock()
        overdue = {name: now - due for name, due in list(self._due.items())}
        return {name: seconds for name, seconds in overdue.items() if seconds > longer_than}
