"""Which jobs, and what a person does to them: the filter of the list of jobs and of actions on many jobs."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from msgspec import Struct


class StatusFilter(StrEnum):
    """A state of jobs, or a part of one."""

    PENDING = "pending"
    SCHEDULED = "scheduled"  #: pending, and waits for its first time
    RETRYING = "retrying"  #: pending, after a failure
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ActName(StrEnum):
    """What a person can do to jobs."""

    CANCEL = "cancel"
    RETRY = "retry"
    RUN_NOW = "run-now"
    DELETE = "delete"


class JobFilter(Struct, frozen=True):
    """All of what is given must hold."""

    status: StatusFilter | None = None
    type: str | None = None
    created_after: datetime | None = None  #: that moment included; aware
    created_before: datetime | None = None  #: that moment excluded; aware
    error: str | None = None  #: a part of the error, in capitals or not
    ids: tuple[UUID, ...] | None = None
