"""Schedules: workers look for what is due, and a statement makes its job and moves it on.

Two schedules are due every few seconds, one of them only while its last job has ended. At rest each due time of the
first has made one job, whoever died and whichever answer was late, and the second never had two at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.protocol_model.engine import SECOND, NoAnswer, Sleep, Steps
from tests.protocol_model.rows_model import TERMINAL, Row, Rows

if TYPE_CHECKING:
    from tests.protocol_model.world import World

EVERY = {"each": 7 * SECOND, "alone": 5 * SECOND}
LOOK_EVERY = SECOND


@dataclass
class Schedules:
    """The table, and the truth: which job was made for which due time."""

    next_at: dict[str, int] = field(default_factory=dict)
    first: dict[str, int] = field(default_factory=dict)
    last: dict[str, str] = field(default_factory=dict)
    until: int = 0
    made: Counter[tuple[str, int]] = field(default_factory=Counter)
    jobs: dict[str, list[str]] = field(default_factory=dict)

    def begin(self, now: int, until: int) -> None:
        self.next_at = {name: now + every for name, every in EVERY.items()}
        self.first, self.until = dict(self.next_at), until

    def due(self, now: int) -> dict[str, int]:
        """Name -> due time that is seen. All that were missed make a job each, one after the other."""
        return {name: at for name, at in self.next_at.items() if at <= min(now, self.until)}

    def expected(self, name: str) -> Iterable[int]:
        return range(self.first[name], self.until + 1, EVERY[name])


def fire(rows: Rows, schedules: Schedules, name: str, seen: int, job: str, batch: str) -> str | None:
    """One statement: the job with its outbox entry, and the next due time. Says what went wrong."""
    if schedules.next_at[name] != seen and rows.switches.on("fire-cas"):
        return None
    wrong = None
    busy = rows.state_of(schedules.last.get(name, "")) in {"pending", "processing"}
    if name == "each" or not busy or not rows.switches.on("fire-busy"):
        others = [each for each in schedules.jobs.setdefault(name, []) if rows.state_of(each) not in {None, *TERMINAL}]
        if name == "alone" and others:
            wrong = f"{job} of a schedule was made beside {' '.join(others)}"
        rows.make(job, Row("pending", rows.clock()))
        if rows.switches.on("fire-outbox"):
            rows.add_to_outbox(batch, [job])
            rows.outbox[batch].at = 0
        schedules.jobs[name].append(job)
        schedules.last[name] = job
        schedules.made[name, seen] += 1
    if rows.switches.on("fire-moves"):
        schedules.next_at[name] = seen + EVERY[name]
    return wrong


def fire_loop(world: World) -> Steps[None]:
    """Of each worker."""
    schedules = world.schedules
    while True:
        yield Sleep(LOOK_EVERY)
        with suppress(NoAnswer):
            due = yield from world.sql_once("fire.due", lambda sql: schedules.due(sql.clock()))
            for name, seen in due.items():
                job, batch = world.fresh("s"), world.fresh("b")

                def statement(
                    sql: Rows, name: str = name, seen: int = seen, job: str = job, batch: str = batch
                ) -> None:
                    wrong = fire(sql, schedules, name, seen, job, batch)
                    if wrong and not world.truth.wishes.retried:  # a person may run an old job again
                        world.truth.violate(wrong)

                yield from world.sql_once("fire", statement)
                if not world.on("fire-moves"):  # a statement of its own, and a worker may die before it
                    yield from world.sql_once("fire.move", lambda _, name=name, seen=seen: move(schedules, name, seen))  # type: ignore[misc]


def move(schedules: Schedules, name: str, seen: int) -> None:
    if schedules.next_at[name] == seen:
        schedules.next_at[name] += EVERY[name]


def check_schedules(schedules: Schedules) -> list[str]:
    """At rest."""
    bad = [f"a due time of {name} made {count} jobs" for (name, _), count in schedules.made.items() if count > 1]
    missing = [at for at in schedules.expected("each") if not schedules.made["each", at]]
    return [*bad, *(f"the due time {at} made no job" for at in missing)]


def is_done(schedules: Schedules) -> bool:
    return all(at > schedules.until for at in schedules.next_at.values())
