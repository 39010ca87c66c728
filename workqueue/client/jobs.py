"""What goes in and out of a client: tasks, answers, jobs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypedDict
from uuid import UUID

import msgspec
from msgspec import Struct, field

Status = Literal["pending", "processing", "completed", "failed", "cancelled"]
Seconds = float | timedelta
ENDED = frozenset({"completed", "failed", "cancelled"})


class Options(TypedDict, total=False):
    """What a job may choose (docs/jobs.md says more of each)."""

    retries: int  #: at most one failure more
    queue: str
    delay: Seconds  #: not before so long from now
    run_at: datetime  #: not before then; with a time zone
    expires_in: Seconds  #: fails if it was not started by then
    timeout: Seconds  #: of each run
    unique_key: str  #: one job at a time under it
    unique_until: str | float  #: "ended" (as without), "started", or seconds
    on_duplicate: Literal["keep", "replace"]
    group: str  #: a tenant, a customer: fairness, order and limits


class Task(Struct, frozen=True):
    """A job that is to be enqueued, as a value: for `enqueue` and `enqueue_many`."""

    type: str
    payload: Any = None  #: anything that msgspec writes as a JSON object; None: an empty one
    options: Options = field(default_factory=lambda: Options())


class Queued(Struct, frozen=True):
    """The answer to a task."""

    id: UUID | None  #: None: jobs have no rows without Postgres, and so no ids to ask for
    duplicate: bool = False  #: the job existed: under its unique key, or by an earlier send
    queue: str = "default"
    run_at: datetime | None = None  #: it waits for that time


class JobInfo(Struct, frozen=True, kw_only=True):
    """A job as the producer shows it."""

    id: UUID
    type: str
    status: Status
    payload: dict[str, Any]
    attempts: int
    retries: int
    created_at: datetime
    updated_at: datetime
    result: Any = None
    error_message: str | None = None
    queue: str = "default"
    group: str | None = None
    run_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    cancelling: bool = False

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED


JobLike = UUID | str | Queued | JobInfo  #: what names a job

_SECONDS = ("delay", "expires_in", "timeout")


def body_of(task: Task) -> bytes:
    """The task as POST /enqueue takes it. Raises TypeError for what JSON cannot say, ValueError for a naive time."""
    options: Mapping[str, Any] = task.options
    if unknown := sorted(options.keys() - Options.__annotations__.keys()):
        raise TypeError(f"no option of a job: {', '.join(unknown)}; there are {', '.join(Options.__annotations__)}")
    written = {name: _written(name, value) for name, value in options.items() if value is not None}
    payload = {} if task.payload is None else task.payload
    return msgspec.json.encode({"type": task.type, **written, "payload": payload})


def _written(name: str, value: Any) -> Any:
    if name in _SECONDS and isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"{name} has no time zone: {value.isoformat()} is no moment; datetime.now(UTC) has one")
        return value.astimezone(UTC)
    return value
