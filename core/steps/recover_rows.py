"""Recover, with Postgres: rows first, then the flight; what was in no flight is pushed anew."""

import logging
from functools import partial
from uuid import UUID

import trio
from uuid_utils.compat import uuid7

from workqueue.core.errors import InvalidTask, QueueUnavailable
from workqueue.core.job import JobState
from workqueue.core.queue import Inspection
from workqueue.core.steps.outbox import push_waiting
from workqueue.core.steps.piggyback import ANSWER_SECONDS
from workqueue.core.steps.recover import PIECE_MAX, Flight, pieces
from workqueue.core.store import JobStore
from workqueue.core.wire import Task, decode_task

log = logging.getLogger(__name__)


class RowRecovery:
    """Recovery by the claims of the lease."""

    def __init__(self, flight: Flight, store: JobStore, *, max_recoveries: int) -> None:
        """`max_recoveries`: at so many deaths of its worker a job fails."""
        self._flight = flight
        self._queue = flight.queue
        self._store = store
        self._max = max_recoveries

    async def empty(self, lease: UUID, found: Inspection, *, blameless: bool) -> None:
        """Recovery.empty."""
        started = [
            task.job_id for task in (await self._read(lease, sorted(found.suspect_starts))).values() if task.job_id
        ]
        inserted_at = trio.current_time()

        async def send() -> tuple[UUID, dict[UUID, JobState]]:
            # Each send makes an outbox entry of its own. That of a send without an answer is left to the relay: it may
            # come late, and must add nothing to an entry that is about to go.
            batch = uuid7()
            states = await self._store.recover(
                lease, self._queue.name, batch, blameless=blameless, started=started, max_recoveries=self._max
            )
            return batch, states

        batch, states = await self._flight.ask(send)
        for job_id, state in states.items():
            if state is JobState.FAILED:
                log.error("job %s failed: its worker died too often while it ran", job_id)
                self._flight.counts.failed += 1
        self._flight.counts.cancelled += sum(state is JobState.CANCELLED for state in states.values())
        waiting = {job_id for job_id, state in states.items() if state is JobState.PENDING}
        self._flight.counts.jobs += len(waiting)
        missing = waiting - await self._give_flight_back(lease, found)
        if not await self._push_missing(sorted(missing)):
            return  # some may be in Redis twice already: the outbox entry stays, and the relay does it once
        if waiting and trio.current_time() - inserted_at <= ANSWER_SECONDS:
            await self._flight.ask(partial(self._store.delete_outbox, [batch]))

    async def _give_flight_back(self, lease: UUID, found: Inspection) -> set[UUID]:
        """The jobs whose tasks are in the ready list now."""
        returned: set[UUID] = set()
        for numbers in pieces(found.numbers):
            tasks = await self._read(lease, numbers)
            given = await self._flight.ask(
                partial(self._queue.give_back, lease, [(number, 0, b"") for number in numbers])
            )
            returned.update(task.job_id for number, task in tasks.items() if task.job_id and given.get(number))
        return returned

    async def _read(self, lease: UUID, numbers: list[int]) -> dict[int, Task]:
        tasks: dict[int, Task] = {}
        for begin in range(0, len(numbers), PIECE_MAX):
            piece = numbers[begin : begin + PIECE_MAX]
            for number, line in (await self._flight.ask(partial(self._queue.flight_tasks, lease, piece))).items():
                try:
                    tasks[number] = decode_task(line)
                except InvalidTask:
                    continue  # goes back as it is; the worker that claims it buries it
        return tasks

    async def _push_missing(self, ids: list[UUID]) -> bool:
        """Push what was in no flight, once: each further send would leave a copy. False: no answer."""
        if not ids:
            return True
        try:
            await push_waiting(self._queue, self._waiting, ids)
        except QueueUnavailable:
            return False
        return True

    async def _waiting(self, ids: list[UUID], *, after: UUID | None, bytes_max: int) -> list[tuple[UUID, int, Task]]:
        return await self._flight.ask(partial(self._store.waiting, ids, after=after, bytes_max=bytes_max))
