"""Which loops of a worker run, and which of them have given no sign of life in time."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from workqueue.core.steps.heartbeat import Heartbeat, beating_for

FIRST_SECONDS = 1.0  #: within which a loop gives its first sign of life


class _Service:
    """A loop that runs. Mutable state: `due`, one float, written by the loop and read by the watchdog's thread."""

    def __init__(self, name: str, clock: Callable[[], float]) -> None:
        self.name = name
        self._clock = clock
        self.due = clock() + FIRST_SECONDS

    def beat(self, seconds: float) -> None:
        self.due = self._clock() + seconds


class Heartbeats:
    """The loops that run, each with the time at which its next sign of life is due.

    Mutable state: the list, changed on the Trio thread alone. Names are for people: no loop is looked up by its name.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._services: list[_Service] = []

    @contextmanager
    def service(self, name: str) -> Iterator[Heartbeat]:
        """Watch a loop while the block lasts; yields its heartbeat, `heartbeat(seconds until the next one)`.

        Every step that the block runs beats with it as well (core/steps/heartbeat.py).
        """
        service = _Service(name, self._clock)
        self._services.append(service)
        try:
            with beating_for(service.beat):
                yield service.beat
        finally:
            self._services.remove(service)

    def overdue(self, longer_than: float) -> dict[str, float]:
        """Loop -> seconds that its sign of life is overdue, of those overdue for more than `longer_than`.

        May be called from any thread.
        """
        now = self._clock()
        late = [(service.name, now - service.due) for service in list(self._services)]
        return {name: seconds for name, seconds in late if seconds > longer_than}
