"""Expiry: what is remembered for a time, and is older than that, is removed."""

from workqueue.core.store import JobStore

PRUNE_MAX = 500  #: rows at a time
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
