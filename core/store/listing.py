"""Lists of jobs: pages, newest first, of what a filter matches, and how many there are.

A state, a type and a time are found by indexes, however many rows there are. For everything else rows are looked at,
the newest first and so many at a time; the answer says how far that was.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg
from msgspec import Struct

from workqueue.core.job_filter import JobFilter, PayloadMatch, StatusFilter
from workqueue.core.store import sql
from workqueue.core.store.matching import bound
from workqueue.core.store.oldest_waiting import OldestWaiting
from workqueue.core.store.pool import Pool
from workqueue.core.store.rows import JobRow, job_row

LISTED_PAYLOAD_MAX = 4000  #: characters of a payload that a list shows whole
LISTED_ERROR_MAX = 1000  #: of an error that a list shows
LOOK_MAX = 10_000  #: rows that one page looks at
LOOK_INTO_MAX = 5000  #: the same, where their payloads are read
LOOK_BYTES_MAX = 8 * 1024 * 1024  #: of their payloads
COUNT_MAX = 10_000  #: beyond, jobs are not counted

NO_ID = UUID(int=0)
Place = tuple[datetime, UUID]


class JobPage(Struct, frozen=True):
    """Some jobs, and where the next page begins."""

    rows: list[JobRow]  #: of a long payload or error the beginning, one character more than may be shown
    next: Place | None  #: behind this place there may be more; None: there are none
    looked_until: datetime | None = None  #: so far back was looked for them; None: as far as was needed


class JobCount(Struct, frozen=True):
    """How many jobs match."""

    count: int
    exact: bool  #: False: there are more, or may be


class JobLists:
    """The statements of lists. What each raises and what cancelling means: Pool.fetch.

    Mutable state: what pages of pending jobs have taught, for the next ones.
    """

    def __init__(self, pool: Pool, oldest_waiting: OldestWaiting) -> None:
        self._pool = pool
        self._oldest_waiting = oldest_waiting

    async def page(
        self, queue: str, wanted: JobFilter, payload: Sequence[PayloadMatch] = (), *, before: Place | None, limit: int
    ) -> JobPage:
        """Up to `limit` jobs that match, newest first, behind the cursor `before`."""
        if _is_search(wanted, payload):
            return await self._search(queue, wanted, payload, before=before, limit=limit)
        given = _given(queue, wanted, before, limit)
        if wanted.status == StatusFilter.PENDING:
            rows = await self._waiting(sql.LIST_WAITING_JOBS, queue, wanted, given)
        elif wanted.status == StatusFilter.PROCESSING:
            rows = await self._pool.fetch_planned(*sql.LIST_RUNNING_JOBS.bind(**given))
        else:
            rows = await self._pool.fetch_planned(*sql.LIST_JOBS.bind(**given, state=wanted.status))
        shown = [job_row(row) for row in rows[:limit]]
        return JobPage(shown, _place(shown[-1]) if len(rows) > limit else None)

    async def count(self, queue: str, wanted: JobFilter, payload: Sequence[PayloadMatch] = ()) -> JobCount:
        """How many jobs match: exact up to COUNT_MAX, where an index tells; else of the newest LOOK_MAX."""
        if _is_search(wanted, payload):
            statement = sql.COUNT_FOUND_JOBS.bind(**_searched(queue, wanted, payload, None, COUNT_MAX))
            [row] = await self._pool.fetch_planned(*statement)
            return JobCount(min(row["count"], COUNT_MAX), row["count"] <= COUNT_MAX and not row["cut"])
        given = _given(queue, wanted, None, COUNT_MAX)
        if wanted.status == StatusFilter.PENDING:  # the rows themselves: they teach how far back to look next time
            found = len(await self._waiting(sql.LIST_WAITING_IDS, queue, wanted, given))
            return JobCount(min(found, COUNT_MAX), found <= COUNT_MAX)
        if wanted.status == StatusFilter.PROCESSING:
            statement = sql.COUNT_RUNNING_JOBS.bind(**given)
        else:
            statement = sql.COUNT_JOBS.bind(**given, state=wanted.status)
        [row] = await self._pool.fetch_planned(*statement)
        return JobCount(min(row["count"], COUNT_MAX), row["count"] <= COUNT_MAX)

    async def _waiting(
        self, statement: sql.Statement, queue: str, wanted: JobFilter, given: dict[str, object]
    ) -> list[asyncpg.Record]:
        used = self._oldest_waiting.floor(queue, wanted.type)
        found = await self._pool.fetch_planned(*statement.bind(**given, floor=used.created_at, left=used.left))
        rows, floor = [row for row in found if row["id"] is not None], found[0]["floor"]
        if floor is not None and wanted.created_after is None:
            waiting = [(row["created_at"], row["id"]) for row in rows if not row["requeued"]]
            self._oldest_waiting.learn(queue, wanted.type, floor, waiting, used)
        return rows

    async def _search(
        self, queue: str, wanted: JobFilter, payload: Sequence[PayloadMatch], *, before: Place | None, limit: int
    ) -> JobPage:
        statement = sql.SEARCH_JOBS.bind(**_searched(queue, wanted, payload, before, limit))
        rows = await self._pool.fetch_planned(*statement)
        matching = [row for row in rows if row["matches"]]
        shown = [job_row(row) for row in matching[:limit]]
        if len(matching) > limit:
            return JobPage(shown, _place(shown[-1]))
        if rows and rows[-1]["is_last"]:
            last = rows[-1]
            return JobPage(shown, (last["created_at"], last["id"]), last["created_at"])
        return JobPage(shown, None)


def _is_search(wanted: JobFilter, payload: Sequence[PayloadMatch]) -> bool:
    """Must rows be looked at?"""
    derived = wanted.status in {StatusFilter.SCHEDULED, StatusFilter.RETRYING}
    looked_at = (wanted.error, wanted.queue, wanted.group, wanted.ids)
    return bool(derived or any(each is not None for each in looked_at) or payload)


def _given(queue: str, wanted: JobFilter, before: Place | None, limit: int) -> dict[str, object]:
    before_at, before_id = _earlier(before, wanted.created_before) or (None, None)
    return {
        "queue": queue, "type": wanted.type, "created_after": wanted.created_after, "before_at": before_at,
        "before_id": before_id, "limit": limit, **_CUTS,
    }  # fmt: skip


def _searched(
    queue: str, wanted: JobFilter, payload: Sequence[PayloadMatch], before: Place | None, limit: int
) -> dict[str, object]:
    before_at, before_id = before or (None, None)
    return bound(wanted) | {
        "queue": queue, "before_at": before_at, "before_id": before_id, "limit": limit,
        "look": LOOK_INTO_MAX if payload else LOOK_MAX,
        "bytes_max": LOOK_BYTES_MAX, "paths": [sql.array_text(each.path) for each in payload],
        "wanted": [each.value for each in payload], **_CUTS,
    }  # fmt: skip


_CUTS = {"payload_max": LISTED_PAYLOAD_MAX + 1, "error_max": LISTED_ERROR_MAX + 1}


def _earlier(before: Place | None, created_before: datetime | None) -> Place | None:
    """A moment that is excluded is a cursor: no id is below NO_ID."""
    places = [place for place in (before, created_before and (created_before, NO_ID)) if place]
    return min(places, default=None)


def _place(row: JobRow) -> Place:
    return row.created_at, row.id
