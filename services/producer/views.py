"""The JSON of the API as typed structs: responses are written from them, and the OpenAPI document is made from them."""

import re
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from msgspec import UNSET, Meta, Raw, Struct, UnsetType, structs

from workqueue.core.dead_letter import ID_LENGTH, dead_letter_id, describe_task, read_dead_letter
from workqueue.core.errors import InvalidTask
from workqueue.core.gone import KEEP_SECONDS, Became, Gone
from workqueue.core.ids import made_at
from workqueue.core.job import JobState, RunOutcome
from workqueue.core.options import DELAY_SECONDS_MAX, GROUP_MAX, QUEUE_NAME, RETRIES_MAX, UNIQUE_KEY_MAX
from workqueue.core.queue import Depths
from workqueue.core.store import (
    LISTED_ERROR_MAX,
    LISTED_PAYLOAD_MAX,
    ArtifactHead,
    JobRow,
    LogRow,
    ProgressRow,
    Run,
)
from workqueue.core.wire import TYPE_LENGTH_MAX, decode_task
from workqueue.services.health import DependencyHealth
from workqueue.services.published import Published, RunningJob, WorkerState, read_published

RUNNING_MAX = 100
START_MAX = 500  #: characters of a long payload in a list
TASK_SHOWN_MAX = 500  #: characters of a task in a list of dead letters
DEAD_IDS_MAX = 1000
TYPES_MAX = 1000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class EnqueueAnswer(Struct, frozen=True):
    """A job was accepted: it will run. `job_id` is there only with DATABASE_URL. Or it is a duplicate: `job_id` is that
    of the job that has its unique key."""

    status: Literal["queued", "duplicate"]
    type: str
    retries: int
    queue_name: str
    job_id: UUID | UnsetType = UNSET
    run_at: datetime | UnsetType = UNSET  #: there where it waits for a time
    queue: str | UnsetType = UNSET  #: there where it is not `default`


class BatchAnswer(Struct, frozen=True):
    """The result of one job of a batch: an error, or its id (without DATABASE_URL: its status). Of a duplicate both:
    the id is that of the job that has its unique key."""

    index: int
    job_id: UUID | UnsetType = UNSET
    status: Literal["queued", "duplicate"] | UnsetType = UNSET
    error: str | UnsetType = UNSET


class EnqueueRequest(Struct, frozen=True):
    """What POST /enqueue takes. Unknown fields are ignored, null counts as absent."""

    type: Annotated[str, Meta(min_length=1, max_length=TYPE_LENGTH_MAX)]
    payload: dict[str, Any] | None = {}
    retries: Annotated[int, Meta(ge=0, le=RETRIES_MAX)] | None = 0
    queue: Annotated[str, Meta(pattern=QUEUE_NAME, description="of this installation; default: default")] | None = None
    timeout: (
        Annotated[float, Meta(gt=0, description="seconds that each run may last, instead of what its handler says")]
        | None
    ) = None
    delay: Annotated[float, Meta(ge=0, le=DELAY_SECONDS_MAX, description="seconds; not started before")] | None = None
    run_at: Annotated[datetime, Meta(tz=True, description="not started before; excludes delay")] | None = None
    expires_in: (
        Annotated[float, Meta(gt=0, description="seconds; not started later for the first time: it fails then")] | None
    ) = None
    unique_key: (
        Annotated[str, Meta(min_length=1, max_length=UNIQUE_KEY_MAX, description="one job at a time under it")] | None
    ) = None
    unique_until: Annotated[
        Literal["ended", "started"] | Annotated[float, Meta(gt=0)] | None,
        Meta(description="when the key is free again, or after how many seconds; default: ended"),
    ] = None
    on_duplicate: Annotated[
        Literal["keep", "replace"] | None,
        Meta(description="replace: a job that waits gets the payload and options of the second; default: keep"),
    ] = None
    group: (
        Annotated[str, Meta(min_length=1, max_length=GROUP_MAX, description="for fairness, order and limits")] | None
    ) = None


class JobView(Struct, frozen=True, kw_only=True):
    """A job."""

    id: UUID
    type: str
    status: JobState
    retries: int
    attempts: int
    payload: Annotated[
        Raw, Meta(extra_json_schema={"type": "object", "additionalProperties": True, "description": "as it came in"})
    ]
    error_message: str | None
    created_at: datetime
    updated_at: datetime
    queue: str
    recoveries: int
    interruptions: int
    run_at: datetime | None
    expires_at: datetime | None
    timeout: float | None
    unique_key: str | None
    unique_until: Annotated[str | None, Meta(description="`started`, or a number of seconds; null: ended")]
    on_duplicate: Annotated[str | None, Meta(description="`replace`; null: keep")]
    group: str | None
    worker: str | None
    started_at: datetime | None
    finished_at: datetime | None
    cancelling: bool
    schedule: str | None  #: that made it, for the time `due_at`
    due_at: datetime | None


class ListedJob(JobView, frozen=True, kw_only=True):
    """One row of GET /api/jobs. Of a long error it has the beginning."""

    payload: Annotated[
        Raw,
        Meta(
            extra_json_schema={
                "anyOf": [{"type": "object", "additionalProperties": True}, {"type": "null"}],
                "description": f"as it came in; null: it has more than {LISTED_PAYLOAD_MAX} characters",
            }
        ),
    ]
    payload_start: str | None  #: of a payload that is too long for a list


class JobDetails(JobView, frozen=True, kw_only=True):
    """A job with its result, artifacts and runs."""

    result: Annotated[Raw, Meta(description="any JSON value, or null")]
    progress: ProgressRow | None
    artifacts: list[ArtifactHead]
    runs: list[Run]


class WorkerView(Struct, frozen=True):
    """A worker that is alive, or was within the last hour."""

    id: UUID
    name: str
    host: str
    pid: int
    version: str
    concurrency: int
    types: list[str]
    running: list[RunningJob]
    running_in: dict[str, int]  #: how many run, by queue
    jobs_done: int
    jobs_failed: int
    uptime_seconds: float
    seen_seconds_ago: float  #: its lease was renewed last, or it ended
    #: silent: its lease was not renewed in time, and its jobs were not given to others yet; stopped: by itself; gone:
    #: it died, or was cut off, and its jobs were given to others
    state: Literal["working", "quiet", "stopping", "silent", "stopped", "gone"]
    asked: Literal["quiet", "resume", "stop"] | None = None  #: by a person; null: nothing, or it does so
    ended_at: datetime | None = None
    became: Became | None = None  #: the jobs that it had when it ended


class Metrics(Struct, frozen=True):
    """The worker's five fields, summed over the workers that are alive now."""

    total_jobs_in_queue: int
    jobs_done: int
    jobs_failed: int
    worker_concurrency: int
    queue_name: str


class TypeView(Struct, frozen=True):
    """A type of jobs that is paused, or was."""

    type: str
    paused: bool
    parked: int | None  #: tasks that were set aside and come first when it is resumed; null while Redis is away


class RedisView(Struct, frozen=True, kw_only=True):
    """The numbers that come from Redis; null while it is away."""

    waiting: int | None = None
    oldest_seconds: float | None = None  #: since the job that is next was accepted; null: none waits, or it has no id
    scheduled: int | None = None
    dead: int | None = None
    paused: list[TypeView] | None = None
    workers: int | None = None
    concurrency: int | None = None
    running: int | None = None
    jobs_done: int | None = None
    jobs_failed: int | None = None


class Kept(Struct, frozen=True):
    """How long the rows of jobs are kept after their end: `12h`, `7d`, `forever`."""

    completed: str
    failed: str


class Overview(Struct, frozen=True, kw_only=True):
    """The system at a glance. While Redis is away, the numbers that come from it are null."""

    queue_name: str
    version: str
    kept: Kept | None
    waiting: int | None
    oldest_seconds: float | None
    scheduled: int | None
    dead: int | None
    paused: list[TypeView] | None  #: by type
    redis: DependencyHealth
    postgres: DependencyHealth | None
    workers: int | None
    concurrency: int | None
    running: int | None
    jobs_done: int | None
    jobs_failed: int | None


class DeadLetterView(Struct, frozen=True, kw_only=True):
    """A task that cannot run, or without DATABASE_URL a failed job. The list shows the beginning of the task alone."""

    id: str  #: made of its bytes: those that are the same have one, and are retried and deleted together
    at: datetime | None  #: null, as `reason`: another program has put it there
    reason: str | None
    type: str | None
    job_id: UUID | None
    is_task: bool  #: false: it is no task that could run, so it cannot be retried
    task: str
    task_bytes: int
    encoding: Literal["text", "base64"]  #: of `task`; base64 where its bytes are no text


class DeadLetterChoice(Struct, frozen=True, forbid_unknown_fields=True):
    """Which dead letters: these, or with `all` every one."""

    ids: (
        Annotated[
            list[Annotated[str, Meta(pattern=f"^[0-9a-f]{{{ID_LENGTH}}}$")]],
            Meta(min_length=1, max_length=DEAD_IDS_MAX),
        ]
        | UnsetType
    ) = UNSET
    all: Annotated[bool, Meta(extra_json_schema={"const": True})] | UnsetType = UNSET


class StaysView(Struct, frozen=True):
    """A dead letter that could not be retried, and why."""

    id: str
    why: str


class RetriedView(Struct, frozen=True):
    """What became of the dead letters that were to be retried."""

    retried: int
    kept: int  #: cannot be retried as they are, and stay
    reasons: list[StaysView]  #: of the first 100 of them
    missing: list[str]  #: ids of no entry
    left: int  #: were not come to in time: repeat the request


class DeletedView(Struct, frozen=True):
    """What became of the dead letters that were to be deleted."""

    deleted: int
    missing: list[str]  #: ids of no entry
    left: int  #: were not come to in time: repeat the request


def job_view(row: JobRow) -> JobView:
    return JobView(**_row(row))


def listed_job(row: JobRow) -> ListedJob:
    """`row` as JobLists.page returns it."""
    values, start = _row(row), None
    if len(row.payload) > LISTED_PAYLOAD_MAX:
        values["payload"], start = Raw(b"null"), row.payload[:START_MAX]
    error = row.error_message
    if error is not None and len(error) > LISTED_ERROR_MAX:
        values["error_message"] = error[: LISTED_ERROR_MAX - 1] + "…"
    return ListedJob(**values, payload_start=start)


def job_details(row: JobRow, artifacts: list[ArtifactHead], runs: list[Run]) -> JobDetails:
    result = Raw(b"null" if row.result is None else row.result.encode())
    return JobDetails(
        **_row(row), result=result, progress=row.progress, artifacts=artifacts, runs=[*runs, *_own_run(row, runs)]
    )


class LogView(Struct, frozen=True):
    """A line that a handler has logged."""

    number: int  #: microseconds since 1970; the next lines have higher ones
    at: datetime
    run: int
    text: str


def log_view(row: LogRow) -> LogView:
    return LogView(row.number, _EPOCH + timedelta(microseconds=row.number), row.run, row.text)


def _row(row: JobRow) -> dict[str, Any]:
    values: dict[str, Any] = {
        name: getattr(row, name)
        for name in JobRow.__struct_fields__
        if name not in {"state", "result", "options", "earlier_runs", "progress"}
    }
    values |= structs.asdict(row.options)
    return values | {"status": row.state, "payload": Raw(row.payload.encode())}


def _own_run(row: JobRow, runs: Sequence[Run]) -> list[Run]:
    """The run that is in the job's own row: the table `runs` has only those that did not complete the job."""
    outcomes = {
        JobState.COMPLETED: RunOutcome.COMPLETED,
        JobState.PROCESSING: RunOutcome.RUNNING,
        JobState.CANCELLED: RunOutcome.CANCELLED,
    }
    outcome = outcomes.get(JobState(row.state))
    number = row.earlier_runs + row.attempts + row.recoveries + row.interruptions + 1
    if outcome is None or row.started_at is None or any(run.number >= number for run in runs):
        return []
    if outcome is RunOutcome.CANCELLED and runs and (runs[-1].ended_at or _EPOCH) >= row.started_at:
        return []  # cancelled while it waited: the row still has the start of the run before
    error = row.error_message if outcome is RunOutcome.CANCELLED else None
    return [Run(number, row.worker, row.started_at, row.finished_at, outcome, error)]


def worker_view(lease: UUID, published: bytes, seen_seconds_ago: float, *, lease_seconds: float) -> WorkerView:
    """A worker as it has published itself; members that cannot be read have their defaults.

    `lease_seconds`: of a worker that does not say how long its lease lasts.
    """
    worker = read_published(published) or Published()
    state = worker.state if worker.state in set(WorkerState) else "working"
    if seen_seconds_ago > (worker.lease_seconds or lease_seconds):
        state = "silent"
    return _worker(lease, worker, seen_seconds_ago, state=state, running=worker.running[:RUNNING_MAX])


def gone_view(ended_at: datetime, gone: Gone, now: float) -> WorkerView | None:
    """A worker that has ended, seen at `now` (since 1970); None: that was too long ago to be shown."""
    seconds_ago = max(0.0, now - ended_at.timestamp())
    if seconds_ago > KEEP_SECONDS:
        return None
    worker = read_published(gone.published.encode()) or Published()
    state = "stopped" if gone.is_clean else "gone"
    return _worker(
        gone.lease, worker, seconds_ago, state=state, running=[], running_in={}, ended_at=ended_at, became=gone.became
    )


def with_asked(worker: WorkerView, wish: str | None) -> WorkerView:
    """With what a person has asked of it last, unless it says that it does so."""
    is_done = {
        "quiet": worker.state in {"quiet", "stopping"},
        "resume": worker.state != "quiet",
        "stop": worker.state == "stopping",
    }
    return worker if is_done.get(wish or "", True) else structs.replace(worker, asked=wish)


def _worker(lease: UUID, worker: Published, seen_seconds_ago: float, **more: Any) -> WorkerView:
    values = {name: getattr(worker, name) for name in WorkerView.__struct_fields__ if hasattr(worker, name)}
    values |= {"id": lease, "types": worker.types[:TYPES_MAX], "seen_seconds_ago": round(seen_seconds_ago, 3)}
    return WorkerView(**values | more)


def redis_view(depths: Depths, oldest_seconds: float | None, workers: Sequence[WorkerView]) -> RedisView:
    return RedisView(
        waiting=depths.ready,
        oldest_seconds=oldest_seconds,
        scheduled=depths.scheduled,
        dead=depths.dead,
        paused=[TypeView(each, True, depths.parked.get(each, 0)) for each in sorted(depths.paused.types)],
        workers=len(workers),
        concurrency=sum(worker.concurrency for worker in workers),
        running=sum(len(worker.running) for worker in workers),
        jobs_done=sum(worker.jobs_done for worker in workers),
        jobs_failed=sum(worker.jobs_failed for worker in workers),
    )


def age_of(task: bytes, now: float) -> float | None:
    """Seconds since a job was accepted, at `now` (since 1970): its id says when. Earlier runs are no other beginning.

    None: it has no id of ours (another program pushed it), or is no task.
    """
    try:
        job_id = decode_task(task).job_id
    except InvalidTask:
        return None
    at = None if job_id is None else made_at(job_id)
    return None if at is None else round(max(0.0, now - at), 3)


def dead_letter_view(entry: bytes, *, whole: bool = False) -> DeadLetterView:
    """`whole`: with all of its task."""
    letter = read_dead_letter(entry)
    job_type, job_id, is_task = describe_task(letter)
    encoding: Literal["text", "base64"] = "text"
    try:
        shown = letter.task.decode()
    except UnicodeDecodeError:
        encoding, shown = "base64", b64encode(letter.task).decode()
    return DeadLetterView(
        id=letter.id,
        at=letter.at,
        reason=letter.reason,
        type=job_type,
        job_id=job_id,
        is_task=is_task,
        task=shown if whole else shown[:TASK_SHOWN_MAX],
        task_bytes=len(letter.task),
        encoding=encoding,
    )


def write_dead_cursor(place: int, last: bytes) -> str:
    """Where the next page of dead letters begins: at a place, behind this entry. Opaque to clients."""
    return urlsafe_b64encode(place.to_bytes(4, "big") + bytes.fromhex(dead_letter_id(last))).decode()


def read_dead_cursor(text: str) -> tuple[int, str] | None:
    """The place and the id of the entry before it; None: `text` is not one of our cursors."""
    try:
        content = urlsafe_b64decode(text.encode("ascii"))
    except ValueError:
        return None
    if len(content) != 4 + ID_LENGTH // 2:
        return None
    return int.from_bytes(content[:4], "big"), content[4:].hex()


def read_job_id(text: str) -> UUID | None:
    """A UUID as we write it, in upper or lower case; None: `text` is not one."""
    return UUID(text) if _ID.fullmatch(text) else None


def write_cursor(place: tuple[datetime, UUID]) -> str:
    """Where the next page begins. Opaque to clients."""
    created_at, job_id = place
    microseconds = (created_at - _EPOCH) // timedelta(microseconds=1)
    return urlsafe_b64encode(microseconds.to_bytes(8, "big", signed=True) + job_id.bytes).decode()


def read_cursor(text: str) -> tuple[datetime, UUID] | None:
    """The inverse of `write_cursor`; None: `text` is not one of our cursors."""
    try:
        content = urlsafe_b64decode(text.encode("ascii"))
        created_at = _EPOCH + timedelta(microseconds=int.from_bytes(content[:8], "big", signed=True))
        return (created_at, UUID(bytes=content[8:])) if len(content) == 24 else None
    except (ValueError, OverflowError):
        return None
