"""Lanes: tasks that wait by their group or by a limited type, limits, and permits (scripts/_lanes.lua says how)."""

from collections.abc import Sequence
from enum import IntEnum
from uuid import UUID

from msgspec import Struct

from workqueue.core.errors import LeaseLost
from workqueue.core.limits import Limit, Limits
from workqueue.core.queue import scripts
from workqueue.core.queue.keys import Keys
from workqueue.core.queue.trips import Trips

ADMITTED_MAX = 600  #: runs of tasks a trip
AHEAD_MAX = 1000  #: tasks that are claimed ahead at a time
AHEAD_BYTES_MAX = 8 * 1024 * 1024
_TYPE = b"type:"


class LimitedTypes(Struct, frozen=True):
    """The types whose tasks need permits, at the moment of a claim."""

    version: int = 0  #: of the limits
    types: frozenset[str] = frozenset()


class Admitted(IntEnum):
    """Whether a task may run."""

    NO = 0  #: it has left the flight, and waits in its lane
    YES = 1
    COUNTED = 2  #: and it counts for the limit of its type


_ADMITTED = tuple(Admitted)


class LaneTrips(Trips):
    """The trips that only jobs with a group, or of a limited type, need."""

    keys: Keys

    async def admit(self, lease: UUID, tasks: Sequence[tuple[int, str, str, str]]) -> dict[int, Admitted]:
        """Give claimed tasks the permits that they need: (number, queue, group or "", type), in order. May be
        repeated."""
        runs: list[tuple[int, int, tuple[str, str, str]]] = []
        for number, *kind in tasks:
            if runs and runs[-1][1] == number - 1 and runs[-1][2] == tuple(kind):
                runs[-1] = runs[-1][0], number, runs[-1][2]
            else:
                runs.append((number, number, (kind[0], kind[1], kind[2])))
        answer: dict[int, Admitted] = {}
        for begin in range(0, len(runs), ADMITTED_MAX):
            part = runs[begin : begin + ADMITTED_MAX]
            arguments = [str(lease), *(value for first, last, kind in part for value in (first, last, *kind))]
            said = await self._script(scripts.ADMIT, [self.keys.ready, self.keys.flight(lease)], arguments)
            numbers = (number for first, last, _ in part for number in range(first, last + 1))
            answer.update(zip(numbers, map(_ADMITTED.__getitem__, said), strict=True))
        return answer

    async def hold(self, lease: UUID, tasks: Sequence[tuple[int, str, str]]) -> None:
        """Count tasks that run already: (number, group or "", type). More than the limit may be counted. May be
        repeated."""
        for begin in range(0, len(tasks), ADMITTED_MAX):
            part = tasks[begin : begin + ADMITTED_MAX]
            arguments = [str(lease), *(value for row in part for value in row)]
            await self._script(scripts.HOLD, [self.keys.ready, self.keys.flight(lease)], arguments)

    async def claim_ahead(
        self, lease: UUID, lanes: Sequence[str], *, start: int, each: int
    ) -> list[tuple[int, str | None, bytes]]:
        """Take the first tasks of lanes that limits hold up, `each` of each, without permits; (number, lane, task).

        The caller has a permit of each lane, and gives back with `return_ahead` before it gives that up. At most
        AHEAD_MAX in all; numbers from `start` on, as `claim` has them. May be repeated: the lanes are None then. Raises
        LeaseLost. Cancelled or without an answer: the tasks may be in the flight.
        """
        keys = [self.keys.ready, self.keys.leases, self.keys.flight(lease)]
        said = await self._script(scripts.CLAIM_AHEAD, keys, [str(lease), each, AHEAD_BYTES_MAX, start, *lanes])
        if said == [-1]:
            raise LeaseLost(f"lease {lease} is lost")
        named = (None, *lanes)
        found = enumerate(zip(said[::2], said[1::2], strict=True), start)
        return [(number, named[which], task) for number, (which, task) in found if task is not None]

    async def return_ahead(self, lease: UUID, tasks: Sequence[tuple[int, str]]) -> None:
        """Give tasks that were claimed ahead, (number, lane), back to the heads of their lanes. May be repeated."""
        keys = [self.keys.ready, self.keys.flight(lease), self.keys.bell]
        arguments = [value for pair in sorted(tasks, reverse=True) for value in pair]
        await self._script(scripts.RETURN_AHEAD, keys, arguments)

    async def set_limits(self, limits: Limits) -> int:
        """Write down the limits, where no newer version stands; returns the version that stands there. May be
        repeated."""
        fields = [each for scope, limit in sorted(limits.effective.items()) for each in (scope, _written(limit))]
        keys = [self.keys.ready, self.keys.limits, self.keys.group_limits]
        return int(await self._script(scripts.SET_LIMITS, keys, [limits.version, *fields]))

    async def limits_version(self) -> int:
        """Which version of the limits this Redis has; 0: none."""
        version = await self._command("HGET", self.keys.limits, "v")
        return int(version) if version is not None and version.isdigit() and len(version) < 19 else 0

    async def pause_scope(self, scope: str, seconds: float) -> None:
        """Start no task of `type:X` or `group:X` for so long. May be repeated."""
        await self._script(scripts.PAUSE_SCOPE, [self.keys.ready], [scope, max(1, int(seconds * 1000))])

    async def sweep_permits(self) -> int:
        """Release permits whose tasks are in no flight; of how many leases none is left."""
        return int(await self._script(scripts.SWEEP_PERMITS, [self.keys.ready, self.keys.holders], []))

    async def rouse(self) -> None:
        """Look anew at the groups that wait behind a job that waits for its time. May be repeated."""
        await self._script(scripts.ROUSE, [self.keys.ready, self.keys.behind], [])

    async def lanes(self) -> list[str]:
        """The names of the lanes that have tasks."""
        return sorted(name.decode(errors="replace") for name in await self._command("SMEMBERS", self.keys.lanes))

    async def permits(self) -> dict[str, int]:
        """Scope of a limit -> how many of its tasks run, or are about to."""
        found = await self._command("HGETALL", self.keys.running)
        return {name.decode(errors="replace"): int(count) for name, count in found.items() if count.isdigit()}


def lane_of(queue: str, group: str, job_type: str) -> str:
    """The name of a lane, as _lanes.lua makes it; the type is empty where no task was found to be limited by it."""
    return f"{queue}:{len(group.encode())}:{group}{job_type}"


def read_limited(flat: Sequence[bytes]) -> LimitedTypes:
    """What a claim was answered, as HGETALL. What another program has put there is passed over."""
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    version = fields.get(b"v", b"0")
    types = frozenset(name[len(_TYPE) :].decode(errors="replace") for name in fields if name.startswith(_TYPE))
    return LimitedTypes(int(version) if version.isdigit() and len(version) < 19 else 0, types)


def _written(limit: Limit) -> str:
    return f"{limit.running or 0} {limit.interval_us} {limit.tolerance_us}"
