"""What pages of pending jobs have taught: how old a job can be that still waits for its first run."""

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from uuid import UUID

from msgspec import Struct

KEPT_SECONDS = 600.0  #: then every row is looked at anew
KEPT_MAX = 1000  #: types come from outside
LEFT_MAX = 100  #: jobs that are known one by one; where more are left behind, the floor stays below the others
UNKNOWN = datetime.min.replace(tzinfo=UTC)


class Floor(Struct, frozen=True, order=True):
    """What was made before `created_at` and waits for its first run is among `left`."""

    created_at: datetime
    since: float  #: when (our clock) the look at every row was taken that it rests on
    left: tuple[UUID, ...] = ()  #: a task that another program has taken and lost must not hold the floor down for ever


class OldestWaiting:
    """A floor for each queue and type: list_waiting_jobs.sql takes it and returns the next one.

    Floors only rise: a job waits for its first run from its insert on, whose moment is its created_at, or never.
    What breaks this (a database of an earlier moment, a clock that was set back, a created_at that was edited, an
    insert whose commit took longer than the statement reckons with) hides jobs from the list for KEPT_SECONDS at most,
    for a floor that was found above another one is no younger than that.
    Mutable state: the floors, changed by `learn` alone. Losing one costs a look at every row.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, left_max: int = LEFT_MAX) -> None:
        self._clock = clock
        self._left_max = left_max
        self._floors: dict[tuple[str, str | None], Floor] = {}  #: type None: all; the one that was learned last is last

    def floor(self, queue: str, job_type: str | None) -> Floor:
        """The highest that is known: that of the type, or that of all types. Ask before the statement is sent."""
        now = self._clock()
        known = [self._floors.get((queue, job_type)), self._floors.get((queue, None))]
        return max([floor for floor in known if floor and _is_kept(floor, now)], default=Floor(UNKNOWN, now))

    def learn(
        self, queue: str, job_type: str | None, floor: datetime, waiting: Iterable[tuple[datetime, UUID]], used: Floor
    ) -> None:
        """A page that was read with `used` has seen everything before `floor`; `waiting`: when what waits for its
        first run was made."""
        left = sorted(place for place in waiting if place[0] < floor)
        if len(left) > self._left_max:
            floor = left[self._left_max][0]
        key, learned = (
            (queue, job_type),
            Floor(floor, used.since, tuple(job_id for _, job_id in left[: self._left_max])),
        )
        before = self._floors.pop(key, learned)
        self._floors[key] = max(before, learned) if _is_kept(before, self._clock()) else learned
        if len(self._floors) > KEPT_MAX:
            del self._floors[next(iter(self._floors))]


def _is_kept(floor: Floor, now: float) -> bool:
    return now - floor.since < KEPT_SECONDS
