"""What the stored statistics get from a worker: how its counts have grown, waits of a sample of jobs, and failures."""

from collections import Counter
from collections.abc import Sequence

from workqueue.core.ids import clock, made_at
from workqueue.core.outcome import Complete, Fail, Retry, Verdict
from workqueue.core.stats import (
    GROUPS_MAX,
    OTHER_ERRORS,
    FailureKey,
    FailureSums,
    Sums,
    TypeSums,
    bucket_of,
    group_of,
)
from workqueue.core.steps.lease import ClaimedTask
from workqueue.services.worker.metrics import Counts, TypeCounts

SEEN_MAX = 1000
SAMPLE_MAX = 8  #: jobs of one claim whose wait is looked at: more would cost each job


class Statistics:
    """One for each worker. Mutable state: what has happened since it was taken, and the counts as they were then."""

    def __init__(self, counts: Counts, adopted: Counter[str]) -> None:
        """`adopted`: by type, tasks that other programs pushed and that became jobs; they are taken out of it."""
        self._counts = counts
        self._adopted = adopted
        self._before: dict[str, TypeCounts] = {}
        self._types: dict[str, TypeSums] = {}
        self._failures: dict[FailureKey, FailureSums] = {}
        self._queues: dict[str, list[int]] = {}
        self._seen: dict[tuple[str, str], FailureSums] = {}  #: by type and error, without the work to group them

    def claimed(self, items: Sequence[ClaimedTask]) -> None:
        """These were claimed just now."""
        now = clock()
        for claimed in items[:: max(1, len(items) // SAMPLE_MAX)]:
            if claimed.counters.run > 1 or (at := made_at(claimed.job_id)) is None:
                continue  # it waited for something else, or another program made its id
            self._of(claimed.task.type).waits[bucket_of(now - at)] += 1

    def failed(self, claimed: ClaimedTask, verdict: Fail | Retry) -> None:
        """A run has failed."""
        error = claimed.task.type, verdict.error
        if (sums := self._seen.get(error)) is None:
            sums = self._sums_of(claimed, verdict)
            if len(self._seen) < SEEN_MAX:
                self._seen[error] = sums
        sums.last_job = claimed.job_id
        if isinstance(verdict, Retry):
            sums.retried += 1
        else:
            sums.failed += 1

    def _sums_of(self, claimed: ClaimedTask, verdict: Fail | Retry) -> FailureSums:
        """Those of the group that the failure belongs to."""
        key = self._counts.name_of(claimed.task.type), group_of(verdict.error)
        if len(self._failures) >= GROUPS_MAX and key not in self._failures:
            key = key[0], OTHER_ERRORS
        if (sums := self._failures.get(key)) is None:
            sums = self._failures[key] = FailureSums()
        return sums

    def ended(self, queue: str, verdict: Verdict) -> None:
        """A job of another queue than the default one is done, or has failed; other verdicts are passed over."""
        if isinstance(verdict, Complete | Fail):
            self._queues.setdefault(queue, [0, 0])[isinstance(verdict, Fail)] += 1

    def take(self) -> Sums:
        """What has happened since the last time."""
        for name, counts in self._counts.types.items():
            before = self._before.get(name) or TypeCounts()
            grown = TypeSums(
                done=counts.done - before.done,
                failed=counts.failed - before.failed,
                retried=counts.retried - before.retried,
                cancelled=counts.cancelled - before.cancelled,
                runs=[now - then for now, then in zip(counts.buckets, before.buckets, strict=True)],
            )
            if grown != TypeSums():
                self._of(name).add(grown)
                self._before[name] = TypeCounts(
                    counts.done, counts.failed, counts.retried, 0.0, counts.buckets.copy(), cancelled=counts.cancelled
                )
        for job_type, count in self._adopted.items():
            self._of(job_type).enqueued += count
        self._adopted.clear()
        taken = Sums(self._types, self._failures, self._queues)
        self._types, self._failures, self._queues = {}, {}, {}
        self._seen.clear()
        return taken

    def _of(self, job_type: str) -> TypeSums:
        return self._types.setdefault(self._counts.name_of(job_type), TypeSums())
