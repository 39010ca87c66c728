"""The way from a running job back to its worker (core.job.RunContext)."""

from collections.abc import Callable

from msgspec import Struct

from workqueue.core.job import Job
from workqueue.core.report import Report
from workqueue.services.worker.running.attempt import Attempt
from workqueue.services.worker.running.reports import Reports


class WorkerContext(Struct, frozen=True):
    """One for all jobs of a worker. Every method may be called from any thread."""

    keeps_artifacts: bool
    attempt_of: Callable[[Job], Attempt | None]  #: the attempt that runs the job; None: its outcome is known already
    reports: Reports

    def is_cancelled(self, job: Job) -> bool:
        """RunContext.is_cancelled."""
        attempt = self.attempt_of(job)
        return attempt is None or attempt.give_up_at is not None

    def deadline(self, job: Job) -> float | None:
        """RunContext.deadline."""
        attempt = self.attempt_of(job)
        return None if attempt is None else attempt.deadline

    def extend(self, job: Job, seconds: float) -> None:
        """RunContext.extend."""
        if (attempt := self.attempt_of(job)) is not None:
            attempt.extended_seconds += seconds

    def report(self, job: Job) -> Report:
        """RunContext.report."""
        return self.reports.of(job)
