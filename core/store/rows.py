"""Rows of jobs as the API shows them."""

from datetime import datetime
from uuid import UUID

import asyncpg
from msgspec import Struct

from workqueue.core.options import COLUMNS, NAMES, JobOptions
from workqueue.core.store.reports import ProgressRow


class JobRow(Struct, frozen=True):
    """A job as the API shows it."""

    id: UUID
    type: str
    state: str
    queue: str
    options: JobOptions
    attempts: int
    recoveries: int
    interruptions: int
    payload: str
    error_message: str | None
    run_at: datetime | None
    worker: str | None
    started_at: datetime | None
    finished_at: datetime | None
    created_at: datetime
    updated_at: datetime
    cancelling: bool = False  #: it runs, and a person has cancelled it
    progress: ProgressRow | None = None  #: of the last run; not in pages
    earlier_runs: int = 0  #: before the last retry by hand, and cancelled ones
    schedule: str | None = None  #: the one that made it
    due_at: datetime | None = None  #: for this due time of it
    result: str | None = None


def job_row(row: asyncpg.Record) -> JobRow:
    named = {name: row[name] for name in JobRow.__struct_fields__ if name in row}
    return JobRow(options=job_options(row), **named)


def job_options(row: asyncpg.Record) -> JobOptions:
    return JobOptions(**{name: row[COLUMNS.get(name, name)] for name in NAMES})
