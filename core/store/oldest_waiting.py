"""What pages of pending jobs have taught: how old a job can be that still waits for its first run."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from msgspec import Struct

KEPT_SECONDS = 600.0  #: then every row is looked at anew
KEPT_MAX = 1000  #: types come from outside
UNKNOWN = datetime.min.replace(tzinfo=UTC)


class Floor(Struct, frozen=True, gc=False, order=True):
    """Nothing that was made before `created_at` waits for its first run."""

    created_at: datetime
    since: float  #: when (our clock) the look at every row was taken that it rests on


class OldestWaiting:
    """A floor for each queue and type: list_waiting_jobs.sql takes it and returns the next one.

    Floors only rise: a job waits for its first run from its insert on, whose moment is its created_at, or never.
    What breaks this (a database of an earlier moment, a clock that was set back, a created_at of somebody's own, an
    insert whose commit took longer than the statement reckons with) hides jobs from the list for KEPT_SECONDS at most,
    for a floor that was found above another one is no younger than that.
    Mutable state: the floors, changed by `learn` alone. Losing one costs a look at every row.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._floors: dict[tuple[str, str | None], Floor] = {}  #: type None: all; the one that was learned last is last

    def floor(self, queue: str, job_type: str | None) -> Floor:
        """The highest that is known: that of the type, or that of all types. Ask before the statement is sent."""
        now = self._clock()
        known = [self._floors.get((queue, job_type)), self._floors.get((queue, None))]
        return max([floor for floor in known if floor and _is_kept(floor, now)], default=Floor(UNKNOWN, now))

    def learn(self, queue: str, job_type: str | None, created_at: datetime, used: Floor) -> None:
        """A page that was read with the floor `used` has found that it is at `created_at`."""
        key, learned = (queue, job_type), Floor(created_at, used.since)
        before = self._floors.pop(key, learned)
        self._floors[key] = max(before, learned) if _is_kept(before, self._clock()) else learned
        if len(self._floors) > KEPT_MAX:
            del self._floors[next(iter(self._floors))]


def _is_kept(floor: Floor, now: float) -> bool:
    return now - floor.since < KEPT_SECONDS
