"""Reports: what running jobs tell of themselves, stored four times a second in one statement for all of them."""

from collections.abc import Awaitable, Callable, Sequence

from msgspec import Struct

from workqueue.core.job import Job
from workqueue.core.report import LINES_MAX, JobReport, Report
from workqueue.core.steps.lease import ClaimedTask
from workqueue.services.worker.running.attempt import Attempt

EVERY_SECONDS = 0.25
LINES_A_TICK_MAX = 2000  #: of all jobs together; what is more waits for the next tick
TRIM_EVERY = LINES_MAX // 2  #: after so many lines of a run the oldest of its job are removed


class _Open(Struct, eq=False):
    """A report of a run that goes on, or has something left to store. Mutable: how much was stored since a trim."""

    job: Job
    claimed: ClaimedTask
    report: Report
    untrimmed: int = TRIM_EVERY  # the first lines of a run are trimmed: there may be those of earlier runs


class Reports:
    """One for each worker. Mutable state: the reports of the runs that have told something."""

    def __init__(
        self, attempt_of: Callable[[Job], Attempt | None], store: Callable[[Sequence[JobReport]], Awaitable[None]]
    ) -> None:
        """`attempt_of`: the attempt that runs a job now. `store`: stores reports; raises StoreUnavailable."""
        self._attempt_of = attempt_of
        self._store = store
        self._open: list[_Open] = []

    def of(self, job: Job) -> Report:
        """The report of a run that begins to tell. May be called from any thread.

        What a run tells after its end, or without a row, is stored nowhere.
        """
        report = Report()
        attempt = self._attempt_of(job)
        if attempt is not None and attempt.claimed.token is not None:
            self._open.append(_Open(job, attempt.claimed, report))
        return report

    async def run_once(self) -> bool:
        """Store what was told since the last time; True: there was more than fits.

        Raises StoreUnavailable. Cancelled or without an answer: it is stored again, which changes nothing.
        """
        taken: list[tuple[_Open, JobReport]] = []
        room = LINES_A_TICK_MAX
        for each in self._open.copy():  # threads add to it
            progress, lines = each.report.pending(room)
            if progress is None and not lines:
                if each.report.is_stored and self._attempt_of(each.job) is None:
                    self._open.remove(each)
                continue
            room -= len(lines)
            claimed = each.claimed
            assert claimed.token is not None  # noqa: S101 - `of` has seen to it
            trims = bool(lines) and each.untrimmed + len(lines) > TRIM_EVERY
            report = JobReport(claimed.job_id, claimed.token, claimed.counters.run, progress, lines, trims)
            taken.append((each, report))
        if not taken:
            return False
        await self._store([report for _, report in taken])
        for each, report in taken:
            each.report.stored(report.progress, report.lines)
            each.untrimmed = 0 if report.trims else each.untrimmed + len(report.lines)
        return room <= 0
