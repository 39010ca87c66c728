"""Rows of schedules: one for each, and which of them the code of the workers declares."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg
from msgspec import Struct

from workqueue.core.audit import AuditEntry
from workqueue.core.options import JobOptions
from workqueue.core.schedules import Missed, Overlap, Schedule
from workqueue.core.store import sql
from workqueue.core.store.audit import bound
from workqueue.core.store.pool import Pool
from workqueue.core.store.sql import option_arrays

CODE = "code"
API = "api"
GONE = "gone from the code"


class ScheduleRow(Struct, frozen=True):
    """A schedule, and how far it is."""

    schedule: Schedule
    source: str  #: CODE or API
    paused_why: str | None  #: None: it is not paused
    is_gone: bool
    next_at: datetime
    last_at: datetime | None
    last_job_id: UUID | None
    version: int
    created_at: datetime
    updated_at: datetime
    now: datetime  #: when it was read, by the server's clock


class NewRun(Struct, frozen=True):
    """A job that a schedule makes."""

    id: UUID
    due_at: datetime
    options: JobOptions
    jitter: float = 0.0  #: seconds that it waits


class Firing(Struct, frozen=True):
    """What a schedule that is due does, as it was read."""

    name: str
    version: int
    seen: datetime | None  #: its `next_at`; None: run now, whatever is due
    next_at: datetime | None  #: None: stays
    runs: Sequence[NewRun]


class ScheduleStore:
    """The statements of schedules. What each raises and what cancelling means: Pool.fetch. `queue`: the installation;
    `audit`: the row that an act leaves where something has changed, in its transaction."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def page(self, queue: str, *, after: str, limit: int) -> list[ScheduleRow]:
        """In the order of their names, behind the name `after`."""
        statement = sql.LIST_SCHEDULES.bind(queue=queue, after=after, limit=limit)
        return [_schedule_row(row) for row in await self._pool.fetch(*statement)]

    async def get(self, queue: str, names: Sequence[str]) -> dict[str, ScheduleRow]:
        """By name; those that are not there are missing."""
        rows = await self._pool.fetch(*sql.GET_SCHEDULES.bind(queue=queue, names=names))
        return {row["name"]: _schedule_row(row) for row in rows}

    async def now(self) -> datetime:
        """The server's clock, which says what is due."""
        [row] = await self._pool.fetch(sql.NOW)
        now: datetime = row["now"]
        return now

    async def due(self, queue: str, *, limit: int) -> list[ScheduleRow]:
        """Those that are due, longest first."""
        rows = await self._pool.fetch(*sql.DUE_SCHEDULES.bind(queue=queue, limit=limit))
        return [_schedule_row(row) for row in rows]

    async def fire(
        self, queue: str, batch: UUID, firings: Sequence[Firing], *, far_seconds: float, audit: AuditEntry | None = None
    ) -> dict[str, int]:
        """Make jobs, and move the schedules on; how many jobs of each that was moved.

        May be repeated, under a batch of its own: what is done is not done again. But for what runs now.
        """
        runs = [(firing.name, run) for firing in firings for run in firing.runs]
        statement = sql.FIRE_SCHEDULES.bind(
            queue=queue,
            batch=batch,
            names=[firing.name for firing in firings],
            versions=[firing.version for firing in firings],
            seen=[firing.seen for firing in firings],
            next_ats=[firing.next_at for firing in firings],
            job_ids=[run.id for _, run in runs],
            job_names=[name for name, _ in runs],
            dues=[run.due_at for _, run in runs],
            job_jitters=[run.jitter for _, run in runs],
            far_seconds=far_seconds,
            **option_arrays([run.options for _, run in runs]),
            **bound(audit),
        )
        return {row["name"]: row["made"] for row in await self._pool.fetch(*statement)}

    async def put(
        self,
        queue: str,
        source: str,
        schedules: Sequence[tuple[Schedule, datetime]],
        audit: AuditEntry | None = None,
    ) -> dict[str, bool]:
        """Create or change (definition, its first due time where it is new or its times are).

        Name -> had it been gone?, of those that were written: nothing differs in the others, or they are of the other
        source. May be repeated.
        """
        definitions = [schedule for schedule, _ in schedules]
        statement = sql.PUT_SCHEDULES.bind(
            queue=queue,
            source=source,
            names=[each.name for each in definitions],
            crons=[each.cron for each in definitions],
            everies=[each.every for each in definitions],
            tzs=[each.tz for each in definitions],
            types=[each.type for each in definitions],
            payloads=[each.payload for each in definitions],
            option_texts=[each.options for each in definitions],
            misseds=[each.missed for each in definitions],
            overlaps=[each.overlap for each in definitions],
            jitters=[each.jitter for each in definitions],
            next_ats=[next_at for _, next_at in schedules],
            **bound(audit),
        )
        return {row["name"]: row["returned"] for row in await self._pool.fetch(*statement)}

    async def pause(self, queue: str, row: ScheduleRow, why: str, audit: AuditEntry | None = None) -> bool:
        """False: it has changed since it was read."""
        return await self._change(queue, row, why, None, audit)

    async def resume(self, queue: str, row: ScheduleRow, next_at: datetime, audit: AuditEntry | None = None) -> bool:
        """With `next_at` as its next due time. False: it has changed since it was read."""
        return await self._change(queue, row, None, next_at, audit)

    async def _change(
        self, queue: str, row: ScheduleRow, why: str | None, next_at: datetime | None, audit: AuditEntry | None
    ) -> bool:
        statement = sql.CHANGE_SCHEDULE.bind(
            queue=queue,
            name=row.schedule.name,
            version=row.version,
            paused_why=why,
            next_at=next_at,
            **bound(audit),
        )
        return bool(await self._pool.fetch(*statement))

    async def delete(self, queue: str, name: str, audit: AuditEntry | None = None) -> bool:
        """False: it is not there, or the code declares it."""
        return bool(await self._pool.fetch(*sql.DELETE_SCHEDULE.bind(queue=queue, name=name, **bound(audit))))

    async def declare(self, queue: str, digest: bytes, names: Sequence[str], *, silent_seconds: float) -> bool:
        """Say that a worker has these in its code; True: that was not known, and `put` is to follow."""
        statement = sql.DECLARE_SCHEDULES.bind(queue=queue, hash=digest, names=names, silent_seconds=silent_seconds)
        rows = await self._pool.fetch(*statement)
        return any(row["unknown"] for row in rows)

    async def leave(self, queue: str, *, silent_seconds: float) -> list[str]:
        """The names of schedules that are gone from the code now."""
        rows = await self._pool.fetch(*sql.LEAVE_SCHEDULES.bind(queue=queue, silent_seconds=silent_seconds))
        return [row["name"] for row in rows]


def _schedule_row(row: asyncpg.Record) -> ScheduleRow:
    definition = {name: row[name] for name in Schedule.__struct_fields__}
    definition |= {"missed": Missed(row["missed"]), "overlap": Overlap(row["overlap"])}
    return ScheduleRow(
        Schedule(**definition),
        row["source"],
        row["paused_why"],
        row["gone"],
        row["next_at"],
        row["last_at"],
        row["last_job_id"],
        row["version"],
        row["created_at"],
        row["updated_at"],
        row["now"],
    )
