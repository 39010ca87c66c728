"""What a person does to limits: set one, take one away, read them. Postgres decides; Redis gets a copy.

What holds it is the claim, in Redis, and what each worker knows (core/steps/limits.py).
"""

import logging

from workqueue.core.audit import AuditEntry
from workqueue.core.control import ControlMessage, write_message
from workqueue.core.errors import QueueUnavailable
from workqueue.core.limits import Limit, Limits
from workqueue.core.queue import Queue
from workqueue.core.store import LimitStore

log = logging.getLogger(__name__)


class LimitActs:
    """Set limits and take them away; `scope`: as core.limits.check_scope allows it.

    Raises StoreUnavailable; Redis may be away: a worker carries out the rest. Cancelled: it is not known whether
    anything has changed, and it may be repeated.
    """

    def __init__(self, queue: Queue, store: LimitStore) -> None:
        self._queue = queue
        self._store = store

    async def put(self, scope: str, limit: Limit, audit: AuditEntry | None = None) -> Limits | None:
        """Set the limit of a scope; all limits then. None: there would be too many, and nothing has changed."""
        changed = await self._store.put(self._queue.name, scope, limit, audit)
        return None if changed is None else await self._tell(changed)

    async def delete(self, scope: str, audit: AuditEntry | None = None) -> Limits | None:
        """Take the limit of a scope away; all limits then. None: there was none of a person's."""
        changed = await self._store.delete(self._queue.name, scope, audit)
        return None if changed is None else await self._tell(changed)

    async def read(self) -> Limits:
        """All limits."""
        return await self._store.read(self._queue.name)

    async def _tell(self, limits: Limits) -> Limits:
        try:
            there = await self._queue.set_limits(limits)
            if there > limits.version:  # it was changed again just now, or the database was set back
                limits = await self._store.outrun(self._queue.name, there)
                await self._queue.set_limits(limits)
            await self._queue.tell_workers(write_message(ControlMessage(limits=limits.version)))
        except QueueUnavailable as error:
            log.info("the limits reach Redis and the workers when Redis answers: %s", error)
        return limits
