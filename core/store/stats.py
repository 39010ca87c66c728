"""Rows of statistics."""

from datetime import datetime
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Struct

from workqueue.core.stats import ERROR_LENGTH_MAX, Sums, TypeSums
from workqueue.core.store import sql
from workqueue.core.store.clean import clean
from workqueue.core.store.pool import Pool
from workqueue.core.store.sql import array_text
from workqueue.core.wire import TYPE_LENGTH_MAX

ROWS_MAX = 50_000  #: that are read for one answer, the newest first

_trend = msgspec.json.Decoder(list[tuple[int, int]])
_numbers = msgspec.json.Decoder(list[int])


class StatsRow(Struct, frozen=True):
    """What happened to the jobs of one type in one span."""

    at: datetime
    type: str
    sums: TypeSums


class FailureGroup(Struct, frozen=True):
    """Failures that are alike, in a range of time."""

    type: str
    error: str  #: without what differs between them
    failed: int  #: ended their jobs
    retried: int
    first_at: datetime  #: the hour of the first one that is remembered
    last_at: datetime
    last_job: UUID
    trend: list[tuple[int, int]]  #: (beginning of a span in seconds since 1970, how many), of the spans that had some


class StatsStore:
    """The statements of statistics. What each raises and what cancelling means: Pool.fetch."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(self, queue: str, writer: UUID, number: int, sums: Sums, *, age_seconds: float) -> None:
        """Add `sums`, which were closed so long ago. May be repeated with the same `number`; the next batch of the same
        writer has a greater one."""
        types, failures = sums.types, sums.failures
        statement = sql.ADD_STATS.bind(
            queue=queue,
            writer=writer,
            number=number,
            age_seconds=age_seconds,
            types=[clean(each, TYPE_LENGTH_MAX) for each in types],
            enqueued=array_text([each.enqueued for each in types.values()]),
            done=array_text([each.done for each in types.values()]),
            failed=array_text([each.failed for each in types.values()]),
            retried=array_text([each.retried for each in types.values()]),
            cancelled=array_text([each.cancelled for each in types.values()]),
            waits=[array_text(each.waits) for each in types.values()],
            runs=[array_text(each.runs) for each in types.values()],
            failure_types=[clean(each, TYPE_LENGTH_MAX) for each, _ in failures],
            errors=[clean(error, ERROR_LENGTH_MAX) for _, error in failures],
            failures=array_text([each.failed for each in failures.values()]),
            retries=array_text([each.retried for each in failures.values()]),
            last_jobs=array_text([str(each.last_job) for each in failures.values()]),
            queues=list(sums.queues),
            queue_done=array_text([done for done, _ in sums.queues.values()]),
            queue_failed=array_text([failed for _, failed in sums.queues.values()]),
        )
        await self._pool.fetch(*statement)

    async def read(self, queue: str, *, span: int, since_seconds: float, job_type: str | None) -> list[StatsRow]:
        """The sums of the last `since_seconds`, the newest first."""
        statement = sql.GET_STATS.bind(
            queue=queue, span=span, since_seconds=since_seconds, type=job_type, limit=ROWS_MAX
        )
        return [StatsRow(row["at"], row["type"], _sums(row)) for row in await self._pool.fetch(*statement)]

    async def failures(
        self, queue: str, *, span: int, since_seconds: float, job_type: str | None, limit: int
    ) -> list[FailureGroup]:
        """The groups of failures of the last `since_seconds`, those with the most first."""
        statement = sql.GET_FAILURES.bind(
            queue=queue, span=span, since_seconds=since_seconds, type=job_type, limit=limit
        )
        rows = await self._pool.fetch(*statement)
        return [FailureGroup(**dict(row) | {"trend": _trend.decode(row["trend"])}) for row in rows]

    async def by_queue(self, queue: str) -> dict[str, tuple[int, int]]:
        """How many jobs of each queue of this installation were done and have failed in a minute, of late.

        The last minute that is over, or what there is of this one where that is more.
        """
        rows = await self._pool.fetch(*sql.GET_QUEUE_STATS.bind(queue=queue))
        return {row["in_queue"]: (int(row["done"]), int(row["failed"])) for row in rows}

    async def now(self) -> datetime:
        """The clock that the spans go by."""
        [row] = await self._pool.fetch(sql.NOW)
        found: datetime = row["now"]
        return found

    async def prune(self, *, limit: int) -> int:
        """Forget what is older than what is shown, up to `limit` rows of each kind; how many, of the kind with the
        most."""
        [row] = await self._pool.fetch(*sql.PRUNE_STATS.bind(limit=limit))
        return int(row["pruned"])


def _sums(row: asyncpg.Record) -> TypeSums:
    counts = {name: row[name] for name in ("enqueued", "done", "failed", "retried", "cancelled")}
    return TypeSums(**counts, waits=_buckets(row["waits"]), runs=_buckets(row["runs"]))


def _buckets(text: str) -> list[int]:
    return _numbers.decode("[" + text[1:-1] + "]")
