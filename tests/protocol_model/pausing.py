"""Pausing a type: a person pauses and resumes it, claims park its tasks, and every worker keeps Redis up to date.

Every other job is of the type that is paused. A claim that Redis has carried out while the type was paused leads to no
run before it is resumed.
"""

from __future__ import annotations

from contextlib import suppress

from tests.protocol_model.engine import SECOND, NoAnswer, Sleep, Steps
from tests.protocol_model.held import Lease
from tests.protocol_model.redis_model import Paused, Redis, Task
from tests.protocol_model.world import World

LOOK_EVERY = SECOND


def is_of_the_type(world: World, task: Task) -> bool:
    origin = world.truth.named.get(task.job, task.job) or task.origin
    digits = "".join(letter for letter in origin if letter.isdigit())
    return bool(digits) and int(digits) % 2 == 0


class Pauser:
    """A person; at last the type is resumed, and Redis has to hear of it from the workers."""

    def __init__(self, world: World) -> None:
        self.world = world

    def pause_and_resume(self, until: int) -> Steps[None]:
        rng = self.world.rng
        while self.world.engine.now < until - 20 * SECOND:
            yield Sleep(rng.randint(0, 10 * SECOND))
            yield from self.change(paused=True)
            yield Sleep(rng.randint(0, 10 * SECOND))
            yield from self.change(paused=False)

    def resume_at_last(self) -> Steps[None]:
        while self.world.engine.late_trips:  # a pause may still come
            yield Sleep(SECOND)
        if self.world.sql.pauses.is_paused:
            yield from self.world.sql_again("pause.rows", lambda sql: self._stored(sql.pause(False)))

    def change(self, *, paused: bool) -> Steps[None]:
        with suppress(NoAnswer):
            now = yield from self.world.sql_once("pause.rows", lambda sql: self._stored(sql.pause(paused)))
            yield from self.world.redis_once("pause.redis", lambda redis: self._set(redis, now))

    def _stored(self, now: Paused) -> Paused:
        if not now.is_paused:
            self.world.truth.paused_by = 0
        return now

    def _set(self, redis: Redis, now: Paused) -> None:
        redis.set_paused(now)
        if now.is_paused and now == self.world.sql.pauses:
            self.world.truth.paused_by = now.version


class Parking:
    """What a worker knows of the pauses."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.known = Paused()

    def learn(self, paused: Paused) -> None:
        if paused.version > self.known.version:
            self.known = paused

    def park(self, lease: Lease, tasks: dict[int, Task], there: Paused) -> Steps[dict[int, Task]]:
        """The tasks that may run, of those that were claimed while Redis said this."""
        world = self.world
        if there.version < self.known.version and world.on("pauses-remembered"):
            there = yield from world.redis_again("park.restore", lambda redis: redis.set_paused(self.known))
        self.learn(there)
        if not self.known.is_paused:
            return tasks
        left = dict(tasks)
        for number, task in tasks.items():
            if is_of_the_type(world, task) and (yield from self.leaves(lease, number)):
                del left[number]
        return left

    def leaves(self, lease: Lease, number: int) -> Steps[bool]:
        """It is parked, or has gone back: a send that had no answer may still come, when the type is paused again."""
        world, is_sure = self.world, True
        while True:
            try:
                parked = yield from world.redis_once("park", lambda redis: redis.park(lease.id, number))
            except NoAnswer:
                is_sure = False
                yield Sleep(200)
            else:
                break
        if parked or is_sure or not world.on("park-sure"):
            return parked
        yield from world.redis_again("back", lambda redis: redis.back(lease.id, number))
        return True

    def loop(self) -> Steps[None]:
        while True:
            with suppress(NoAnswer):
                yield from self.look()
            yield Sleep(LOOK_EVERY)

    def look(self) -> Steps[None]:
        world = self.world
        stored = yield from world.sql_once("pauses", lambda sql: sql.pauses)
        if stored.version and world.on("pauses-again"):
            self.learn((yield from world.redis_once("pauses", lambda redis: redis.set_paused(stored))))
        if not stored.is_paused and world.on("unpark"):
            yield from world.redis_once("unpark", lambda redis: redis.unpark())
