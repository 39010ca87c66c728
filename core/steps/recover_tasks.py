"""Recover, Redis only: the task is all there is, and carries its counters."""

import logging
from functools import partial
from uuid import UUID

import msgspec

from workqueue.core.dead_letter import dead_letter
from workqueue.core.errors import InvalidTask
from workqueue.core.queue import Inspection
from workqueue.core.steps.recover import Flight, pieces
from workqueue.core.steps.settle import held_by
from workqueue.core.wire import Task, decode_task, encode_task

log = logging.getLogger(__name__)


class TaskRecovery:
    """Recovery by the tasks in the flight."""

    def __init__(self, flight: Flight, *, max_recoveries: int) -> None:
        """`max_recoveries`: at so many deaths of its worker a job fails."""
        self._flight = flight
        self._queue = flight.queue
        self._max = max_recoveries

    async def empty(self, lease: UUID, found: Inspection, *, blameless: bool) -> None:
        """Recovery.empty."""
        for numbers in pieces(found.numbers):
            tasks = await self._flight.ask(partial(self._queue.flight_tasks, lease, numbers))
            back: list[tuple[int, int, bytes]] = []
            for number, line in tasks.items():
                try:
                    task = decode_task(line)
                except InvalidTask:
                    back.append((number, 0, b""))  # the worker that claims it buries it
                    continue
                task = _counted(task, number, found, blameless)
                if not blameless and task.counters.recoveries >= self._max:
                    await self._bury(lease, number, task)
                else:
                    back.append((number, 0, encode_task(task)))
            if back:
                given = await self._flight.ask(partial(self._queue.give_back, lease, back))
                self._flight.counts.jobs += sum(given.values())

    async def _bury(self, lease: UUID, number: int, task: Task) -> None:
        reason = f"its worker died {task.counters.recoveries} times while it ran"
        log.error("job %s (%s) failed: %s", task.job_id, task.type, reason)
        self._flight.counts.failed += 1
        held = held_by(task.options, task.job_id)
        entry = dead_letter(encode_task(task), reason)
        await self._flight.bury(lease, [(number, entry)], None if held is None else {number: held})


def _counted(task: Task, number: int, found: Inspection, blameless: bool) -> Task:
    counters = task.counters
    if blameless:
        counters = msgspec.structs.replace(counters, interruptions=counters.interruptions + 1)
    else:  # one that was suspected already and is not known to have started was a neighbour only
        blamed = counters.recoveries == 0 or number in found.suspect_starts
        counters = msgspec.structs.replace(counters, recoveries=counters.recoveries + blamed)
    return msgspec.structs.replace(task, counters=counters)
