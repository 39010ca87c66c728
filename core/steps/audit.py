"""Audit of acts that are no statement of Postgres: what a person does to dead letters and workers, which are in Redis.

With rows, the row is there before the act and gets its number after it: no act is done without a row, and where the
process dies in between, the row says that it has begun. The other order would lose the rows of exactly those acts.
Without rows a line of the log is all there is.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from workqueue.core.audit import AuditEntry
from workqueue.core.store import JobStore

log = logging.getLogger(__name__)


class Audited:
    """An act that is being done. Mutable state: to how many it was done, set by its caller."""

    def __init__(self) -> None:
        self.count = 0


class Audit:
    """One for each queue."""

    def __init__(self, queue_name: str, store: JobStore | None) -> None:
        self._queue_name = queue_name
        self._store = store

    @asynccontextmanager
    async def of(self, entry: AuditEntry) -> AsyncIterator[Audited]:
        """A block that does the act and sets how many.

        Raises StoreUnavailable: before the block, when it is not done, or behind it, when it is.
        """
        act = Audited()
        if self._store is None:
            yield act
            who = "a caller without a token" if entry.who is None else f"token {entry.who}"
            log.info("%s by %s: %d of %s", entry.act, who, act.count, entry.target)
            return
        audit_id = await self._store.audit.begin(self._queue_name, entry)
        yield act
        await self._store.audit.end(audit_id, act.count)
