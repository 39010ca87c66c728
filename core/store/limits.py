"""Rows of limits: one for each installation, with all of its limits and their version."""

from collections.abc import Collection, Mapping

import asyncpg
import msgspec

from workqueue.core.audit import AuditEntry
from workqueue.core.limits import GROUPS_MAX, NONE, TYPES_MAX, Limit, Limits
from workqueue.core.store import sql
from workqueue.core.store.audit import bound
from workqueue.core.store.pool import Pool

_MOST = {"type": TYPES_MAX, "group": GROUPS_MAX, "groups": 1}  #: by the part of a scope before its colon

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Limit]).decode


def _limits(row: asyncpg.Record) -> Limits:
    return Limits(row["version"], _decode(row["limits"]), _decode(row["declared"]))


class LimitStore:
    """The statements of limits. What each raises and what cancelling means: Pool.fetch. `queue`: the installation;
    `scope`: as core.limits.check_scope allows it."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def read(self, queue: str) -> Limits:
        """All limits."""
        for row in await self._pool.fetch(*sql.GET_LIMITS.bind(queue=queue)):
            return _limits(row)
        return NONE

    async def version(self, queue: str) -> int:
        """Their version alone: a few bytes, where `read` may be a MiB."""
        for row in await self._pool.fetch(*sql.GET_LIMITS_VERSION.bind(queue=queue)):
            return int(row["version"])
        return NONE.version

    async def put(self, queue: str, scope: str, limit: Limit, audit: AuditEntry | None = None) -> Limits | None:
        """Set the limit of a scope; all limits then. None: there would be more than TYPES_MAX or GROUPS_MAX, declared
        ones among them, and nothing has changed. May be repeated: the version goes up each time. `audit`: the row that
        it leaves, in its transaction."""
        kind = scope.partition(":")[0]
        statement = sql.PUT_LIMIT.bind(
            queue=queue, scope=scope, limit=_encode(limit).decode(), kind=kind, most=_MOST[kind], **bound(audit)
        )
        for row in await self._pool.fetch(*statement):
            return _limits(row)
        return None

    async def delete(self, queue: str, scope: str, audit: AuditEntry | None = None) -> Limits | None:
        """Take away the limit that a person has set for a scope; all limits then. One that the code declares holds
        again. None: there was none of a person's, and nothing has changed."""
        for row in await self._pool.fetch(*sql.DELETE_LIMIT.bind(queue=queue, scope=scope, **bound(audit))):
            return _limits(row)
        return None

    async def declare(self, queue: str, declared: Mapping[str, Limit], types: Collection[str]) -> Limits:
        """Note the limits that the code of a worker declares, by scope (`type:X`); all limits then.

        `types`: those that this code has handlers for; what was declared for one of them before and is not now is gone.
        Nothing is written where nothing differs, nor where there would be more than TYPES_MAX: then some of `declared`
        are missing in the answer. May be repeated.
        """
        scopes = {f"type:{each}" for each in types}
        known = await self.read(queue)
        wanted = {scope: limit for scope, limit in known.declared.items() if scope not in scopes} | dict(declared)
        if wanted == known.declared:
            return known
        statement = sql.DECLARE_LIMITS.bind(
            queue=queue,
            declared=_encode(declared).decode(),
            scopes=sorted(scopes),
            kind="type",
            most=TYPES_MAX,
        )
        for row in await self._pool.fetch(*statement):
            return _limits(row)
        return await self.read(queue)

    async def outrun(self, queue: str, version: int) -> Limits:
        """All limits, with a version above this one where theirs is older. May be repeated."""
        await self._pool.fetch(*sql.OUTRUN_LIMITS.bind(queue=queue, version=version))
        return await self.read(queue)
