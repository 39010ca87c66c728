"""GET /api/stats: what happened lately, by span of time and type, and what fails."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from msgspec import Struct
from quart import Response, request

from workqueue.core.stats import TypeSums, quantile
from workqueue.core.store import FailureGroup, StatsRow
from workqueue.services.http.responses import json
from workqueue.services.producer.backend import Backend
from workqueue.services.producer.parameters import RANGES, read_stats_query

STATS_FAILED = "failed to read statistics"
FAILURE_GROUPS_MAX = 50


class StatsSums(Struct, frozen=True):
    """Sums of a span of time; times in seconds, null where there were none."""

    enqueued: int
    done: int
    failed: int
    retried: int
    cancelled: int
    wait_p50: float | None  #: from the acceptance to the first claim, of a sample of jobs
    wait_p95: float | None
    run_p50: float | None
    run_p95: float | None


class StatsBucket(StatsSums, frozen=True):
    """What happened in one span."""

    at: datetime  #: its beginning


class StatsType(StatsSums, frozen=True):
    """What happened to the jobs of one type."""

    type: str


class FailureView(Struct, frozen=True):
    """Failures that are alike: of one type, with the same error but for numbers, names and addresses."""

    type: str
    error: str
    failed: int  #: ended their jobs
    retried: int
    first_at: datetime  #: the hour of the first one that is remembered
    last_at: datetime
    last_job_id: UUID
    trend: list[int]  #: how many in each span of `buckets`


class StatsView(Struct, frozen=True):
    """What happened in a range of time. The workers and producers write it down every few seconds."""

    range: str
    seconds: int  #: of a bucket
    total: StatsSums
    buckets: list[StatsBucket]  #: the oldest first, all of the range; the last one is not over yet
    types: list[StatsType]  #: those with the most first
    failures: list[FailureView]  #: those with the most first


async def get_stats(backend: Backend) -> Response:
    wanted = read_stats_query(request.args)
    span, count = RANGES[wanted.range]
    store, queue = backend.engine.rows(), backend.settings.queue_name
    since = float(span * count)
    async with backend.reading(store, STATS_FAILED):
        now = await store.stats.now()
        rows = await store.stats.read(queue, span=span, since_seconds=since, job_type=wanted.job_type)
        failures = await store.stats.failures(
            queue, span=span, since_seconds=since, job_type=wanted.job_type, limit=FAILURE_GROUPS_MAX
        )
    last = int(now.timestamp()) // span * span
    return json(_view(wanted.range, span, range(last - (count - 1) * span, last + span, span), rows, failures))


def _view(
    name: str, span: int, beginnings: range, rows: Sequence[StatsRow], failures: Sequence[FailureGroup]
) -> StatsView:
    buckets = {at: TypeSums() for at in beginnings}
    types: dict[str, TypeSums] = {}
    total = TypeSums()
    for row in rows:
        if (bucket := buckets.get(int(row.at.timestamp()))) is not None:
            for sums in (bucket, total, types.setdefault(row.type, TypeSums())):
                sums.add(row.sums)
    most = sorted(types.items(), key=lambda item: (-item[1].done - item[1].failed - item[1].enqueued, item[0]))
    return StatsView(
        range=name,
        seconds=span,
        total=StatsSums(**_sums(total)),
        buckets=[StatsBucket(**_sums(sums), at=datetime.fromtimestamp(at, UTC)) for at, sums in buckets.items()],
        types=[StatsType(**_sums(sums), type=job_type) for job_type, sums in most],
        failures=[_failure(each, beginnings) for each in failures],
    )


def _sums(sums: TypeSums) -> dict[str, Any]:
    return {
        "enqueued": sums.enqueued, "done": sums.done, "failed": sums.failed, "retried": sums.retried,
        "cancelled": sums.cancelled, "wait_p50": quantile(sums.waits, 0.5), "wait_p95": quantile(sums.waits, 0.95),
        "run_p50": quantile(sums.runs, 0.5), "run_p95": quantile(sums.runs, 0.95),
    }  # fmt: skip


def _failure(group: FailureGroup, beginnings: range) -> FailureView:
    counts = dict(group.trend)
    return FailureView(
        type=group.type,
        error=group.error,
        failed=group.failed,
        retried=group.retried,
        first_at=min(group.first_at, group.last_at),
        last_at=group.last_at,
        last_job_id=group.last_job,
        trend=[counts.get(at, 0) for at in beginnings],
    )
