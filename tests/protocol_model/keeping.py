"""Retention: rows of jobs that ended long ago are deleted, and so is, later, what remembers them.

How long "long ago" is would take days: it is longer than a list is, than a process sleeps, than a statement is late. So
here a job has ended long ago when no task of it is left anywhere. But a task that waits for its time may wait
for longer.
"""

from __future__ import annotations

from contextlib import suppress

from tests.protocol_model.engine import SECOND, NoAnswer, Sleep, Steps
from tests.protocol_model.redis_model import Redis
from tests.protocol_model.world import World

CALM_FOR = 8 * SECOND  # trips that are under way have arrived by then


class Keeper:
    def __init__(self, world: World) -> None:
        self.world = world
        self.calm_since = 0
        self.losses = 0

    def keep(self) -> Steps[None]:
        while True:
            yield Sleep(SECOND)
            self.look_around()
            with suppress(NoAnswer):
                yield from self.world.sql_once("retention", lambda sql: sql.delete_old(self.is_forgotten))
                yield from self.world.sql_once("prune", lambda sql: sql.prune_deleted(self.is_forgotten))

    def look_around(self) -> None:
        """After a loss of Redis a worker still knows of tasks that it has claimed."""
        losses = self.world.truth.losses
        if losses != self.losses or not self.world.engine.is_calm():
            self.losses, self.calm_since = losses, self.world.engine.now + 1

    def is_forgotten(self, job: str) -> bool:
        """No statement or task of the job is on its way, but for what a person's act has left in the scheduled set."""
        self.look_around()
        if self.world.engine.now - self.calm_since < CALM_FOR:
            return False
        left = self.world.truth.wishes.scheduled_until.get(job, 0) > self.world.postgres_clock()
        if any(job in jobs for jobs in self.world.at_hand.values()):
            return False
        known = (self.world.redis, *self.world.snapshots, *self.world.files)
        return not any(self._knows(redis, job, left) for redis in known)

    @staticmethod
    def _knows(redis: Redis, job: str, left: bool) -> bool:
        return job in (redis.jobs_ready() if left else redis.jobs_in_lists())
