"""Unique keys, with rows: what the statement of a submit sees, what it does then, and the producer around it.

In the code both are one statement. It sees rows as they were when it began, and acts when it has waited for others: two
trips here, so that anything may happen between.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tests.protocol_model.engine import SECOND, LockTimeout, NoAnswer, Sleep, Steps
from tests.protocol_model.postgres_model import AT_ONCE, HORIZON, Due, Postgres
from tests.protocol_model.producers import ANSWER_WITHIN, Producer
from tests.protocol_model.rows_model import TERMINAL, Held, Row

Until = Literal["ended", "started", "seconds"]

KEYS = 3
SECONDS = 5 * SECOND
ROUNDS = 5


@dataclass(frozen=True)
class Wish:
    """A submit under a unique key."""

    key: str
    job: str
    until: Until
    replaces: bool
    due: Due
    payload: int  #: in the place of that of a job that waits; 0 is the first of each


@dataclass(frozen=True)
class Seen:
    """The job that holds a key, as its row was."""

    job: str
    held: Held  #: as it was
    is_free: bool
    waits: bool  #: it was never claimed
    joined: bool


@dataclass(frozen=True)
class Answer:
    job: str
    is_new: bool
    is_sooner: bool = False


def _never_claimed(row: Row | None) -> bool:
    return row is not None and row.state == "pending" and not (row.requeued or row.counted)


def is_free(sql: Postgres, held: Held) -> bool:
    """Judged from the row of its holder: nothing frees a key."""
    row = sql.rows.get(held.job)
    if held.free_at:
        return held.free_at <= sql.clock()
    if held.until_started:
        return not _never_claimed(row)
    return row is None or row.state in TERMINAL


def see(sql: Postgres, key: str) -> Seen | None:
    if (held := sql.unique.get(key)) is None:
        return None
    row = sql.rows.get(held.job)
    return Seen(held.job, held, is_free(sql, held), _never_claimed(row), row is not None and row.joined)


def submit(sql: Postgres, wish: Wish, seen: Seen | None, batch: str, sooner: str) -> Answer | None:
    """None: the key changed hands meanwhile, ask anew."""
    held = sql.unique.get(wish.key)
    if seen is None or seen.is_free:
        if not _is_still(sql, held, seen.held if seen else None):
            return None
        _take(sql, wish, batch)
        return Answer(wish.job, is_new=True)
    if not seen.waits or (seen.joined and not wish.replaces):
        return Answer(seen.job, is_new=False)
    sql.wait_for([seen.job])
    row = sql.rows.get(seen.job)
    if row is None or (not _never_claimed(row) and sql.switches.on("unique-join-looks")):
        return None
    if wish.replaces and not _is_still(sql, held, seen.held):
        return None
    row.joined = sql.switches.on("unique-join")
    return _replace(sql, wish, seen.job, row, sooner) if wish.replaces else Answer(seen.job, is_new=False)


def _is_still(sql: Postgres, held: Held | None, seen: Held | None) -> bool:
    """Compare-and-set: the holder, and until when it has chosen to hold the key, are as they were seen."""
    if (held.job if held else None) != (seen.job if seen else None):
        return not sql.switches.on("unique-cas")
    return held == seen or not sql.switches.on("unique-cas-until")


def _take(sql: Postgres, wish: Wish, batch: str) -> None:
    for job, row in sql.rows.items():
        if row.unique_key == wish.key:
            holds = _never_claimed(row) if row.until_started else row.state not in TERMINAL
            if holds and not row.for_seconds:
                sql.watcher.meets(job, wish.job)
    sql.unique[wish.key] = Held(wish.job, wish.until == "started", _free_at(sql, wish))
    sql.insert([wish.job], batch, [], {wish.job: wish.due})
    row = sql.rows[wish.job]
    row.unique_key = wish.key
    row.until_started, row.for_seconds = wish.until == "started", wish.until == "seconds"


def _free_at(sql: Postgres, wish: Wish) -> int:
    return sql.clock() + SECONDS if wish.until == "seconds" else 0


def _replace(sql: Postgres, wish: Wish, job: str, row: Row, sooner: str) -> Answer:
    before, now = row.run_at, sql.clock()
    is_sooner = not wish.due.is_far and (row.is_far or max(wish.due.at, now) < before)
    if is_sooner:
        sql.leave_scheduled(job, row, "unique-sooner-remembers")
        if sql.switches.on("unique-sooner-outbox"):
            sql.add_to_outbox(sooner, [job])
    row.payload, row.run_at, row.is_far, row.updated_at = wish.payload, wish.due.at, wish.due.is_far, now
    row.replaced = True
    row.until_started, row.for_seconds = wish.until == "started", wish.until == "seconds"
    held = sql.unique.get(wish.key)
    if held is not None and held.job == job:
        sql.unique[wish.key] = Held(job, wish.until == "started", _free_at(sql, wish))
    return Answer(job, is_new=False, is_sooner=is_sooner)


def prune_see(sql: Postgres) -> dict[str, Held]:
    """Keys that are free, and who held them."""
    return {key: held for key, held in sql.unique.items() if is_free(sql, held)}


def prune(sql: Postgres, seen: dict[str, Held]) -> None:
    for key, held in seen.items():
        if key in sql.unique and (sql.unique[key] == held or not sql.switches.on("unique-prune-cas")):
            del sql.unique[key]


class UniqueProducer:
    """Submits under unique keys, by the process of a producer."""

    def __init__(self, producer: Producer) -> None:
        self.producer = producer
        self.world = producer.world

    def submit_all(self, count: int, pause: int) -> Steps[None]:
        for _ in range(count):
            yield Sleep(self.world.rng.randint(0, pause))
            if self.world.calm:
                return
            yield from self.submit(self.wish())

    def wish(self) -> Wish:
        rng, now = self.world.rng, self.world.postgres_clock()
        due = AT_ONCE
        if rng.random() < 0.5:
            delay, error = rng.randint(1, 40 * SECOND), rng.choice((0, 0, 0, -20 * SECOND, 20 * SECOND))
            due = Due(now + delay, delay + error > HORIZON)
        untils: tuple[Until, ...] = ("ended", "ended", "started", "seconds")
        job = self.producer.new_job("q")
        payload = int(job[1:])
        return Wish(f"unique{rng.randint(1, KEYS)}", job, rng.choice(untils), rng.random() < 0.5, due, payload)

    def submit(self, wish: Wish) -> Steps[None]:
        world, truth = self.world, self.world.truth
        for _ in range(ROUNDS):
            batch, sooner, sent = world.fresh("m"), world.fresh("m"), world.engine.now
            try:
                seen = yield from world.sql_once("unique.see", lambda sql: see(sql, wish.key))
                answer = yield from world.sql_once(
                    "unique.submit",
                    lambda sql, seen=seen, batch=batch, sooner=sooner: submit(sql, wish, seen, batch, sooner),  # type: ignore[misc]
                )
            except LockTimeout:
                continue
            except NoAnswer:
                return  # 500: row, key and outbox entry are there, or none of them is
            if answer is None:
                continue
            if answer.is_new and not wish.due.is_far:
                yield from self.producer.push([wish.job], batch, sent, {wish.job: wish.due} if wish.due.at else {})
                return
            truth.accepted.add(answer.job)
            if answer.is_sooner:
                yield from self.push_again(answer.job, sooner, sent)
            return

    def push_again(self, job: str, batch: str, sent: int) -> Steps[None]:
        world = self.world
        try:
            waiting = yield from world.sql_once("unique.fetch", lambda sql: sql.fetch_pending([job]))
            if waiting:
                yield from world.redis_once("unique.push", lambda redis: redis.push_waiting(waiting))
        except NoAnswer:
            return  # the outbox entry stays
        if world.engine.now - sent <= ANSWER_WITHIN:
            self.producer.pushed.append(batch)

    def prune_all(self, pause: int) -> Steps[None]:
        while True:
            yield Sleep(self.world.rng.randint(0, pause))
            try:
                seen = yield from self.world.sql_once("unique.prune-see", prune_see)
                yield from self.world.sql_once("unique.prune", lambda sql, seen=seen: prune(sql, seen))  # type: ignore[misc]
            except NoAnswer:
                continue
