"""Rows of what jobs tell of themselves: progress and logs."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from msgspec import Struct

from workqueue.core.report import LINES_MAX, TEXT_LENGTH_MAX, JobReport
from workqueue.core.store import sql
from workqueue.core.store.clean import clean
from workqueue.core.store.pool import Pool


class ProgressRow(Struct, frozen=True):
    """How far a run is, or was at its end."""

    fraction: float  #: 0 to 1
    text: str
    at: datetime


class LogRow(Struct, frozen=True):
    """A line that a handler has logged."""

    number: int  #: when, in microseconds since 1970 by the clock of its worker
    run: int
    text: str


class ReportStore:
    """The statements of reports. What each raises and what cancelling means: Pool.fetch."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def write(self, reports: Sequence[JobReport]) -> None:
        """Store what runs have told. May be repeated."""
        told = [(report, report.progress) for report in reports if report.progress is not None]
        logged = [(report, line) for report in reports for line in report.lines]
        statement = sql.REPORT_JOBS.bind(
            progress_jobs=[report.job_id for report, _ in told],
            tokens=[report.token for report, _ in told],
            fractions=[progress.fraction for _, progress in told],
            progress_texts=[clean(progress.text, TEXT_LENGTH_MAX) for _, progress in told],
            log_jobs=[report.job_id for report, _ in logged],
            numbers=[line.number for _, line in logged],
            runs=[report.run for report, _ in logged],
            texts=[clean(line.text, TEXT_LENGTH_MAX) for _, line in logged],
            trimmed=[report.job_id for report in reports if report.trims],
            keep=LINES_MAX,
        )
        await self._pool.fetch(*statement)

    async def logs(self, job_id: UUID, *, after: int, limit: int) -> list[LogRow]:
        """The lines of a job behind the one with the number `after`, in order; of its newest LINES_MAX."""
        statement = sql.GET_LOGS.bind(id=job_id, after=after, limit=limit, keep=LINES_MAX)
        return [LogRow(*row) for row in await self._pool.fetch(*statement)]
