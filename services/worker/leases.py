"""The lease under which this worker claims, and the leases that it has lost."""

import logging
from collections.abc import Callable
from uuid import UUID

import trio

from workqueue.core.steps.lease import Lease

log = logging.getLogger(__name__)


class Leases:
    """One lease at a time. Mutable state: `current` and `lost`, changed on the Trio thread after an answer of Redis."""

    def __init__(self, on_loss: Callable[[Lease], None]) -> None:
        """`on_loss` is called once for each lease that is lost: its jobs may run elsewhere by now."""
        self._on_loss = on_loss
        self._taken = trio.Event()
        self.current: Lease | None = None
        self.lost: list[UUID] = []  #: to be recovered by this worker, which knows of the loss first

    def take(self, lease: Lease) -> None:
        """A lease was registered in Redis."""
        if self.lost:
            log.info("working under the new lease %s", lease.id)
        self.current = lease
        self._taken.set()

    def lose(self, lease: Lease) -> None:
        """Redis no longer knows this lease. Idempotent."""
        if lease.lost:
            return
        lease.lost = True
        self.lost.append(lease.id)
        if self.current is lease:
            self.current, self._taken = None, trio.Event()
        self._on_loss(lease)

    async def wait(self) -> Lease:
        """The current lease, as soon as there is one."""
        while (lease := self.current) is None:
            await self._taken.wait()
        return lease
