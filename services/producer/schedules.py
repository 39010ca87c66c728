"""Schedules over HTTP: list, create and edit, pause and resume, run now, delete."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import trio
from msgspec import Meta, Raw, Struct
from quart import Response, request

from workqueue.core.audit import schedule_target
from workqueue.core.errors import InvalidOption
from workqueue.core.options import DEFAULT_QUEUE, QUEUE_NAME, RETRIES_MAX
from workqueue.core.schedules import (
    EVERY_SECONDS_MIN,
    JITTER_SECONDS_MAX,
    MEMBERS,
    Missed,
    Overlap,
    first_time,
    is_name,
    make_schedule,
    next_times,
)
from workqueue.core.steps.schedules import run_schedule_now
from workqueue.core.store import ScheduleRow
from workqueue.core.store.schedules import API, CODE, GONE
from workqueue.core.wire import TYPE_LENGTH_MAX
from workqueue.services.http.responses import Refused, empty, json
from workqueue.services.producer.audit import entry
from workqueue.services.producer.backend import Backend
from workqueue.services.producer.openapi import INVALID_JSON
from workqueue.services.producer.parameters import read_schedule_page

RUNS_SHOWN = 5
TRIES = 5  #: of a change, while others change the same schedule
BY_A_PERSON = "by a person"

READ_FAILED = "failed to read schedules"
CHANGE_FAILED = "failed to change the schedule: it is not known whether it was changed"
SCHEDULE_NOT_FOUND = "schedule not found"
DECLARED = "the code declares this schedule: change it there"
NOT_DECLARED = "the code of no worker declares this schedule any more"
CHANGED_MEANWHILE = "the schedule has changed meanwhile: try again"


class ScheduleRequest(Struct, frozen=True):
    """What PUT /api/schedules/<name> takes: the whole definition. null counts as absent."""

    type: Annotated[str, Meta(min_length=1, max_length=TYPE_LENGTH_MAX)]
    cron: Annotated[str, Meta(description="five fields, or @hourly, @daily ...; either this or `every`")] | None = None
    every: Annotated[float, Meta(ge=EVERY_SECONDS_MIN, description="seconds from one job to the next")] | None = None
    tz: Annotated[str, Meta(description="the time zone of `cron`, as Europe/Berlin")] | None = "UTC"
    payload: dict[str, Any] | None = {}
    retries: Annotated[int, Meta(ge=0, le=RETRIES_MAX)] | None = 0
    queue: Annotated[str, Meta(pattern=QUEUE_NAME)] | None = None
    timeout: Annotated[float, Meta(gt=0, description="seconds that each run may last")] | None = None
    expires_in: Annotated[float, Meta(gt=0, description="seconds; a job not started by then fails")] | None = None
    missed: Annotated[Missed, Meta(description="times at which no worker was there")] | None = Missed.ONCE
    overlap: Annotated[Overlap, Meta(description="times while the last job goes on")] | None = Overlap.ALLOW
    jitter: (
        Annotated[float, Meta(ge=0, le=JITTER_SECONDS_MAX, description="each job waits for a random part of them")]
        | None
    ) = 0.0


class ScheduleView(Struct, frozen=True, kw_only=True):
    """A schedule. Either `cron` or `every` is there."""

    name: str
    source: Literal["code", "api"]  #: code: `@periodic` of a worker declares it
    cron: str | None
    every: float | None  #: seconds
    tz: str
    type: str
    payload: Annotated[Raw, Meta(extra_json_schema={"type": "object", "additionalProperties": True})]
    retries: int
    queue: str
    timeout: float | None
    expires_in: float | None
    missed: Missed
    overlap: Overlap
    jitter: float
    paused: bool
    paused_why: str | None
    next_at: datetime | None  #: null: it is paused
    next_runs: list[datetime]  #: five of them, but for those that are paused
    last_at: datetime | None  #: the due time of its last job
    last_job_id: UUID | None
    created_at: datetime
    updated_at: datetime


class ScheduleRun(Struct, frozen=True):
    """The job that was made."""

    job_id: UUID


async def list_schedules(backend: Backend) -> Response:
    """GET /api/schedules."""
    wanted = read_schedule_page(request.args)
    store = backend.engine.rows()
    async with backend.reading(store, READ_FAILED):
        rows = await store.schedules.page(backend.settings.queue_name, after=wanted.after, limit=wanted.limit + 1)
    views = []
    for row in rows[: wanted.limit]:
        views.append(_view(row))
        await trio.lowlevel.checkpoint()  # of an expression that rarely fits, five times are some milliseconds
    response = json(views)
    if len(rows) > wanted.limit:
        response.headers["Link"] = wanted.link(views[-1].name)
    return response


async def get_schedule(backend: Backend, schedule_name: str) -> Response:
    """GET /api/schedules/<name>."""
    return json(_view(await _get(backend, schedule_name)))


async def put_schedule(backend: Backend, schedule_name: str) -> Response:
    """PUT /api/schedules/<name>. The answer is that of a GET."""
    store, queue = backend.engine.rows(), backend.settings.queue_name
    members = _members(bytes(await request.data))
    schedule = make_schedule(schedule_name, members)
    async with backend.reading(store, CHANGE_FAILED):
        before = (await store.schedules.get(queue, [schedule_name])).get(schedule_name)
        if before is not None and _is_declared(before):
            raise Refused(409, DECLARED)
        now = await store.schedules.now() if before is None else before.now
        audit = entry("put schedule", schedule_target(schedule_name))
        await store.schedules.put(queue, API, [(schedule, first_time(schedule, now))], audit)
    row = await _get(backend, schedule_name)
    if _is_declared(row):
        raise Refused(409, DECLARED)
    return json(_view(row))


async def delete_schedule(backend: Backend, schedule_name: str) -> Response:
    """DELETE /api/schedules/<name>."""
    store, queue = backend.engine.rows(), backend.settings.queue_name
    async with backend.reading(store, CHANGE_FAILED):
        audit = entry("delete schedule", schedule_target(schedule_name))
        deleted = await store.schedules.delete(queue, schedule_name, audit)
    if not deleted:
        await _get(backend, schedule_name)
        raise Refused(409, DECLARED)
    return empty()


async def pause_schedule(backend: Backend, schedule_name: str) -> Response:
    """POST /api/schedules/<name>/pause."""
    store, queue = backend.engine.rows(), backend.settings.queue_name
    audit = entry("pause schedule", schedule_target(schedule_name))

    async def pause(row: ScheduleRow) -> bool:
        return row.paused_why is not None or await store.schedules.pause(queue, row, BY_A_PERSON, audit)

    await _change(backend, schedule_name, pause)
    return json(_view(await _get(backend, schedule_name)))


async def resume_schedule(backend: Backend, schedule_name: str) -> Response:
    """POST /api/schedules/<name>/resume: what was due meanwhile makes no jobs."""
    store, queue = backend.engine.rows(), backend.settings.queue_name
    audit = entry("resume schedule", schedule_target(schedule_name))

    async def resume(row: ScheduleRow) -> bool:
        if row.is_gone:
            raise Refused(409, NOT_DECLARED)
        if row.paused_why is None:
            return True
        return await store.schedules.resume(queue, row, first_time(row.schedule, row.now), audit)

    await _change(backend, schedule_name, resume)
    return json(_view(await _get(backend, schedule_name)))


async def run_now(backend: Backend, schedule_name: str) -> Response:
    """POST /api/schedules/<name>/run-now: one more job, also while another one goes on."""
    store, queue = backend.engine.rows(), backend.settings.queue_name
    audit = entry("run schedule now", schedule_target(schedule_name))
    made: list[UUID] = []

    async def run(row: ScheduleRow) -> bool:
        run = await run_schedule_now(queue, store.schedules, row, audit)
        if run is not None:
            made.append(run.id)
        return run is not None

    await _change(backend, schedule_name, run)
    return json(ScheduleRun(made[0]))


async def _change(backend: Backend, name: str, change: Callable[[ScheduleRow], Awaitable[bool]]) -> None:
    """Call `change` with the schedule as it is, until it was not changed meanwhile."""
    store = backend.engine.rows()
    for _ in range(TRIES):
        row = await _get(backend, name)
        async with backend.reading(store, CHANGE_FAILED):
            if await change(row):
                return
    raise Refused(409, CHANGED_MEANWHILE)


async def _get(backend: Backend, name: str) -> ScheduleRow:
    store = backend.engine.rows()
    if not is_name(name):
        raise Refused(404, SCHEDULE_NOT_FOUND)
    async with backend.reading(store, READ_FAILED):
        found = (await store.schedules.get(backend.settings.queue_name, [name])).get(name)
    if found is None:
        raise Refused(404, SCHEDULE_NOT_FOUND)
    return found


def _is_declared(row: ScheduleRow) -> bool:
    return row.source == CODE and not row.is_gone


def _members(body: bytes) -> dict[str, object]:
    """The members of a request; of the payload the very text. Raises Refused(400)."""
    try:
        body.decode()
        raw = msgspec.json.decode(body, type=dict[str, Raw])
        members = {name: value if name == "payload" else msgspec.json.decode(value) for name, value in raw.items()}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        raise Refused(400, INVALID_JSON) from None
    if unknown := [name for name in members if name not in MEMBERS]:
        raise Refused(400, f"{unknown[0][:50]}: unknown member; allowed are {', '.join(MEMBERS)}")
    return members


def _view(row: ScheduleRow) -> ScheduleView:
    schedule = row.schedule
    chosen: dict[str, Any] = msgspec.json.decode(schedule.options)
    paused_why = GONE if row.is_gone else row.paused_why
    runs: list[datetime] = []
    if paused_why is None:
        runs = [row.next_at]
        with suppress(InvalidOption):  # of another release, or another machine's time zones
            runs += next_times(schedule, row.next_at, RUNS_SHOWN - 1, anchor=row.next_at)
    return ScheduleView(
        name=schedule.name,
        source="code" if row.source == CODE else "api",
        cron=schedule.cron,
        every=schedule.every,
        tz=schedule.tz,
        type=schedule.type,
        payload=Raw(schedule.payload.encode()),
        retries=chosen.get("retries", 0),
        queue=chosen.get("queue", DEFAULT_QUEUE),
        timeout=chosen.get("timeout"),
        expires_in=chosen.get("expires_in"),
        missed=schedule.missed,
        overlap=schedule.overlap,
        jitter=schedule.jitter,
        paused=paused_why is not None,
        paused_why=paused_why,
        next_at=runs[0] if runs else None,
        next_runs=runs,
        last_at=row.last_at,
        last_job_id=row.last_job_id,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
