"""Pauses: jobs of paused types are not run. Postgres decides what is paused; a claim sets their tasks aside, in Redis.

A task is parked by the worker that claims it, because a script would have to decode it. It is moved back to the head of
the ready list when its type is resumed, in the order of its claim. A parked task is like one in the ready list: its
row is `pending`, and a person may cancel or delete its job meanwhile.
"""

import logging
from collections import defaultdict
from functools import partial
from uuid import UUID

from workqueue.core.audit import AuditEntry
from workqueue.core.control import ControlMessage, write_message
from workqueue.core.errors import QueueUnavailable
from workqueue.core.pauses import NOTHING, Paused
from workqueue.core.queue import Queue
from workqueue.core.steps.heartbeat import beat
from workqueue.core.steps.lease import ClaimedTask
from workqueue.core.steps.until_answered import TRIP_SECONDS, UntilAnswered
from workqueue.core.store import PauseStore

log = logging.getLogger(__name__)


class Parking:
    """What one process knows of the pauses of a queue. Mutable state: the newest that it knows.

    A worker has its own, which its claims ask and which messages and looks at the rows keep fresh.
    """

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self.known: Paused = NOTHING

    def learn(self, paused: Paused) -> None:
        """What is paused, as a message or another answer says; an older one than what is known is passed over."""
        if paused.version > self.known.version:
            self.known = paused

    async def park(self, lease: UUID, items: list[ClaimedTask], until_answered: UntilAnswered) -> list[ClaimedTask]:
        """Set aside those of `items`, claimed just now, whose type is paused; returns the others.

        A Redis that has lost its data gets back first what is known. Cancelled: the tasks are parked, or lie in the
        flight and go back with the audit.
        """
        there = self._queue.paused
        if there.version < self.known.version:
            there = await until_answered(partial(self._queue.set_paused, self.known))
        self.learn(there)
        if self.known.queues:
            items = await self._give_back(lease, items, until_answered)
        if not (types := self.known.types):
            return items
        by_type: defaultdict[str, list[ClaimedTask]] = defaultdict(list)
        for claimed in items:
            if claimed.task.type in types:
                by_type[claimed.task.type].append(claimed)
        gone: set[int] = set()
        for job_type, ours in by_type.items():
            numbers = [claimed.number for claimed in ours]
            gone.update(await self._park(lease, job_type, numbers, until_answered))
        return [claimed for claimed in items if claimed.number not in gone] if gone else items

    async def _park(self, lease: UUID, job_type: str, numbers: list[int], until_answered: UntilAnswered) -> list[int]:
        """The numbers that are no longer in the flight.

        What is not paused any more may run, unless a send had no answer: it may still arrive, when the type is paused
        again, and would take a running job's task and permit out of the flight. So that goes back.
        """
        sends = 0

        async def park() -> list[bool]:
            nonlocal sends
            sends += 1
            return await self._queue.park(lease, job_type, numbers)

        answers = await until_answered(park)
        left = [number for number, parked in zip(numbers, answers, strict=True) if not parked]
        if left and sends > 1:
            back = [(number, 0, b"") for number in left]
            await until_answered(partial(self._queue.give_back, lease, back))
            left = []
        return [number for number in numbers if number not in left]

    async def _give_back(
        self, lease: UUID, items: list[ClaimedTask], until_answered: UntilAnswered
    ) -> list[ClaimedTask]:
        """Those of paused queues go back; Redis did not know yet, when it gave them, that their queue is paused."""
        back = [claimed for claimed in items if claimed.task.options.queue in self.known.queues]
        if not back:
            return items
        tasks = [(claimed.number, 0, b"") for claimed in back]
        await until_answered(partial(self._queue.give_back, lease, tasks))
        return [claimed for claimed in items if claimed not in back]


class Pauses:
    """Pause and resume types and queues, and keep Redis as Postgres says it should be.

    Raises StoreUnavailable; Redis may be away: a worker carries out the rest. Cancelled: it is not known whether
    anything has changed, and it may be repeated.
    """

    def __init__(self, queue: Queue, store: PauseStore, parking: Parking) -> None:
        self._queue = queue
        self._store = store
        self._parking = parking

    async def pause(self, job_type: str, audit: AuditEntry | None = None) -> Paused | None:
        """No job of this type starts any more; those that run go on. None: too many types are paused."""
        changed = await self._store.change(self._queue.name, pause=[job_type], audit=audit)
        if changed is not None:
            await self._tell(changed)
        return changed

    async def resume(self, job_type: str, audit: AuditEntry | None = None) -> Paused:
        """Its jobs run again: those that were set aside come first."""
        changed = await self._store.change(self._queue.name, resume=[job_type], audit=audit)
        assert changed is not None, "fewer types are never too many"  # noqa: S101
        await self._tell(changed)
        return changed

    async def pause_queue(self, name: str, audit: AuditEntry | None = None) -> Paused | None:
        """No job of this queue is claimed any more; those that run go on. None: too many queues are paused."""
        changed = await self._store.change_queues(self._queue.name, pause=[name], audit=audit)
        if changed is not None:
            await self._tell(changed)
        return changed

    async def resume_queue(self, name: str, audit: AuditEntry | None = None) -> Paused:
        """Its jobs are claimed again."""
        changed = await self._store.change_queues(self._queue.name, resume=[name], audit=audit)
        assert changed is not None, "fewer queues are never too many"  # noqa: S101
        await self._tell(changed)
        return changed

    async def read(self) -> Paused:
        """What is paused."""
        return await self._store.read(self._queue.name)

    async def run_once(self) -> None:
        """Bring Redis up to date, and move what is parked and not paused any more to the ready list.

        Raises QueueUnavailable, StoreUnavailable. Each worker does it, several at once too.
        """
        name = self._queue.name
        stored = await self._store.read(name)
        if stored.version < self._parking.known.version:  # the database was set back
            stored = await self._store.outrun(name, self._parking.known.version)
        if stored.version:
            there = await self._queue.set_paused(stored)
            if there.version > stored.version:  # the same, or it was changed just now
                stored = await self._store.outrun(name, there.version)
                there = await self._queue.set_paused(stored)
            self._parking.learn(there)
        for job_type in set(await self._queue.parked()) - stored.types:
            await self._unpark(job_type)

    async def _unpark(self, job_type: str) -> None:
        left: int | None = None
        while (now := await self._queue.unpark(job_type)) and now != left:  # the same again: it is paused anew
            left = now
            beat(TRIP_SECONDS)

    async def _tell(self, paused: Paused) -> None:
        self._parking.learn(paused)
        try:
            await self._queue.set_paused(paused)
            await self._queue.tell_workers(write_message(ControlMessage(paused=paused)))
        except QueueUnavailable as error:
            log.info("what is paused reaches Redis and the workers when Redis answers: %s", error)
