"""Schedules: the jobs of due times, and which schedules the code of the workers declares. With Postgres.

The key of a due time is the schedule's `next_at`: the statement that makes its jobs moves it on, where it still stands
as it was read. So a due time makes its jobs once, however many workers are at it, whoever dies, and whichever answer is
lost. When a schedule is due next is computed here; what time it is says Postgres.
"""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from random import Random
from uuid import UUID

from msgspec import structs
from uuid_utils.compat import uuid7

from workqueue.core.audit import AuditEntry
from workqueue.core.errors import InvalidOption
from workqueue.core.ids import new_ids
from workqueue.core.schedules import Schedule, first_time, job_options, plan
from workqueue.core.steps.heartbeat import beat
from workqueue.core.steps.submit import HORIZON_SECONDS
from workqueue.core.steps.until_answered import TRIP_SECONDS
from workqueue.core.store import Firing, NewRun, ScheduleRow, ScheduleStore
from workqueue.core.store.schedules import CODE

log = logging.getLogger(__name__)

FIRE_SECONDS = 1.0  #: between two looks for what is due
DUE_MAX = 200  #: schedules a look
JOBS_MAX = 1000  #: a statement
PUT_MAX = 500  #: schedules a statement
DECLARE_SECONDS = 30.0
SILENT_SECONDS = 180.0  #: a schedule that no worker has declared for so long is gone from the code
NO_MORE_TIMES = "it has no more times"


class FireSchedules:
    """One for each worker; several at once share what is due (SKIP LOCKED)."""

    def __init__(self, queue_name: str, store: ScheduleStore, random: Random) -> None:
        self._queue_name = queue_name
        self._store = store
        self._random = random

    async def run_once(self) -> bool:
        """Make the jobs of what is due; True: there may be more.

        The jobs are in the outbox, and whoever listens pushes them at once. Raises StoreUnavailable. Cancelled, killed
        or without an answer: jobs were made and their schedules moved on, or neither was.
        """
        due = await self._store.due(self._queue_name, limit=DUE_MAX)
        if not due:
            return False
        firings: list[Firing] = []
        behind = False
        for row in due:
            try:
                planned = plan(row.schedule, row.next_at, row.now, room=max(1, JOBS_MAX // len(due)))
            except InvalidOption as error:  # read by another release, or on a machine with other time zones
                await self._pause(row, f"this release cannot tell when it is due: {error}")
                continue
            if planned.next_at is None:
                await self._pause(row, NO_MORE_TIMES)  # what is due at the very end is left out: it is in the year 9999
                continue
            behind |= planned.next_at <= row.now
            ids = new_ids(len(planned.dues))
            runs = [self._run(row, job_id, due_at) for job_id, due_at in zip(ids, planned.dues, strict=True)]
            firings.append(Firing(row.schedule.name, row.version, row.next_at, planned.next_at, runs))
        if firings:
            beat(TRIP_SECONDS)
            await self._store.fire(self._queue_name, uuid7(), firings, far_seconds=HORIZON_SECONDS)
        return behind or len(due) == DUE_MAX

    def _run(self, row: ScheduleRow, job_id: UUID, due_at: datetime) -> NewRun:
        jitter = self._random.uniform(0.0, row.schedule.jitter) if row.schedule.jitter else 0.0
        options = job_options(row.schedule)
        if options.expires_at is not None:
            options = structs.replace(options, expires_at=options.expires_at + timedelta(seconds=jitter))
        return NewRun(job_id, due_at, options, jitter)

    async def _pause(self, row: ScheduleRow, why: str) -> None:
        beat(TRIP_SECONDS)
        if await self._store.pause(self._queue_name, row, why):
            log.error("schedule %r is paused: %s", row.schedule.name, why)


class DeclareSchedules:
    """Keeps the schedules of this worker's code in the table. One for each worker."""

    def __init__(
        self,
        queue_name: str,
        store: ScheduleStore,
        schedules: Sequence[Schedule],
        *,
        silent_seconds: float = SILENT_SECONDS,
    ) -> None:
        self._queue_name = queue_name
        self._store = store
        self._schedules = {each.name: each for each in schedules}
        self._names = sorted(self._schedules)
        self._digest = hashlib.sha256("\n".join(self._names).encode()).digest()
        self._silent_seconds = silent_seconds
        self._is_written = False  # by this process

    async def run_once(self) -> None:
        """Say which schedules this code declares, write those that are new or differ, and tell which ones are gone.

        Raises StoreUnavailable. Cancelled or without an answer: some of it may be done, and it is repeated.
        """
        unknown = await self._store.declare(
            self._queue_name, self._digest, self._names, silent_seconds=self._silent_seconds
        )
        if self._names and (unknown or not self._is_written):
            await self._write()
            self._is_written = True
        beat(TRIP_SECONDS)
        for name in await self._store.leave(self._queue_name, silent_seconds=self._silent_seconds):
            log.warning("schedule %r is paused: the code of no worker declares it any more", name)

    async def _write(self) -> None:
        rows = await self._store.get(self._queue_name, self._names)
        known = next(iter(rows.values()), None)
        now = await self._store.now() if known is None else known.now
        written: dict[str, bool] = {}
        for begin in range(0, len(self._names), PUT_MAX):
            beat(TRIP_SECONDS)
            piece = list(self._with_first_times(self._names[begin : begin + PUT_MAX], now))
            written |= await self._store.put(self._queue_name, CODE, piece)
        for name in sorted(written):
            what = "runs again: it is back in the code" if written[name] else "changed" if name in rows else "is new"
            log.info("schedule %r %s", name, what)
        for name, row in rows.items():
            if row.source != CODE and not row.is_gone:
                log.warning("schedule %r of the code is left out: one of this name was made by the API", name)

    def _with_first_times(self, names: Sequence[str], now: datetime) -> Iterator[tuple[Schedule, datetime]]:
        for each in (self._schedules[name] for name in names):
            try:
                yield each, first_time(each, now)
            except InvalidOption as error:
                log.error("schedule %r of the code is left out: %s", each.name, error)


async def run_schedule_now(
    queue_name: str, store: ScheduleStore, row: ScheduleRow, audit: AuditEntry | None = None
) -> NewRun | None:
    """Make a job of a schedule, whatever is due and whether it is paused; None: it has changed since it was read.

    Raises StoreUnavailable: it is not known whether the job was made.
    """
    [job_id] = new_ids(1)
    run = NewRun(job_id, row.now, job_options(row.schedule))
    firing = Firing(row.schedule.name, row.version, None, None, [run])
    made = await store.fire(queue_name, uuid7(), [firing], far_seconds=HORIZON_SECONDS, audit=audit)
    return run if made else None
