"""Rows of actions: what a person does to many jobs, carried out by workers piece by piece."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal
from uuid import UUID

import asyncpg
from msgspec import Struct

from workqueue.core.audit import AuditEntry
from workqueue.core.job import JobState
from workqueue.core.job_filter import ActName, JobFilter, StatusFilter
from workqueue.core.store import sql
from workqueue.core.store.audit import bound as bound_audit
from workqueue.core.store.matching import bound
from workqueue.core.store.pool import Pool

COUNT_SECONDS = 30.0  #: for a look at every row that there is


class Acted(Struct, frozen=True):
    """What an act of a person has done to a job."""

    state: JobState  #: that it has now; of a deleted one, that it had
    changed: bool  #: False: the act does not apply to a job in this state
    token: UUID | None = None  #: of the run that is asked to end


class Action(Struct, frozen=True):
    """What a person does to all jobs that match, and how far it is."""

    id: UUID
    action: ActName
    filter: JobFilter
    matched: int  #: jobs, when it was asked for
    done: int
    failed: int  #: jobs that had changed before their turn came, so that the act did not apply any more
    state: Literal["running", "done", "stopped"]
    after: tuple[datetime, UUID]  #: jobs up to this place were looked at
    created_at: datetime
    updated_at: datetime


def acted(rows: Sequence[asyncpg.Record]) -> dict[UUID, Acted]:
    """Job -> what an act has done to it."""
    return {row["id"]: Acted(JobState(row["state"]), row["changed"], row["token"]) for row in rows}


class ActionStore:
    """The statements of actions. What each raises and what cancelling means: Pool.fetch."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def count(self, queue: str, action: ActName, wanted: JobFilter) -> int:
        """How many jobs match that the act applies to. May take COUNT_SECONDS."""
        statement = sql.COUNT_MATCHING_JOBS[action].bind(queue=queue, **_bound(action, wanted))
        [row] = await self._pool.fetch_slowly(*statement, seconds=COUNT_SECONDS)
        return int(row["matched"])

    async def insert(
        self,
        action_id: UUID,
        queue: str,
        action: ActName,
        wanted: JobFilter,
        matched: int,
        audit: AuditEntry | None = None,
    ) -> None:
        """Ask the workers to do it; with `audit` in one transaction. Not to be repeated with the same id."""
        values = _bound(action, wanted)
        statement = sql.INSERT_ACTION.bind(
            id=action_id,
            queue=queue,
            action=action,
            matched=matched,
            **values | {"error": wanted.error},
            **bound_audit(audit),
        )
        await self._pool.fetch(*statement, refusable=True)

    async def next(self, queue: str) -> Action | None:
        """The oldest action that is running."""
        rows = await self._pool.fetch(*sql.NEXT_ACTION.bind(queue=queue))
        return _action(rows[0]) if rows else None

    async def get(self, queue: str, action_id: UUID) -> Action | None:
        rows = await self._pool.fetch(*sql.GET_ACTION.bind(id=action_id, queue=queue))
        return _action(rows[0]) if rows else None

    async def newest(self, queue: str, *, limit: int) -> list[Action]:
        return [_action(row) for row in await self._pool.fetch(*sql.LIST_ACTIONS.bind(queue=queue, limit=limit))]

    async def stop(self, queue: str, action_id: UUID, audit: AuditEntry | None = None) -> None:
        """Stop it where it runs; with `audit` in one transaction. May be repeated."""
        await self._pool.fetch(*sql.STOP_ACTION.bind(id=action_id, queue=queue, **bound_audit(audit)))

    async def act_on_piece(
        self, action: Action, batch: UUID, queue: str, *, look: int, limit: int
    ) -> dict[UUID, Acted] | None:
        """Do it to the next `limit` jobs that match, among the next `look`; None: another worker is at it.

        `batch`: of the outbox entry, fresh for each send. May be repeated: the action goes on where it is.
        """
        after_at, after_id = action.after
        statement = sql.ACT_ON_PIECE[action.action].bind(
            action=action.id,
            after_at=after_at,
            after_id=after_id,
            look=look,
            limit=limit,
            batch=batch,
            queue=queue,
            **_bound(action.action, action.filter),
        )
        rows = await self._pool.fetch_planned(*statement)
        done = [row for row in rows if row["id"] is not None]
        return None if len(done) == len(rows) else acted(done)

    async def prune(self, *, keep_seconds: float, limit: int) -> int:
        """Forget up to `limit` actions that ended so long ago; how many."""
        [row] = await self._pool.fetch(*sql.PRUNE_ACTIONS.bind(keep_seconds=keep_seconds, limit=limit))
        return int(row["pruned"])


def _bound(action: ActName, wanted: JobFilter) -> dict[str, object]:
    return bound(wanted, ended_badly=action is ActName.RETRY)


def _action(row: asyncpg.Record) -> Action:
    status, ids = row["status"], row["ids"]
    wanted = JobFilter(
        status=None if status is None else StatusFilter(status),
        type=row["type"],
        created_after=row["created_after"],
        created_before=row["created_before"],
        error=row["error"],
        queue=row["in_queue"],
        group=row["in_group"],
        ids=None if ids is None else tuple(ids),
    )
    place = row["after_at"], row["after_id"]
    counts = row["matched"], row["done"], row["failed"]
    return Action(
        row["id"], ActName(row["action"]), wanted, *counts, row["state"], place, row["created_at"], row["updated_at"]
    )
