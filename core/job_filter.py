"""Which jobs, and what a person does to them: the filter of the list of jobs and of actions on many jobs."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct

from workqueue.core.options import GROUP_MAX, QUEUE_NAME
from workqueue.core.wire import TYPE_LENGTH_MAX

IDS_MAX = 1000
ERROR_LENGTH_MAX = 1000
NO_NUL = r"^[^\u0000]*$"


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


class PayloadMatch(Struct, frozen=True):
    """A value that a payload must have, compared as text."""

    path: tuple[str, ...]  #: names of members, or numbers in arrays, from the outside in
    value: str


class JobFilter(Struct, frozen=True, forbid_unknown_fields=True):
    """All of what is given must hold; {} matches every job."""

    status: StatusFilter | None = None
    type: Annotated[str, Meta(min_length=1, max_length=TYPE_LENGTH_MAX, pattern=NO_NUL)] | None = None
    queue: Annotated[str, Meta(pattern=QUEUE_NAME)] | None = None
    group: Annotated[str, Meta(min_length=1, max_length=GROUP_MAX, pattern=NO_NUL)] | None = None
    created_after: Annotated[datetime, Meta(tz=True)] | None = None  #: that moment included
    created_before: Annotated[datetime, Meta(tz=True)] | None = None  #: that moment excluded
    #: a part of the error, in capitals or not
    error: Annotated[str, Meta(min_length=1, max_length=ERROR_LENGTH_MAX, pattern=NO_NUL)] | None = None
    ids: Annotated[tuple[UUID, ...], Meta(max_length=IDS_MAX)] | None = None
