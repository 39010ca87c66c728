"""What has changed lately, and how some jobs are now: for those who watch (GET /api/events)."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from msgspec import Struct

from workqueue.core.store import sql
from workqueue.core.store.pool import STATEMENT_SECONDS, Pool
from workqueue.core.store.reports import ProgressRow
from workqueue.core.store.sql import array_text

#: Before a position, from where on changes are taken: no statement of ours goes on for longer, so that what has not
#: been committed by then never will be.
OVERLAP_SECONDS = STATEMENT_SECONDS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ChangedRow(Struct, frozen=True):
    """A job that has changed; without type and state, one that a person has deleted."""

    id: UUID
    type: str | None
    state: str | None
    at_us: int  #: when, in microseconds since 1970 by the clock of Postgres


class Changes(Struct, frozen=True):
    """What has changed up to a position."""

    position: int  #: microseconds since 1970 by the clock of Postgres
    rows: list[ChangedRow]
    more: bool  #: these are not all


class WatchedRow(Struct, frozen=True):
    """How a job is."""

    id: UUID
    state: str
    attempts: int
    cancelling: bool
    run_at: datetime | None
    progress: ProgressRow | None


class ChangeStore:
    """The statements of those who watch. What each raises and what cancelling means: Pool.fetch."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def since(self, queue: str, position: int | None, *, max_seconds: float, limit: int) -> Changes:
        """Up to `limit` jobs that have changed since `position`, or since `max_seconds` ago where that is later; None:
        since now. All from OVERLAP_SECONDS before it are among them: the caller drops what it knows."""
        statement = sql.CHANGED_JOBS.bind(
            queue=queue, since_us=position, max_seconds=max_seconds, overlap_seconds=OVERLAP_SECONDS, limit=limit
        )
        # Planned for all moments alike, it would read the whole table.
        found = await self._pool.fetch_planned(*statement)
        rows = [
            ChangedRow(row["id"], row["type"], row["state"], (row["updated_at"] - _EPOCH) // timedelta(microseconds=1))
            for row in found
            if row["id"] is not None
        ]
        return Changes(found[0]["now_us"], rows[:limit], len(rows) > limit)

    async def watched(self, ids: Sequence[UUID]) -> dict[UUID, WatchedRow]:
        """How each of these jobs is that there is."""
        found = await self._pool.fetch(*sql.WATCHED_JOBS.bind(ids=array_text(ids)))
        return {
            row["id"]: WatchedRow(
                row["id"],
                row["state"],
                row["attempts"],
                row["cancelling"],
                row["run_at"],
                None if row["at"] is None else ProgressRow(row["fraction"], row["text"], row["at"]),
            )
            for row in found
        }
