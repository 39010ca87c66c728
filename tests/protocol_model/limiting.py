"""Groups and limits: a person sets limits, workers take permits for what they run, and keep Redis up to date.

Every third job is of one of three groups, two of which may run one job at a time, and every other job of the type that
may be limited. At no moment do more jobs of a scope run than the limit allowed that was in force when they were
claimed. What Redis has counted before it lost data is not counted here either.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.protocol_model.engine import SECOND, NoAnswer, Sleep, Steps
from tests.protocol_model.held import Lease
from tests.protocol_model.lanes_model import Lane, Lanes, Limits, admit, check_lanes, hold, sweep
from tests.protocol_model.redis_model import Redis, Task
from tests.protocol_model.truth import Run, Truth

if TYPE_CHECKING:
    from tests.protocol_model.world import World

LOOK_EVERY = SECOND
SWEEP_EVERY = 5 * SECOND
TYPE = "type:t"
SCOPES = (TYPE, "group:g0", "group:g1", "group:g2")
AT_FIRST = Limits(1, {TYPE: 2, "group:g0": 1, "group:g1": 1, "groups": 2})
CHANGES: tuple[tuple[str, int], ...] = ((TYPE, 0), (TYPE, 1), (TYPE, 3), ("group:g0", 1), ("group:g0", 2))  # 0: none


def kind_of(truth: Truth, task: Task) -> Lane:
    origin = truth.named.get(task.job, task.job) or task.origin
    number = int("".join(letter for letter in origin if letter.isdigit()) or 1)
    group = f"g{number // 3 % 3}" if number % 3 == 0 else ""
    return Lane("mail" if group and number // 9 % 3 == 0 else "default", group, "" if number % 2 else "t")


@dataclass(frozen=True, slots=True)
class Told:
    """What a claim's answer says beside its tasks: the limits that it kept, and which of its numbers have permits."""

    limits: Limits
    permits: frozenset[int]


@dataclass
class InForce:
    """The truth about limits: those that Redis was told last, and since which version each is as low as now."""

    truth: Truth
    limits: Limits = AT_FIRST
    since: dict[str, int] = field(default_factory=dict)
    under: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)
    is_wrong: bool = False

    def set(self, limits: Limits) -> None:
        if limits.version > self.limits.version:
            self.since |= {scope: limits.version for scope in SCOPES if limits.of(scope) < self.limits.of(scope)}
            self.limits = limits

    def lose(self, limits: Limits) -> None:
        """Redis has lost data, and knows these limits now; what it counts from now on is counted here."""
        self.limits, self.since = limits, {}

    def note(self, lease: str, number: int, version: int = 0) -> None:
        """Which limits hold for a task: those in force when it was claimed or admitted, or that its worker knew."""
        self.under[lease, number] = self.truth.losses, version or self.limits.version

    def start(self, run: Run, number: int, kind: Lane) -> None:
        run.scopes, run.under = kind.scopes, self.under.get((run.lease, number), (-1, 0))
        for scope in kind.scopes:
            others = [each for runs in self.truth.live.values() for each in runs if scope in each.scopes]
            running = [each for each in others if self.is_counted(each, scope)]
            if self.is_counted(run, scope) and len(running) > self.limits.of(scope):
                self.truth.violate(f"{run.job} runs as one of {len(running)} of {scope}: {self.limits.of(scope)} may")

    def is_counted(self, run: Run, scope: str) -> bool:
        losses, version = run.under
        current = losses == self.truth.losses and version >= self.since.get(scope, 0)
        return current and not run.process.silent_since(run.since - 15 * SECOND)

    def look(self, redis: Redis, lanes: Lanes) -> None:
        """After each trip to Redis."""
        if not self.is_wrong and (what := check_lanes(redis, lanes)):
            self.is_wrong = True
            self.truth.violate(what)


def set_limits(world: World, redis: Redis, limits: Limits) -> Limits:
    assert redis.lanes is not None
    world.in_force.set(limits)
    return redis.lanes.set_limits(limits)


class Limiter:
    """A person, who raises and lowers limits."""

    def __init__(self, world: World) -> None:
        self.world = world

    def change_all(self, until: int) -> Steps[None]:
        world, rng = self.world, self.world.rng
        while world.engine.now < until:
            yield Sleep(rng.randint(0, 15 * SECOND))
            scope, running = rng.choice(CHANGES)
            with suppress(NoAnswer):
                now = yield from world.sql_once("limits.rows", lambda sql, s=scope, r=running: sql.limit(s, r))  # type: ignore[misc]
                yield from world.redis_once("limits.redis", lambda redis, now=now: set_limits(world, redis, now))  # type: ignore[misc]


class Limiting:
    """What a worker knows of the limits. `sure`: numbers with all permits that they need."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.known = Limits()
        self.sure: set[tuple[str, int]] = set()

    def learn(self, limits: Limits) -> None:
        if limits.version > self.known.version:
            self.known = limits

    def kind_of(self, task: Task) -> Lane:
        return kind_of(self.world.truth, task)

    def told(self, redis: Redis, lease: Lease) -> Told | None:
        if redis.lanes is None:
            return None
        return Told(redis.lanes.limits, frozenset(redis.lanes.permits.get(lease.id, ())))

    def admit(self, lease: Lease, tasks: dict[int, Task], told: Told) -> Steps[dict[int, Task]]:
        """The tasks that may run, of those that were claimed when Redis said this."""
        world, limits, left = self.world, told.limits, dict(tasks)
        if limits.version < self.known.version:
            for number in tasks:
                world.in_force.note(lease.id, number, self.known.version)
            if world.on("limits-remembered"):
                limits = yield from self.restore(lease, left, told)
        self.learn(limits)
        wanted = dict[int, Lane]()
        for number, task in left.items():
            lane = self.known.lane_of(self.kind_of(task))
            if lane.type or (lane.group and number not in told.permits):
                wanted[number] = self.kind_of(task)
        if wanted and world.on("admit"):
            admitted = yield from world.redis_again("admit", lambda redis: self.admit_now(redis, lease, wanted))
            self.sure |= {(lease.id, number) for number, permit in admitted.items() if permit.type}
            left = {number: task for number, task in left.items() if number in admitted or number not in wanted}
        return left

    def restore(self, lease: Lease, left: dict[int, Task], told: Told) -> Steps[Limits]:
        """Redis has lost limits that this worker knows: what it took from lanes was more than they allow, perhaps."""
        world = self.world
        limits = yield from world.redis_again("limits.restore", lambda redis: set_limits(world, redis, self.known))
        for number in sorted(told.permits & left.keys(), reverse=True):
            if not world.on("limits-give-back"):
                break
            yield from world.redis_again("back", lambda redis, number=number: redis.back(lease.id, number))  # type: ignore[misc]
            del left[number]
        return limits

    def admit_now(self, redis: Redis, lease: Lease, wanted: dict[int, Lane]) -> dict[int, Lane]:
        assert redis.lanes is not None
        return admit(redis, redis.lanes, lease.id, wanted)

    def loop(self, leases: Callable[[], Lease]) -> Steps[None]:
        swept_at = 0
        while True:
            with suppress(NoAnswer):
                yield from self.look()
            with suppress(NoAnswer):
                yield from self.hold(leases())
                if self.world.engine.now - swept_at > SWEEP_EVERY and self.world.on("permits-sweep"):
                    swept_at = self.world.engine.now
                    yield from self.world.redis_once("permits.sweep", self.sweep)
            yield Sleep(LOOK_EVERY)

    def look(self) -> Steps[None]:
        world, stored = self.world, AT_FIRST
        if world.postgres is not None:
            stored = yield from world.sql_once("limits", lambda sql: sql.limits)
        if world.on("limits-again"):
            self.learn((yield from world.redis_once("limits", lambda redis: set_limits(world, redis, stored))))

    def hold(self, lease: Lease) -> Steps[None]:
        """Of all that it holds, and not only when it learns of a limit: it may be accepting a claim just then."""
        lanes = {number: self.known.lane_of(self.kind_of(item.task)) for number, item in lease.held.items()}
        wanted = {n: lane for n, lane in lanes.items() if lane.type and (lease.id, n) not in self.sure}
        if wanted and self.world.on("hold"):
            yield from self.world.redis_once("hold", lambda redis: self.hold_now(redis, lease, wanted))
            self.sure |= {(lease.id, number) for number in wanted}

    def hold_now(self, redis: Redis, lease: Lease, wanted: dict[int, Lane]) -> None:
        assert redis.lanes is not None
        hold(redis, redis.lanes, lease.id, wanted)

    def sweep(self, redis: Redis) -> None:
        assert redis.lanes is not None
        sweep(redis, redis.lanes)
