"""Rows of what is paused: one for each queue."""

from collections.abc import Collection

import asyncpg

from workqueue.core.audit import AuditEntry
from workqueue.core.pauses import NOTHING, PAUSED_TYPES_MAX, Paused
from workqueue.core.store import sql
from workqueue.core.store.audit import bound
from workqueue.core.store.clean import clean
from workqueue.core.store.pool import Pool
from workqueue.core.wire import TYPE_LENGTH_MAX


def _paused(row: asyncpg.Record) -> Paused:
    return Paused(row["version"], frozenset(row["types"]), frozenset(row["queues"]))


class PauseStore:
    """The statements of pauses. What each raises and what cancelling means: Pool.fetch."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def read(self, queue: str) -> Paused:
        """What is paused."""
        for row in await self._pool.fetch(*sql.GET_PAUSES.bind(queue=queue)):
            return _paused(row)
        return NOTHING

    async def change(
        self,
        queue: str,
        *,
        pause: Collection[str] = (),
        resume: Collection[str] = (),
        audit: AuditEntry | None = None,
    ) -> Paused | None:
        """Pause and resume types; what is paused then. None: it would be more than PAUSED_TYPES_MAX, and nothing has
        changed. May be repeated: the version goes up each time. `audit`: the row that it leaves, in its transaction."""
        statement = sql.CHANGE_PAUSES.bind(
            queue=queue,
            pause=[clean(each, TYPE_LENGTH_MAX) for each in pause],
            resume=[clean(each, TYPE_LENGTH_MAX) for each in resume],
            types_max=PAUSED_TYPES_MAX,
            **bound(audit),
        )
        for row in await self._pool.fetch(*statement):
            return _paused(row)
        return None

    async def change_queues(
        self,
        queue: str,
        *,
        pause: Collection[str] = (),
        resume: Collection[str] = (),
        audit: AuditEntry | None = None,
    ) -> Paused | None:
        """The same for queues of the installation `queue`."""
        statement = sql.CHANGE_PAUSED_QUEUES.bind(
            queue=queue, pause=list(pause), resume=list(resume), queues_max=PAUSED_TYPES_MAX, **bound(audit)
        )
        for row in await self._pool.fetch(*statement):
            return _paused(row)
        return None

    async def outrun(self, queue: str, version: int) -> Paused:
        """What is paused, with a version above this one where it is older. May be repeated."""
        await self._pool.fetch(*sql.OUTRUN_PAUSES.bind(queue=queue, version=version))
        return await self.read(queue)
