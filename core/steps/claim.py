"""Claim: tasks from Redis, then (with Postgres) their rows; and the audit, which gives back what a lost answer left."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Protocol
from uuid import UUID

import msgspec
import trio
from uuid_utils.compat import uuid7

from workqueue.core.dead_letter import dead_letter
from workqueue.core.errors import InvalidTask, QueueUnavailable
from workqueue.core.ids import new_ids
from workqueue.core.options import UNTIL_STARTED
from workqueue.core.queue import Queue
from workqueue.core.queues import Served
from workqueue.core.steps.dead_letters import ClaimCounts, Discards
from workqueue.core.steps.lease import ClaimedTask, Lease
from workqueue.core.steps.limits import Limiting
from workqueue.core.steps.pauses import Parking
from workqueue.core.steps.until_answered import UntilAnswered
from workqueue.core.wire import Task, decode_task, encode_task

CLAIM_MAX = 1000
SPARE_IDS_MAX = 10  #: ids sent along with a claim, for the first tasks that have no job_id: saves a second trip
AUDIT_SECONDS = 5.0


class Claims(Protocol):
    """What a claim does after Redis: with rows the row decides which tasks may run."""

    async def claim(self, lease: Lease, items: list[ClaimedTask], new: Sequence[ClaimedTask]) -> list[ClaimedTask]:
        """Those of `items` that may run, in the order of their numbers. `new`: those that can have no row yet."""

    async def audit(self, lease: Lease) -> int:
        """Give back rows that are ours and not in `lease.tasks`; how many. Raises StoreUnavailable."""


class TaskClaims:
    """Redis only: each claimed task may run. Mutable state: none."""

    def __init__(self, queue: Queue, until_answered: UntilAnswered) -> None:
        self._queue = queue
        self._until_answered = until_answered

    async def claim(self, lease: Lease, items: list[ClaimedTask], new: Sequence[ClaimedTask]) -> list[ClaimedTask]:
        """Claims.claim. What was unique until it is started has given its key back then."""
        held = [
            (claimed.number, claimed.task.options.unique_key or "", claimed.job_id)
            for claimed in items
            if claimed.task.options.unique_until == UNTIL_STARTED
        ]
        if held:
            await self._until_answered(partial(self._queue.free_unique, lease.id, held, ack=False))
        return items

    async def audit(self, lease: Lease) -> int:
        return 0


class Claim:
    """Claims for one worker. One claim at a time: the caller is a single task.

    Mutable state: the counts, and the lease's numbers and tasks (steps/lease.py).
    """

    def __init__(
        self,
        queue: Queue,
        claims: Claims,
        discards: Discards,
        parking: Parking,
        limiting: Limiting,
        until_answered: UntilAnswered,
        served: Served,
    ) -> None:
        self._queue = queue
        self._served = served
        self._claims = claims
        self._parking = parking
        self._limiting = limiting
        self._discards = discards
        self._until_answered = until_answered

    @property
    def had_permits(self) -> bool:
        """Did the last claim take tasks that hold permits?"""
        return self._limiting.last_had_permits

    @property
    def counts(self) -> ClaimCounts:
        return self._discards.counts

    async def run_once(
        self, lease: Lease, count: int, on_task_available: Callable[[], None] | None = None
    ) -> list[ClaimedTask]:
        """Take up to `count` tasks; what is returned is ours, has an id and (with Postgres) a row that is `processing`
        under our token. Tasks of paused types are set aside, and those that a limit keeps from running wait in their
        lanes.

        `on_task_available`: wait for a task first (Queue.claim). Then QueueUnavailable is raised where the wait was
        not possible. Raises LeaseLost. Lasts as long as an outage does. Cancelled anywhere: the tasks lie in the
        lease's flight and perhaps their rows are ours; the audit, or the recovery of the lease, gives both back.
        """
        spare_ids = new_ids(min(count, SPARE_IDS_MAX))
        raw = await self._take(lease, count, spare_ids, on_task_available)
        items, new = await self._understand(lease, raw, spare_ids)
        if self._served.takes_others:
            self._served.took(Counter(claimed.task.options.queue for claimed in items), min(count, CLAIM_MAX))
        if new:
            items, new = await self._put_off(lease, items, new)
        unpaused = await self._parking.park(lease.id, items, self._until_answered)
        if unpaused is not items:
            items, new = unpaused, [claimed for claimed in new if claimed in unpaused]
        admitted = await self._limiting.admit(lease.id, items, self._until_answered)
        if admitted is not items:
            items, new = admitted, [claimed for claimed in new if claimed in admitted]
        if items:
            items = await self._claims.claim(lease, items, new)
        lease.add(items)
        return items

    async def audit(self, lease: Lease) -> int:
        """Give back what is in our flight, or `processing` under our claims, and not in `lease.tasks`; how many.

        Runs in the claiming task, between claims, so that nothing is on its way meanwhile: what we do not know then
        comes from an answer that was lost or a statement that arrived late. Raises QueueUnavailable, StoreUnavailable.
        """
        numbers = await self._queue.numbers(lease.id) - set(lease.tasks)
        given = 0
        if numbers:
            back = await self._queue.give_back(lease.id, [(number, 0, b"") for number in numbers])
            given = sum(back.values())
        return given + await self._claims.audit(lease)

    async def _take(
        self, lease: Lease, count: int, spare_ids: list[UUID], on_task_available: Callable[[], None] | None
    ) -> dict[int, bytes]:
        """The same claim again until it is answered: Redis tells a repeated one by its start number."""
        start, count = lease.next_number, min(count, CLAIM_MAX)
        # After an empty answer too, or a late send of this claim could still take. Before the send: a cancelled claim
        # may have filled all of its numbers, and one of another size must not put its tasks in their place.
        lease.next_number = start + count
        quotas = self._served.quotas(count)
        claim = partial(self._queue.claim, lease.id, start=start, count=count, spare_ids=spare_ids, quotas=quotas)
        if on_task_available is None:
            return await self._until_answered(claim)
        try:
            return await claim(on_task_available=on_task_available)
        except QueueUnavailable:
            on_task_available()
            if not (tasks := await self._until_answered(claim)):
                raise
            return tasks

    async def _understand(
        self, lease: Lease, raw: dict[int, bytes], spare_ids: list[UUID]
    ) -> tuple[list[ClaimedTask], list[ClaimedTask]]:
        """What may run, and those among them that came without an id: they can have no row yet."""
        now = trio.current_time()
        items: list[ClaimedTask] = []
        without_id: list[tuple[int, Task]] = []
        entries: list[tuple[int, bytes]] = []
        for number, line in raw.items():
            try:
                task = decode_task(line)
            except InvalidTask as error:
                entries.append((number, dead_letter(_as_it_came(line, spare_ids), str(error))))
                continue
            if task.job_id is None:
                without_id.append((number, msgspec.structs.replace(task, job_id=uuid7())))
            else:
                items.append(ClaimedTask.of(lease, number, task, task.job_id, now))
        if entries:
            await self._discards.bury(lease.id, entries)
        new = [claimed for claimed in items[: len(spare_ids)] if claimed.job_id in spare_ids]
        if without_id:
            with_id = await self._assign_ids(lease, without_id, now)
            new += with_id
            items += with_id
            items.sort(key=lambda claimed: claimed.number)
        return await self._without_duplicates(lease, items), new

    async def _put_off(
        self, lease: Lease, items: list[ClaimedTask], new: list[ClaimedTask]
    ) -> tuple[list[ClaimedTask], list[ClaimedTask]]:
        """Without those that another program has pushed and that are not due yet, by our clock.

        Of new ones alone: with a row, the row says when it is due, and what comes from the scheduled set was due by
        Redis's clock; a clock of ours that is behind must not send it back again and again.
        """
        now = datetime.now(UTC)
        early = {
            claimed.number: math.ceil((due - now).total_seconds() * 1000)
            for claimed in new
            if claimed.task.options.run_at is not None and (due := claimed.task.options.run_at) > now
        }
        if not early:
            return items, new
        back = [(number, delay_ms, b"") for number, delay_ms in early.items()]
        await self._until_answered(partial(self._queue.give_back, lease.id, back))
        due_now = [claimed for claimed in new if claimed.number not in early]
        return [claimed for claimed in items if claimed.number not in early], due_now

    async def _assign_ids(self, lease: Lease, tasks: list[tuple[int, Task]], now: float) -> list[ClaimedTask]:
        """Before a row is made or the task enters any set: 2,000 equal tasks that failed became one member."""
        with_id = [(number, encode_task(task)) for number, task in tasks]
        answers = await self._until_answered(partial(self._queue.assign_ids, lease.id, with_id))
        return [
            ClaimedTask.of(lease, number, task, task.job_id, now)
            for (number, task), ours in zip(tasks, answers, strict=True)
            if ours and task.job_id is not None  # else it is no longer in this flight: no row may be made for it
        ]

    async def _without_duplicates(self, lease: Lease, items: list[ClaimedTask]) -> list[ClaimedTask]:
        unique: dict[int, ClaimedTask] = {}
        duplicates: list[int] = []
        for claimed in items:
            if claimed.key in unique or lease.is_claimed(claimed.key):
                duplicates.append(claimed.number)
            else:
                unique[claimed.key] = claimed
        if duplicates:
            await self._discards.ack(lease.id, duplicates)
        return list(unique.values())


def _as_it_came(line: bytes, spare_ids: list[UUID]) -> bytes:
    """Without the id that the claim gave it."""
    for spare_id in spare_ids:
        if line.endswith(end := b',"job_id":"%b"}' % str(spare_id).encode()):
            return line.removesuffix(end) + b"}"
    return line
