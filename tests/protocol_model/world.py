"""The one object that actors share: stores, clocks, truth, and short names for trips."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TypeVar

from tests.protocol_model.channel import Channel
from tests.protocol_model.engine import SECOND, Engine, Faults, Steps, again, ask
from tests.protocol_model.lanes_model import Lanes
from tests.protocol_model.limiting import AT_FIRST, InForce, kind_of
from tests.protocol_model.mechanisms import Switches
from tests.protocol_model.postgres_model import Postgres
from tests.protocol_model.redis_model import Redis
from tests.protocol_model.scheduling import Schedules
from tests.protocol_model.truth import Truth

T = TypeVar("T")
TERM = 15 * SECOND
START_OF_TIME = 1_000_000 * SECOND


class World:
    def __init__(self, seed: int, switches: Switches, faults: Faults, redis_only: bool) -> None:
        self.rng = random.Random(seed)
        self.switches = switches
        self.engine = Engine(self.rng, faults)
        self.truth = Truth(self.engine)
        self.redis_skew = 0
        self.redis = Redis(self.redis_clock, switches)
        self.postgres: Postgres | None = None
        if not redis_only:
            self.postgres = Postgres(self.postgres_clock, switches, self.truth.wishes)
        self.channel = Channel(self.engine)
        self.snapshots: list[Redis] = []
        self.files: list[Redis] = []  # cut short, of a Redis that is about to be killed
        self.at_hand: dict[str, set[str]] = {}  # process -> jobs of the tasks that it claims just now
        self.calm = False
        self.pausing = False  # a person pauses and resumes a type
        self.timed = False  # jobs choose when they run
        self.firing = False  # schedules make jobs
        self.schedules = Schedules()
        self.unique = False  # jobs are submitted under unique keys
        self.grouped = False  # jobs have groups, and types limits
        self.in_force = InForce(self.truth)
        self._seen: dict[str, str] = {}
        self.engine.changes = self._changes
        self._serial = 0

    def on(self, mechanism: str) -> bool:
        return self.switches.on(mechanism)

    def begin_groups(self) -> None:
        self.grouped = True
        self.redis = self.empty_redis()
        assert self.redis.lanes is not None
        self.redis.lanes.limits = AT_FIRST
        if self.postgres is not None:
            self.postgres.limits = AT_FIRST

    def empty_redis(self) -> Redis:
        redis = Redis(self.redis_clock, self.switches)
        if self.grouped:
            redis.lanes = Lanes(
                self.redis_clock, self.switches, lambda task: kind_of(self.truth, task), self.in_force.note
            )
        return redis

    def redis_clock(self) -> int:
        return START_OF_TIME + self.engine.now + self.redis_skew

    def postgres_clock(self) -> int:
        return START_OF_TIME + self.engine.now

    def fresh(self, prefix: str) -> str:
        self._serial += 1
        return f"{prefix}{self._serial}"

    @property
    def sql(self) -> Postgres:
        assert self.postgres is not None
        return self.postgres

    # Redis is looked up when the trip arrives: between sending and arrival it may have become another one.

    def redis_once(self, name: str, action: Callable[[Redis], T]) -> Steps[T]:
        return ask(name, "redis", lambda: self._on_redis(action))

    def redis_again(self, name: str, action: Callable[[Redis], T]) -> Steps[T]:
        return again(name, "redis", lambda: self._on_redis(action))

    def sql_once(self, name: str, action: Callable[[Postgres], T]) -> Steps[T]:
        return ask(name, "postgres", lambda: action(self.sql))

    def sql_again(self, name: str, action: Callable[[Postgres], T]) -> Steps[T]:
        return again(name, "postgres", lambda: action(self.sql))

    def _on_redis(self, action: Callable[[Redis], T]) -> T:
        if not self.calm and self.rng.random() < 0.03:
            self.snapshots = [*self.snapshots[-30:], self.redis.snapshot()]
        answer = action(self.redis)
        if self.redis.lanes is not None:
            self.in_force.look(self.redis, self.redis.lanes)
        return answer

    def replace_redis(self, state: Redis, same_run: bool) -> None:
        """Redis loses data: what it holds now is `state`."""
        self.truth.losses += 1
        if state.leases:  # one of them may have been lost before: it lives again, and no worker renews it
            self.engine.somebody_was_away = True
        state.run = self.redis.run if same_run else self.redis.run + 1
        self.redis = state
        self.snapshots = []
        if state.lanes is not None:
            self.in_force.lose(state.lanes.limits)
            state.lanes.kept.clear()  # permits and places are as they were before

    # --- the trace

    def _places(self) -> dict[str, str]:
        """For each job: its row, and where its tasks are."""
        places: dict[str, list[str]] = {}

        def add(job: str, place: str) -> None:
            places.setdefault(job, []).append(place)

        for job in self.postgres.rows if self.postgres else ():
            add(job, self._told(job))
        for name, tasks in (
            ("ready", self.redis.ready),
            ("front", self.redis.front),
            ("scheduled", self.redis.scheduled),
            ("parked", self.redis.parked),
        ):
            for task in tasks:
                add(task.job or f"unnamed {task.origin}", name)
        for lane, waiting in self.redis.lanes.waiting.items() if self.redis.lanes else ():
            for task in waiting:
                add(task.job or f"unnamed {task.origin}", f"lane {lane.queue}:{lane.group}:{lane.type}")
        for lease, flight in self.redis.flights.items():
            for number, task in flight.tasks.items():
                add(task.job or f"unnamed {task.origin}", f"flight {lease}#{number}")
        for lease, score in self.redis.leases.items():
            places[lease] = ["lives" if score > 0 else "fenced" if score == 0 else "ended"]
        if self.redis.lanes is not None:
            places |= {f"LANE {lane}": [where] for lane, where in self.redis.lanes.told().items()}
        return {job: ", ".join(where) for job, where in places.items()}

    def _told(self, job: str) -> str:
        """The row in short."""
        row = self.sql.rows[job]
        words = [row.state, *(["to be cancelled"] if row.cancel_at else [])]
        words += [row.token] if row.state == "processing" else []
        words.append(f"{row.attempts}/{row.recoveries}/{row.interruptions}")
        words += ["marked"] if any(job in entry.ids for entry in self.sql.outbox.values()) else []
        return " ".join(words)

    def _changes(self) -> list[str]:
        before, self._seen = self._seen, self._places()
        jobs = sorted(before.keys() | self._seen.keys())
        return [f"{job}: {self._seen.get(job, 'gone')}" for job in jobs if self._seen.get(job) != before.get(job)]
