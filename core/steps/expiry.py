"""Expiry: idempotency keys that are older than they may be are removed."""

from workqueue.core.store import JobStore

PRUNE_MAX = 500  #: keys at a time


class PruneKeys:
    """Each worker does it once in a while; several at once share the keys (SKIP LOCKED)."""

    def __init__(self, store: JobStore) -> None:
        self._store = store

    async def run_once(self) -> bool:
        """True: a full piece was removed, there may be more. Raises StoreUnavailable."""
        return await self._store.prune_keys(limit=PRUNE_MAX) >= PRUNE_MAX
