"""A person who cancels, retries, runs now and deletes jobs; each act is carried out by a producer's process."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Literal

from tests.protocol_model.engine import SECOND, NoAnswer, Process, Sleep, Steps
from tests.protocol_model.postgres_model import Postgres
from tests.protocol_model.producers import ANSWER_WITHIN
from tests.protocol_model.rows_model import TERMINAL, Row
from tests.protocol_model.world import World

Act = Literal["cancel", "retry", "run-now", "delete"]

ACTS: tuple[Act, ...] = ("cancel", "cancel", "cancel", "retry", "retry", "run-now", "run-now", "delete")
SAME_AGAIN = 0.5


class Person:
    def __init__(self, world: World) -> None:
        self.world = world
        self.last = ""

    def act_all(self, count: int, pause: int) -> Steps[None]:
        """Often one act soon after the other, at the same job."""
        rng = self.world.rng
        for _ in range(count):
            yield Sleep(rng.randint(0, SECOND) if rng.random() < 0.4 else rng.randint(0, pause))
            if self.world.calm:
                return
            if self.world.sql.rows:
                act, self.last = self.choose()
                steps = {"cancel": self.cancel, "retry": self.retry, "run-now": self.run_now, "delete": self.delete}
                self.world.engine.start(Process(self.world.fresh("act")), act, steps[act](self.last))

    def choose(self) -> tuple[Act, str]:
        """What a person sees and wants; when the statement arrives, the row may be another."""
        rng, rows = self.world.rng, self.world.sql.rows
        if self.last in rows and rng.random() < SAME_AGAIN:
            row = rows[self.last]
            if row.state in {"failed", "cancelled"}:
                return ("retry" if rng.random() < 0.8 else "delete"), self.last
            if row.state in {"pending", "processing"}:
                return "cancel", self.last
        act = rng.choice(ACTS)
        fitting = [job for job, row in rows.items() if self.fits(act, row)]
        return act, rng.choice(fitting or list(rows))

    def fits(self, act: Act, row: Row) -> bool:
        if act == "cancel":
            return row.state not in TERMINAL
        if act == "run-now":
            return row.state == "pending" and row.run_at > self.world.postgres_clock()
        return row.state in (TERMINAL if act == "delete" else {"failed", "cancelled"})

    # --- the acts: a statement, then hints to Redis

    def cancel(self, job: str) -> Steps[None]:
        with suppress(NoAnswer):
            token = yield from self.world.sql_once("act.cancel", lambda sql: sql.cancel(job))
            if token:
                publish = self.world.channel.publish
                yield from self.world.redis_once("act.tell", lambda _: publish([(token, job)]))

    def retry(self, job: str) -> Steps[None]:
        batch = self.world.fresh("m")

        def retry(sql: Postgres) -> bool:
            changed = sql.retry(job, batch)
            if changed:
                self.world.truth.refused.discard(job)
            return changed

        yield from self.with_push("act.retry", retry, job, batch)

    def run_now(self, job: str) -> Steps[None]:
        batch = self.world.fresh("m")
        yield from self.with_push("act.run_now", lambda sql: sql.run_now(job, batch), job, batch)

    def delete(self, job: str) -> Steps[None]:
        with suppress(NoAnswer):
            yield from self.world.sql_once("act.delete", lambda sql: sql.delete(job))

    def with_push(self, name: str, act: Callable[[Postgres], bool], job: str, batch: str) -> Steps[None]:
        world, sent = self.world, self.world.engine.now
        try:
            if not (yield from world.sql_once(name, act)):
                return
            waiting = yield from world.sql_once("act.fetch", lambda sql: sql.fetch_pending([job]))
            if waiting:
                yield from world.redis_once("act.push", lambda redis: redis.push_waiting(waiting))
            if world.engine.now - sent <= ANSWER_WITHIN or not world.on("thirty-seconds"):
                yield Sleep(SECOND)
                yield from world.sql_once("act.delete_outbox", lambda sql: sql.delete_outbox([batch]))
        except NoAnswer:
            pass  # the outbox entry stays, if there is one
