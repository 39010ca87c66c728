"""How outcomes are settled: the row decides, and then the task leaves the flight."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from tests.protocol_model.engine import SECOND, NoAnswer, Process, Sleep, Steps
from tests.protocol_model.held import Item, Lease, Ledger
from tests.protocol_model.postgres_model import Counter, Postgres
from tests.protocol_model.redis_model import Task
from tests.protocol_model.rows_model import State
from tests.protocol_model.world import World

T = TypeVar("T")

RETRIES = 2
ANSWER_WITHIN = 30 * SECOND
LONG_BACKOFF = 0.15


class Settling:
    """The part of a worker that ends jobs; `items`: all that it holds, under whatever lease."""

    def __init__(self, world: World, process: Process) -> None:
        self.world = world
        self.process = process
        self.ledger = Ledger()
        self.items: list[Item] = []

    @property
    def now(self) -> int:
        return self.world.engine.now

    def drop(self, lease: Lease, number: int) -> None:
        if (item := lease.held.get(number)) in self.items:
            self.items.remove(item)
        if token := lease.drop(number):
            self.ledger.claims.append(token)

    def ride(self, name: str, action: Callable[[Postgres, list[str]], T]) -> Steps[T]:
        """One statement that deletes settled claims on its way; without an answer the next one does."""
        done, self.ledger.claims = self.ledger.claims, []
        try:
            return (yield from self.world.sql_once(name, lambda sql: action(sql, done)))
        except NoAnswer:
            self.ledger.claims = done + self.ledger.claims
            raise

    def ledger_loop(self) -> Steps[None]:
        """Deletes what no other statement has taken along by now."""
        while True:
            yield Sleep(SECOND)
            outbox, self.ledger.outbox = self.ledger.outbox, []
            if not outbox and not self.ledger.claims:
                continue
            try:
                yield from self.ride("ledger", lambda sql, done, outbox=outbox: sql.delete_outbox(outbox, done))  # type: ignore[misc]
            except NoAnswer:
                self.ledger.outbox = outbox + self.ledger.outbox

    def back(self, lease: Lease, number: int, delay: int, text: Task | None = None) -> Steps[bool]:
        due = None
        if delay > 0 and not self.world.on("relative-delay"):
            due = self.world.postgres_clock() + delay
        return (yield from self.world.redis_again("back", lambda redis: redis.back(lease.id, number, delay, text, due)))

    def settle(self, lease: Lease, number: int, item: Item) -> Steps[None]:
        item.settling = True
        failed = self.world.truth.failures.get(item.job, 0) > item.counters.attempts
        if item.cancelled:
            yield from self.finish(lease, number, item, "cancelled")
        elif failed and item.counters.attempts < RETRIES:
            yield from self.release(lease, number, item, self.backoff(), "attempts")
        elif self.world.postgres is None:
            yield from self.finish_in_redis(lease, number, item, failed)
        else:
            yield from self.finish(lease, number, item, "failed" if failed else "completed")
        self.drop(lease, number)

    def backoff(self) -> int:
        rng = self.world.rng
        return rng.randint(20, 60) * SECOND if rng.random() < LONG_BACKOFF else rng.randint(100, 8 * SECOND)

    def finish_in_redis(self, lease: Lease, number: int, item: Item, failed: bool) -> Steps[None]:
        truth = self.world.truth
        if failed:
            yield from self.world.redis_again("finish.bury", lambda redis: redis.bury(lease.id, number, "failed"))
            return

        def count(done: Task | None) -> None:
            if done:
                truth.finished[item.job] += 1

        yield from self.world.redis_again("finish.ack", lambda redis: count(redis.ack(lease.id, number)))

    def finish(self, lease: Lease, number: int, item: Item, state: State) -> Steps[None]:
        while True:
            if (yield from self.ride_again("finish", lambda sql, done: sql.finish(item.job, item.token, state, done))):
                yield from self.world.redis_again("finish.ack", lambda redis: redis.ack(lease.id, number))
                return
            if (yield from self.judge(lease, number, item)):
                return

    def judge(self, lease: Lease, number: int, item: Item) -> Steps[bool]:
        """What a statement did not return: only what has a verdict leaves the flight. False: locked, ask again."""
        verdict = yield from self.world.sql_again("settle.look", lambda sql: sql.decide(item.job, item.token))
        if verdict == "locked" and self.world.on("skip-repeat"):
            yield Sleep(500)
            return False
        if verdict == "pending" and self.world.on("pending-back"):
            yield from self.back(lease, number, 0)
        else:
            yield from self.world.redis_again("finish.ack", lambda redis: redis.ack(lease.id, number))
        return True

    def ride_again(self, name: str, action: Callable[[Postgres, list[str]], T]) -> Steps[T]:
        while True:
            try:
                return (yield from self.ride(name, action))
            except NoAnswer:
                yield Sleep(200)

    def release(self, lease: Lease, number: int, item: Item, delay: int, counter: Counter) -> Steps[None]:
        """Retry, give back, snooze: Postgres first, with an outbox entry; then Redis; then the outbox entry goes."""
        item.settling = True
        changed = replace(
            item.task,
            attempts=item.counters.attempts + (counter == "attempts"),
            recoveries=item.counters.recoveries,
            interruptions=item.counters.interruptions + (counter == "interruptions"),
        )
        if self.world.postgres is None:
            yield from self.back(lease, number, delay, changed)
        else:
            yield from self.release_row(lease, number, item, delay, counter, changed)
        self.drop(lease, number)

    def release_row(
        self, lease: Lease, number: int, item: Item, delay: int, counter: Counter, changed: Task
    ) -> Steps[None]:
        sent = self.now
        batch = self.world.fresh("m")
        while True:
            try:
                if self.world.on("outbox-per-send"):
                    batch = self.world.fresh("m")
                released = yield from self.ride(
                    "release",
                    lambda sql, done, batch=batch: sql.release(item.job, item.token, delay, counter, batch, done),  # type: ignore[misc]
                )
            except NoAnswer:
                yield Sleep(200)
                continue
            if released:
                break
            if (yield from self.judge(lease, number, item)):
                return
        if not (yield from self.back(lease, number, delay, changed)):
            return  # no longer in its flight: the outbox entry stays for the sweep
        if self.now - sent <= ANSWER_WITHIN or not self.world.on("thirty-seconds"):
            self.ledger.outbox.append(batch)
