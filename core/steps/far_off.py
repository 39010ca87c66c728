"""What is due later than an hour from now takes no room in Redis, where it has a row: it is brought in time."""

from uuid_utils.compat import uuid7

from workqueue.core.queue import Queue
from workqueue.core.steps.submit import HORIZON_SECONDS
from workqueue.core.store import JobStore

BRING_MAX = 1000  #: rows a statement
BRING_SECONDS = 10.0


class FarOff:
    """One for each worker; several at once share the rows (SKIP LOCKED)."""

    def __init__(self, queue: Queue, store: JobStore, *, horizon_seconds: float = HORIZON_SECONDS) -> None:
        self._queue = queue
        self._store = store
        self._horizon_seconds = horizon_seconds

    async def run_once(self) -> bool:
        """Hand what is due within the horizon to the outbox relay; True: there may be more.

        The row says that it is far off, and the statement that makes its outbox entry clears that: whatever clocks do,
        a job is one or the other. Raises StoreUnavailable. Cancelled or without an answer: it is done, or it is not.
        """
        looked = await self._store.bring(
            self._queue.name, uuid7(), horizon_seconds=self._horizon_seconds, limit=BRING_MAX
        )
        return looked == BRING_MAX
