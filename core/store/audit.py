"""Rows of the audit: who did what. Those of acts on rows are written by the statements of the acts themselves."""

from datetime import datetime

from msgspec import Struct

from workqueue.core.audit import AuditEntry
from workqueue.core.store import sql
from workqueue.core.store.pool import Pool


class AuditRow(Struct, frozen=True):
    """An act of a person."""

    id: int
    at: datetime
    who: str | None  #: None: there were no tokens
    act: str
    target: str  #: the JSON text of an object
    count: int | None  #: None: none are counted, or its end is not known


def bound(entry: AuditEntry | None) -> dict[str, object]:
    """The parameters of a statement that leaves a row; None: it leaves none."""
    if entry is None:
        return {"audit_who": None, "audit_act": None, "audit_target": "{}"}
    return {"audit_who": entry.who, "audit_act": entry.act, "audit_target": entry.target}


class AuditStore:
    """The statements of the audit. What each raises and what cancelling means: Pool.fetch."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def begin(self, queue: str, entry: AuditEntry) -> int:
        """A row for an act that is about to be done elsewhere; its id."""
        [row] = await self._pool.fetch(*sql.BEGIN_AUDIT.bind(queue=queue, **bound(entry)))
        return int(row["id"])

    async def end(self, audit_id: int, count: int) -> None:
        """To how many it was done. May be repeated."""
        await self._pool.fetch(*sql.END_AUDIT.bind(id=audit_id, count=count))

    async def page(self, queue: str, *, before: int | None, limit: int) -> list[AuditRow]:
        """The newest acts, behind the one with the number `before`."""
        rows = await self._pool.fetch(*sql.LIST_AUDIT.bind(queue=queue, before=before, limit=limit))
        return [AuditRow(**dict(row)) for row in rows]

    async def prune(self, *, keep_seconds: float, limit: int) -> int:
        """Forget up to `limit` acts that were done so long ago; how many."""
        [row] = await self._pool.fetch(*sql.PRUNE_AUDIT.bind(keep_seconds=keep_seconds, limit=limit))
        return int(row["pruned"])
