"""Acts: what a person does to jobs after they were enqueued. The row decides; Redis and workers get hints."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from uuid import UUID

import trio
from uuid_utils.compat import uuid7

from workqueue.core.audit import AuditEntry
from workqueue.core.control import ControlMessage, write_message
from workqueue.core.errors import QueueUnavailable
from workqueue.core.job_filter import ActName
from workqueue.core.queue import Queue
from workqueue.core.steps.outbox import push_waiting
from workqueue.core.steps.piggyback import Piggyback
from workqueue.core.store import Acted, JobStore

log = logging.getLogger(__name__)

ACTED_MAX = 1000  #: jobs at a time


class Acts:
    """Each method takes up to ACTED_MAX ids and returns what became of each job; an id without a job is missing.

    Raises StoreUnavailable and StoreBusy: it is not known then whether the rows have changed, and it may be repeated.
    Redis may be away: what the rows say is carried out once it is back. Cancelled or killed after the statement: the
    outbox entry stays, and a worker pushes the jobs. `audit`: the row that the act leaves, in its own transaction.
    """

    def __init__(self, queue: Queue, store: JobStore, piggyback: Piggyback) -> None:
        self._queue = queue
        self._store = store
        self._piggyback = piggyback

    async def cancel(self, ids: Sequence[UUID], audit: AuditEntry | None = None) -> dict[UUID, Acted]:
        """End what waits. What runs is cancelled by its worker, which a message tells: `processing` in the answer.

        A worker that the message does not reach looks at the rows every few seconds.
        """
        acted = await self._store.cancel(self._queue.name, ids, audit)
        await self._tell_workers(acted)
        await self._rouse()
        return acted

    async def retry(self, ids: Sequence[UUID], audit: AuditEntry | None = None) -> dict[UUID, Acted]:
        """Make failed and cancelled jobs wait again, at the tail; their counters begin anew, their runs stay."""
        return await self._with_push(self._store.retry, ids, audit)

    async def run_now(self, ids: Sequence[UUID], audit: AuditEntry | None = None) -> dict[UUID, Acted]:
        """Make due what waits for a time."""
        acted = await self._with_push(self._store.run_now, ids, audit)
        await self._rouse()
        return acted

    async def delete(self, ids: Sequence[UUID], audit: AuditEntry | None = None) -> dict[UUID, Acted]:
        """Delete what has ended, with its runs, artifacts and idempotency key."""
        return await self._store.delete(self._queue.name, ids, audit)

    async def _with_push(
        self,
        act: Callable[[UUID, str, Sequence[UUID], AuditEntry | None], Awaitable[dict[UUID, Acted]]],
        ids: Sequence[UUID],
        audit: AuditEntry | None,
    ) -> dict[UUID, Acted]:
        batch, inserted_at = uuid7(), trio.current_time()
        acted = await act(batch, self._queue.name, ids, audit)
        await self._push(batch, acted, inserted_at=inserted_at)
        return acted

    async def follow(self, act: ActName, batch: UUID, acted: Mapping[UUID, Acted], *, inserted_at: float) -> None:
        """What follows the statement of an act: jobs that wait now are pushed, workers are told what to cancel.

        `inserted_at`: trio's clock before the statement was sent, with the outbox entry `batch`. Redis may be away.
        """
        if act is ActName.CANCEL:
            await self._tell_workers(acted)
        elif act is not ActName.DELETE:
            await self._push(batch, acted, inserted_at=inserted_at)
        if act in {ActName.CANCEL, ActName.RUN_NOW}:
            await self._rouse()

    async def _rouse(self) -> None:
        """A group whose jobs run in their order may wait behind one of these: its next claim asks the row."""
        try:
            await self._queue.rouse()
        except QueueUnavailable as error:
            log.info("groups that wait behind these jobs go on when their time has come: %s", error)

    async def _tell_workers(self, acted: Mapping[UUID, Acted]) -> None:
        running = [(each.token, job_id) for job_id, each in acted.items() if each.token is not None]
        if running:
            try:
                await self._queue.tell_workers(write_message(ControlMessage(cancel=running)))
            except QueueUnavailable as error:
                log.info("%d jobs are cancelled when their workers look at the rows: %s", len(running), error)

    async def _push(self, batch: UUID, acted: Mapping[UUID, Acted], *, inserted_at: float) -> None:
        waiting = sorted(job_id for job_id, each in acted.items() if each.changed)
        if waiting:
            try:
                await push_waiting(self._queue, self._store.waiting, waiting)
            except QueueUnavailable as error:
                log.info("%d jobs are pushed when Redis answers: %s", len(waiting), error)
            else:
                self._piggyback.pushed(batch, inserted_at=inserted_at)
