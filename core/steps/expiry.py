"""Expiry: what is remembered for a time, and is older than that, is removed."""

from workqueue.core.store import JobStore

PRUNE_MAX = 500  #: rows at a time
UNIQUE_MAX = 1000  #: unique keys that are looked at at a time
DELETED_SECONDS = 30 * 86_400.0  #: for so long the task of a job that a person deleted may lie in Redis

ACTIONS_SECONDS = 30 * 86_400.0  #: for so long an action is shown after it was asked for
AUDIT_SECONDS = 90 * 86_400.0  #: for so long it is known who did what


class PruneKeys:
    """Idempotency keys. Each worker does it once in a while; several at once share the keys (SKIP LOCKED)."""

    def __init__(self, store: JobStore) -> None:
        self._store = store

    async def run_once(self) -> bool:
        """True: a full piece was removed, there may be more. Raises StoreUnavailable."""
        return await self._store.prune_keys(limit=PRUNE_MAX) >= PRUNE_MAX


class PruneUnique:
    """Unique keys that are free. A walk through all of them, a piece at a time; several workers may be at one place.

    Mutable state: the last key that was looked at.
    """

    def __init__(self, store: JobStore, queue: str) -> None:
        self._store = store
        self._queue = queue
        self._after = ""

    async def run_once(self) -> bool:
        """True: a tenth of a full piece was removed, so that it is worth while to go on at once. Raises
        StoreUnavailable."""
        looked, pruned, last = await self._store.prune_unique(self._queue, after=self._after, limit=UNIQUE_MAX)
        if looked < UNIQUE_MAX or last is None:
            self._after = ""
            return False
        self._after = last
        return pruned >= UNIQUE_MAX // 10


class PruneActions:
    """Actions that have ended, in the same way."""

    def __init__(self, store: JobStore) -> None:
        self._store = store

    async def run_once(self) -> bool:
        """True: a full piece was removed, there may be more. Raises StoreUnavailable."""
        return await self._store.actions.prune(keep_seconds=ACTIONS_SECONDS, limit=PRUNE_MAX) >= PRUNE_MAX


class PruneDeleted:
    """The ids of jobs that a person deleted, in the same way."""

    def __init__(self, store: JobStore, *, keep_seconds: float = DELETED_SECONDS) -> None:
        self._store = store
        self._keep_seconds = keep_seconds

    async def run_once(self) -> bool:
        """True: a full piece was removed, there may be more. Raises StoreUnavailable."""
        return await self._store.prune_deleted(keep_seconds=self._keep_seconds, limit=PRUNE_MAX) >= PRUNE_MAX


class PruneAudit:
    """What a person did, in the same way; several workers at once wait for one another's rows."""

    def __init__(self, store: JobStore) -> None:
        self._store = store

    async def run_once(self) -> bool:
        """True: a full piece was removed, there may be more. Raises StoreUnavailable."""
        return await self._store.audit.prune(keep_seconds=AUDIT_SECONDS, limit=PRUNE_MAX) >= PRUNE_MAX
