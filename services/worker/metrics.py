"""The counts of a worker, as JSON for people and pages and as Prometheus text or OpenMetrics for scrapers."""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence

import trio
from msgspec import Struct, field
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from workqueue.core.stats import BUCKETS_SECONDS, OTHER_TYPES, no_times

STRANGE_TYPES_MAX = 20  #: types without a handler that are counted by name; all others are counted together


class TypeCounts(Struct):
    """The sums of one type of job."""

    done: int = 0
    failed: int = 0
    retried: int = 0
    seconds: float = 0.0
    buckets: list[int] = field(default_factory=no_times)
    strange: bool = False  #: this worker has no handler for it
    cancelled: int = 0

    def ran(self, seconds: float) -> None:
        """A run has ended, in whatever way."""
        self.seconds += seconds
        self.buckets[bisect_left(BUCKETS_SECONDS, seconds) if seconds > BUCKETS_SECONDS[0] else 0] += 1


class Counts:
    """Sums of our own, because a call into prometheus-client for each job costs more than the job.

    A type with a handler is always counted by its name; the others, which any client can make up, share bounded room.
    Mutable state: everything, changed on the Trio thread by the consumers and the outcomes.
    """

    def __init__(self, is_known: Callable[[str], bool] = lambda job_type: True) -> None:
        self._is_known = is_known
        self._strange = 0
        self.started_at = trio.current_time()
        self.done = 0
        self.failed = 0
        self.retried = 0
        self.cancelled = 0
        self.given_back = 0  #: before they had started
        self.interrupted = 0  #: runs that went back
        self.finished = 0  #: runs that ended in any way, and failures without a run
        self.types: dict[str, TypeCounts] = {}

    def of(self, job_type: str) -> TypeCounts:
        counts = self.types.get(job_type)
        if counts is None:
            if self._is_known(job_type):
                counts = self.types[job_type] = TypeCounts()
            elif self._strange < STRANGE_TYPES_MAX:
                self._strange += 1
                counts = self.types[job_type] = TypeCounts(strange=True)
            else:
                counts = self.types.setdefault(OTHER_TYPES, TypeCounts(strange=True))
        return counts

    def name_of(self, job_type: str) -> str:
        """The name under which it is counted."""
        self.of(job_type)
        return job_type if job_type in self.types else OTHER_TYPES

    @property
    def uptime_seconds(self) -> float:
        return trio.current_time() - self.started_at


class Gauges(Struct, frozen=True):
    """The values that are read at the moment of a scrape."""

    ready: int
    scheduled: int
    dead: int
    running: int
    buffered: int
    unsettled: int
    threads_left: int
    copies: int
    invalid: int
    concurrency: int
    recovered_leases: int = 0
    recovered_jobs: int = 0
    poisoned_jobs: int = 0
    reconciled_jobs: int = 0
    dropped_letters: int = 0
    blocked: int = 0
    blocked_seconds: float = 0.0
    parked: int = 0


class Snapshot(Struct, frozen=True):
    """All numbers of a worker at one moment."""

    done: int
    failed: int
    given_back: int
    types: dict[str, TypeCounts]
    gauges: Gauges


#: Of the queue, not of one worker: not to be summed.
SHARED_GAUGES = frozenset({"ready", "scheduled", "dead", "parked"})


def total(snapshots: Sequence[Snapshot]) -> Snapshot:
    """The sum over the processes of one worker; at least one."""
    types: dict[str, TypeCounts] = {}
    known = {name for snapshot in snapshots for name, counts in snapshot.types.items() if not counts.strange}
    strange: set[str] = set()
    for snapshot in snapshots:
        for name, counts in snapshot.types.items():
            if name not in known and name not in strange:
                if len(strange) < STRANGE_TYPES_MAX:
                    strange.add(name)
                else:
                    name = OTHER_TYPES
            sums = types.setdefault(name, TypeCounts(strange=name not in known))
            sums.done += counts.done
            sums.failed += counts.failed
            sums.retried += counts.retried
            sums.cancelled += counts.cancelled
            sums.seconds += counts.seconds
            sums.buckets = [a + b for a, b in zip(sums.buckets, counts.buckets, strict=True)]
    gauges = {
        name: (max if name in SHARED_GAUGES else sum)(getattr(snapshot.gauges, name) for snapshot in snapshots)
        for name in Gauges.__struct_fields__
    }
    return Snapshot(
        sum(snapshot.done for snapshot in snapshots),
        sum(snapshot.failed for snapshot in snapshots),
        sum(snapshot.given_back for snapshot in snapshots),
        types,
        Gauges(**gauges),
    )


class WorkerCollector(Collector):
    """Turns a snapshot into metric families."""

    def __init__(self, snapshot: Snapshot, queue: str) -> None:
        self._snapshot = snapshot
        self._queue = queue

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]:
        yield from self._gauge_families()
        labels = ["queue", "type"]
        jobs = CounterMetricFamily(
            "workqueue_jobs", "Attempts that ended, by what followed", labels=[*labels, "outcome"]
        )
        seconds = HistogramMetricFamily("workqueue_job_seconds", "How long runs took", labels=labels)
        for job_type, counts in self._snapshot.types.items():
            for outcome in ("done", "failed", "retried", "cancelled"):
                jobs.add_metric([self._queue, job_type, outcome], getattr(counts, outcome))
            if not any(counts.buckets):  # none has run: types without a handler never do
                continue
            total, buckets = 0, []
            for bound, count in zip([*map(str, BUCKETS_SECONDS), "+Inf"], counts.buckets, strict=True):
                total += count
                buckets.append((bound, float(total)))
            seconds.add_metric([self._queue, job_type], buckets, counts.seconds)
        yield jobs
        yield seconds

    def _gauge_families(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        now = self._snapshot.gauges
        for name, text, value in (
            ("workqueue_ready_tasks", "Tasks ready to be taken", now.ready),
            ("workqueue_scheduled_tasks", "Tasks that wait for their time", now.scheduled),
            (
                "workqueue_dead_letters",
                "Tasks that cannot run, and without Postgres failed jobs",
                now.dead,
            ),
            ("workqueue_parked_tasks", "Tasks of paused types", now.parked),
            ("workqueue_running_jobs", "Jobs that run here now", now.running),
            ("workqueue_buffered_jobs", "Jobs claimed here and not started", now.buffered),
            ("workqueue_unsettled_outcomes", "Outcomes that are not stored yet", now.unsettled),
            ("workqueue_abandoned_threads", "Threads that outlived their job", now.threads_left),
            ("workqueue_concurrency", "Jobs that may run here at once", now.concurrency),
        ):
            family = GaugeMetricFamily(name, text, labels=["queue"])
            family.add_metric([self._queue], value)
            yield family
        counters: tuple[tuple[str, str, float], ...] = (
            ("workqueue_duplicate_tasks", "Copies of tasks that were dropped at the claim", now.copies),
            ("workqueue_invalid_tasks", "Invalid tasks that were moved to the dead letters", now.invalid),
            ("workqueue_given_back", "Jobs given back without a verdict", self._snapshot.given_back),
            ("workqueue_recovered_leases", "Leases of dead workers that were recovered here", now.recovered_leases),
            ("workqueue_recovered_jobs", "Jobs of dead workers that were given back here", now.recovered_jobs),
            ("workqueue_poisoned_jobs", "Jobs that failed because their workers died", now.poisoned_jobs),
            ("workqueue_reconciled_jobs", "Jobs pushed again after a loss of Redis", now.reconciled_jobs),
            ("workqueue_dropped_dead_letters", "Dead letters that had to make room here", now.dropped_letters),
            ("workqueue_loop_blocked", "How often a handler blocked the event loop", now.blocked),
            ("workqueue_loop_blocked_seconds", "For how long handlers blocked the event loop", now.blocked_seconds),
        )
        for name, text, count in counters:
            family_ = CounterMetricFamily(name, text, labels=["queue"])
            family_.add_metric([self._queue], count)
            yield family_


def wants_prometheus(accept: str) -> bool:
    """Does an Accept header ask for Prometheus text or OpenMetrics? `application/json, text/plain` does not."""
    kinds = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    if "application/openmetrics-text" in kinds:
        return True
    return "text/plain" in kinds and "application/json" not in kinds and "text/html" not in kinds


def collector_registry(collector: WorkerCollector) -> CollectorRegistry:
    """A registry of our own: the global one of prometheus-client would outlive us."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    return registry
