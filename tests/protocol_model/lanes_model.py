"""Lanes, permits and limits as Redis holds them: what the scripts do for jobs that have a group or a limited type.

A lane that is not empty is in exactly one place: in the ring of its queue, among the waiters of a scope that has no
room (`blocked`), or among those that wait for a time (`later`). `running` counts the permits that name a scope.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tests.protocol_model.mechanisms import Switches

if TYPE_CHECKING:
    from tests.protocol_model.redis_model import Redis, Task

MANY = 1_000_000
SHARE = 2  #: tasks of one turn


@dataclass(frozen=True, slots=True)
class Lane:
    """What waits of one group in one queue, or of one limited type; `type` is empty where it was not found limited.

    A permit is the lane of its task.
    """

    queue: str
    group: str
    type: str

    @property
    def scopes(self) -> tuple[str, ...]:
        scopes = (f"group:{self.group}",) if self.group else ()
        return (*scopes, f"type:{self.type}") if self.type else scopes

    @property
    def untyped(self) -> Lane:
        return replace(self, type="")


@dataclass(frozen=True, slots=True)
class Limits:
    """How many may run at once, by scope; `groups` is for each group that has none of its own."""

    version: int = 0
    running: Mapping[str, int] = field(default_factory=dict)

    def of(self, scope: str) -> int:
        others = self.running.get("groups", MANY) if scope.startswith("group:") else MANY
        return self.running.get(scope, others)

    def lane_of(self, kind: Lane) -> Lane:
        """The lane of a task, of which all is known."""
        return kind if f"type:{kind.type}" in self.running else kind.untyped


@dataclass
class Lanes:
    """`kind_of`: what a task's text says. `note`: tells the checks that limits held for this number of a flight.

    `heads`: the type of the first task of a lane, where it was found limited and had no room: in a group that runs one
    at a time it waits where it is, and all behind it.
    """

    clock: Callable[[], int]
    switches: Switches
    kind_of: Callable[[Task], Lane]
    note: Callable[[str, int], None]
    limits: Limits = field(default_factory=Limits)
    waiting: dict[Lane, list[Task]] = field(default_factory=dict)
    ring: list[Lane] = field(default_factory=list)
    blocked: dict[str, list[Lane]] = field(default_factory=dict)
    later: dict[Lane, int] = field(default_factory=dict)
    heads: dict[Lane, str] = field(default_factory=dict)
    running: Counter[str] = field(default_factory=Counter)
    permits: dict[str, dict[int, Lane]] = field(default_factory=dict)
    # For the checks: the jobs of strict groups that wait for a time, and must run before all that is in their lanes.
    kept: dict[Lane, str] = field(default_factory=dict)
    overtaken: str = ""
    # And the permits that a worker of the release before has left, until a sweep finds them.
    strays: set[tuple[str, int]] = field(default_factory=set)

    def snapshot(self) -> Lanes:
        return replace(
            self,
            waiting={lane: list(tasks) for lane, tasks in self.waiting.items()},
            ring=list(self.ring),
            blocked={scope: list(lanes) for scope, lanes in self.blocked.items()},
            later=dict(self.later),
            heads=dict(self.heads),
            running=Counter(self.running),
            permits={lease: dict(permits) for lease, permits in self.permits.items()},
            kept=dict(self.kept),
            strays=set(self.strays),
        )

    def told(self) -> dict[str, str]:
        """For the trace: where each lane is, and how many permits each scope has."""
        places = dict.fromkeys(self.ring, "ring") | dict.fromkeys(self.later, "later")
        places |= {lane: f"blocked by {scope}" for scope, lanes in self.blocked.items() for lane in lanes}
        told = {f"{lane.queue}:{lane.group}:{lane.type}": place for lane, place in places.items()}
        return told | {scope: f"{count} of {self.limits.of(scope)}" for scope, count in self.running.items()}

    def room(self, scope: str) -> int:
        return self.limits.of(scope) - self.running[scope]

    def is_strict(self, lane: Lane) -> bool:
        return bool(lane.group) and self.limits.of(f"group:{lane.group}") == 1

    # --- lanes

    def whole(self, lane: Lane) -> Lane:
        """With all permits that its first task needs, as far as that is known."""
        return replace(lane, type=self.heads.get(lane, lane.type))

    def put(self, task: Task, head: bool = False) -> bool:
        """False: a task without a group, which waits in the plain list."""
        lane = self.kind_of(task).untyped
        if lane.group:
            self.put_into(lane, task, head)
        return bool(lane.group)

    def put_into(self, lane: Lane, task: Task, head: bool = False) -> None:
        if lane not in self.waiting:
            self.waiting[lane] = []
            self.ring.append(lane)
        if head:
            self.kept.pop(lane, None)
            self._forget_head(lane)
        self.waiting[lane].insert(0 if head else len(self.waiting[lane]), task)

    def put_first(self, lane: Lane, task: Task) -> None:
        """Into the lane of a strict group, the type of its first task being known."""
        home = lane.untyped
        self.put_into(home, task, head=True)
        if lane.type:
            self._forget_place(home)
            self.heads[home] = lane.type

    def _forget_head(self, lane: Lane) -> None:
        """Another task comes first: what the lane waits for is to be found out anew."""
        if lane in self.heads:
            self._forget_place(lane)
            del self.heads[lane]

    def _forget_place(self, lane: Lane) -> None:
        if lane in self.ring:
            self._pass_on(lane)
        elif lane not in self.later:
            self._unblock(lane)
            self.ring.append(lane)

    def take(self, lease: str, first: int, count: int) -> dict[int, Task]:
        """Up to so many of the lanes whose turn it is, as far as their limits allow, each with its permit."""
        taken: dict[int, Task] = {}
        while len(taken) < count and self.ring:
            lane = self.ring.pop(0)
            whole = self.whole(lane)
            room = min(self.room(scope) for scope in whole.scopes)
            if room <= 0:
                self._block(lane)
                continue
            tasks = self.waiting[lane]
            share = 1 if lane in self.heads else SHARE
            for _ in range(min(room, share, count - len(taken), len(tasks))):
                number = first + len(taken)
                taken[number] = tasks.pop(0)
                if (job := self.kept.pop(lane, taken[number].job)) != taken[number].job:
                    self.overtaken = f"{taken[number].job} has overtaken {job} of the same strict group"
                self.grant(lease, number, whole)
            self.heads.pop(lane, None)
            if tasks:
                self.ring.append(lane)
            else:
                del self.waiting[lane]
        return taken

    def _block(self, lane: Lane) -> None:
        scope = next(scope for scope in self.whole(lane).scopes if self.room(scope) <= 0)
        self.blocked.setdefault(scope, []).append(lane)
        if self.switches.on("wake-chain"):
            self._pass_on(lane)

    def _pass_on(self, lane: Lane) -> None:
        """It may be the lane that a release has woken, and leaves the ring without having taken a permit."""
        for scope in self.whole(lane).scopes:
            self._wake(scope, lane.queue)

    def _wake(self, scope: str, queue: str = "") -> None:
        """If there is room, one waiter of each queue (or this one): other workers may claim from each of them."""
        if self.room(scope) <= 0:
            return
        first: dict[str, Lane] = {}
        for lane in self.blocked.get(scope, ()):
            first.setdefault(lane.queue, lane)
        woken = [lane for lane in first.values() if queue in {"", lane.queue}]
        if not self.switches.on("wake-each-queue"):
            woken = self.blocked.get(scope, [])[:1]
        for lane in woken:
            self._unblock(lane)
            self.ring.insert(0, lane)

    def _unblock(self, lane: Lane) -> None:
        for scope in self.whole(lane).scopes:
            if lane in self.blocked.get(scope, ()):
                self.blocked[scope].remove(lane)
                if not self.blocked[scope]:
                    del self.blocked[scope]

    def postpone(self, lane: Lane, until: int) -> None:
        """Its first task must wait, and the others behind it."""
        self._unblock(lane)
        if lane in self.ring:
            self.ring.remove(lane)
            self._pass_on(lane)
        self.later[lane] = max(until, self.later.get(lane, until))

    def promote(self) -> None:
        for lane in [lane for lane, at in self.later.items() if at <= self.clock()]:
            if self.switches.on("later-due"):
                del self.later[lane]
                self.ring.append(lane)

    def keep_place(self, lane: Lane, task: Task, beside: int = 0) -> None:
        """Nothing else of its strict group runs, but for so many that are copies: what is behind it stays there."""
        if self.is_strict(lane) and self.running[f"group:{lane.group}"] == beside:
            self.kept[lane.untyped] = task.job

    def take_ahead(self, lane: Lane, first: int, count: int) -> dict[int, Task]:
        """The first tasks of a lane, without permits, for one that holds a permit and looks for copies among them."""
        tasks = self.waiting.get(lane, [])
        taken = dict(enumerate(tasks[:count], first))
        if taken:
            self.keep_place(lane, taken[first], beside=1)
            del tasks[:count]
        if taken and not tasks:
            del self.waiting[lane]
            self._leave_place(lane)
        elif taken:
            self._forget_head(lane)
        return taken

    def return_ahead(self, lane: Lane, tasks: list[Task]) -> None:
        """Those of them that are no copies."""
        self.kept.pop(lane, None)
        for task in reversed(tasks):
            self.put_into(lane, task, head=True)
        if tasks:
            self.keep_place(lane, tasks[0], beside=1)

    def _leave_place(self, lane: Lane) -> None:
        """It is empty. It may have been the one that was woken: another is."""
        self.later.pop(lane, None)
        self._unblock(lane)
        if lane in self.ring:
            self.ring.remove(lane)
            self._pass_on(lane)
        self.heads.pop(lane, None)

    # --- permits

    def grant(self, lease: str, number: int, lane: Lane) -> None:
        permits = self.permits.setdefault(lease, {})
        had = permits[number].scopes if number in permits else ()
        self.running.update(scope for scope in lane.scopes if scope not in had)
        permits[number] = lane

    def permit(self, lease: str, number: int) -> Lane | None:
        return self.permits.get(lease, {}).get(number)

    def release(self, lease: str, number: int) -> None:
        """The number leaves its flight, or has left it."""
        if (lane := self.permit(lease, number)) is None:
            return
        del self.permits[lease][number]
        if not self.permits[lease]:
            del self.permits[lease]
        for scope in lane.scopes:
            self.running[scope] -= 1
            if self.switches.on("wake-one"):
                self._wake(scope)

    def release_leftovers(self, lease: str, flight: Iterable[int] = ()) -> None:
        for number in sorted(self.permits.get(lease, {}).keys() - set(flight)):
            self.release(lease, number)

    def set_limits(self, limits: Limits) -> Limits:
        if self.limits.version < limits.version or not self.switches.on("limits-version"):
            self.limits = limits
            self.kept.clear()
            if self.switches.on("limits-wake"):
                self.ring += [lane for lanes in self.blocked.values() for lane in lanes]
                self.blocked.clear()
        return self.limits


def admit(redis: Redis, lanes: Lanes, lease: str, wanted: Mapping[int, Lane]) -> dict[int, Lane]:
    """Claimed tasks that must have a permit for all of their lane: those that have it now, and may run.

    The others wait in their lane, uncounted (in a strict group where they were), or are no longer in this flight.
    `wanted`: with their types, limited or not; that is looked up here, because the limits may be newer than those that
    their worker knows.
    """
    flight, admitted = redis.tasks_of(lease), dict[int, Lane]()
    first: list[tuple[Lane, Task]] = []
    for number, kind in wanted.items():
        lane = lanes.limits.lane_of(kind)
        if number not in flight:
            continue
        permit = lanes.permit(lease, number)
        missing = [scope for scope in lane.scopes if permit is None or scope not in permit.scopes]
        is_strict = lanes.is_strict(lane) and lanes.switches.on("strict-head")
        home = lane.untyped if is_strict else lane
        is_behind = home in lanes.waiting and not (is_strict and permit is not None)
        if missing and (is_behind or any(lanes.room(scope) <= 0 for scope in missing)):
            task = redis.leave(lease, number)
            assert task is not None
            if permit is not None and lanes.is_strict(lane):
                first.append((lane, task))
            if permit is None or not is_strict:
                lanes.put_into(home, task)
            continue
        admitted[number] = lane
        if missing:
            lanes.grant(lease, number, lane)
            lanes.note(lease, number)
    for lane, task in reversed(first):
        if lanes.switches.on("strict-head"):
            lanes.put_first(lane, task)
        lanes.keep_place(lane, task)
    return admitted


def hold(redis: Redis, lanes: Lanes, lease: str, wanted: Mapping[int, Lane]) -> None:
    """Permits for what runs already and was not limited when it was claimed. Never refused."""
    for number in wanted.keys() & redis.tasks_of(lease).keys():
        lanes.grant(lease, number, wanted[number])


def sweep(redis: Redis, lanes: Lanes) -> None:
    """Permits whose tasks are in no flight: a worker of the release before has given them back."""
    for lease in list(lanes.permits):
        lanes.release_leftovers(lease, redis.tasks_of(lease))


def check_lanes(redis: Redis, lanes: Lanes) -> str:
    """What is wrong at this very moment."""
    counted = Counter(scope for permits in lanes.permits.values() for lane in permits.values() for scope in lane.scopes)
    if +lanes.running != counted or min(lanes.running.values(), default=0) < 0:
        return f"running is {dict(+lanes.running)}, and there are permits for {dict(counted)}"
    for lease, permits in lanes.permits.items():
        left = {number for whose, number in lanes.strays if whose == lease}
        if redis.lives(lease) and permits.keys() - redis.tasks_of(lease).keys() - left:
            return f"a permit of {lease} is in no flight"
    blocked = [lane for waiters in lanes.blocked.values() for lane in waiters]
    places = Counter([*lanes.ring, *blocked, *lanes.later])
    if places != Counter(lane for lane, tasks in lanes.waiting.items() if tasks):
        return "a lane is not in exactly one of ring, blocked and later, or it is empty"
    for scope, waiters in lanes.blocked.items():
        for lane in waiters:
            awake = any(scope in lanes.whole(other).scopes and other.queue == lane.queue for other in lanes.ring)
            if lanes.room(scope) > 0 and not awake:
                return f"a lane of {lane.queue} waits for {scope}, which has room, and none of that queue is awake"
    return lanes.overtaken
