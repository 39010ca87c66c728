"""Recover: what a lease that is gone leaves behind goes back; and the orphans, of whom Redis knows nothing any more."""

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar
from uuid import UUID

import msgspec
import trio
from msgspec import Struct
from uuid_utils.compat import uuid7

from workqueue.core.errors import InvalidTask, KeyOfAnotherType, QueueUnavailable
from workqueue.core.job import JobState
from workqueue.core.queue import Inspection, Queue
from workqueue.core.steps.claim import dead_letter
from workqueue.core.steps.dropped import Dropped
from workqueue.core.steps.outbox import push_waiting
from workqueue.core.steps.piggyback import ANSWER_SECONDS
from workqueue.core.steps.until_answered import UntilAnswered
from workqueue.core.store import JobStore
from workqueue.core.wire import Task, decode_task, encode_task

T = TypeVar("T")

log = logging.getLogger(__name__)

PIECE_MAX = 20  #: tasks read from a flight at a time: they may have 1 MiB each
LOOKS_TERMS = 1 / 5  #: an orphan must be absent in two looks that lie further apart than this many terms


class Recoveries(Struct):
    """What was recovered since the start."""

    leases: int = 0
    jobs: int = 0  #: that wait again
    failed: int = 0  #: whose worker died too often


class Recover:
    """Gives back the jobs of a lease that is fenced, ended or absent, in order, to the head of the queue.

    Every step may be the last one of this worker, and two workers may do it at once: whatever is left then lies in the
    flight, in an entry or under a claim, where the next one finds it. Mutable state: the counts, and the leases that were
    named because they cannot be recovered.
    """

    def __init__(
        self,
        queue: Queue,
        store: JobStore | None,
        *,
        max_recoveries: int,
        until_answered: UntilAnswered | None = None,
        dropped: Dropped | None = None,
    ) -> None:
        """`max_recoveries`: at so many deaths of its worker a job fails."""
        self._queue = queue
        self._store = store
        self._max = max_recoveries
        self._until_answered = until_answered or UntilAnswered()
        self._named: set[UUID] = set()
        self._dropped = dropped or Dropped()
        self.counts = Recoveries()

    async def run_once(self, lease: UUID) -> None:
        """Recover one lease; nothing is done to one that lives. Lasts as long as an outage does.

        A lease one of whose keys holds another type is named once and left as it is: the others wait behind it.
        """
        try:
            await self._run_once(lease)
        except KeyOfAnotherType as error:
            if lease not in self._named:
                self._named.add(lease)
                log.error("the jobs of lease %s cannot be given to others yet: %s (look at %s)",
                          lease, error, self._queue.keys.flight(lease))  # fmt: skip

    async def _bury_odd(self, lease: UUID, fields: list[bytes]) -> None:
        """Fields that another program wrote: whole into the dead letters, or the lease could never be retired."""
        for begin in range(0, len(fields), PIECE_MAX):
            found = await self._ask(partial(self._queue.odd_tasks, lease, fields[begin : begin + PIECE_MAX]))
            reason = f"it lay in the flight of lease {lease} under a name that is no number"
            entries = [(field, dead_letter(value, reason)) for field, value in found.items()]
            if entries:
                await self._bury_all(lease, entries)

    async def _ask(self, trip: Callable[[], Awaitable[T]]) -> T:
        return await self._until_answered(trip, unless=(KeyOfAnotherType,))

    async def _run_once(self, lease: UUID) -> None:
        found = await self._ask(partial(self._queue.inspect, lease))
        if found.score is not None and found.score > 0:
            return
        # Ended clean: it stopped by itself. Absent: Redis lost it, and no worker is to blame.
        blameless = found.score is None or found.score == -1
        before = self.counts.jobs
        if self._store is None:
            await self._empty_flight(lease, found, blameless)
        else:
            await self._recover_rows(self._store, lease, found, blameless)
        await self._bury_odd(lease, found.odd)
        await self._ask(partial(self._queue.retire, lease))
        self.counts.leases += 1
        if (jobs := self.counts.jobs - before) or found.numbers:
            log.warning("recovered %d jobs of the lease %s, which %s", jobs, lease, _end(found.score))

    # --- Redis only: the task is all there is

    async def _empty_flight(self, lease: UUID, found: Inspection, blameless: bool) -> None:
        for numbers in _pieces(found.numbers):
            tasks = await self._ask(partial(self._queue.flight_tasks, lease, numbers))
            back: list[tuple[int, int, bytes]] = []
            for number, line in tasks.items():
                try:
                    task = decode_task(line)
                except InvalidTask:
                    back.append((number, 0, b""))  # whoever claims it buries it
                    continue
                task = self._counted(task, number, found, blameless)
                if not blameless and task.recoveries >= self._max:
                    await self._bury(lease, number, task)
                else:
                    back.append((number, 0, encode_task(task)))
            if back:
                given = await self._ask(partial(self._queue.give_back, lease, back))
                self.counts.jobs += sum(given.values())

    @staticmethod
    def _counted(task: Task, number: int, found: Inspection, blameless: bool) -> Task:
        if blameless:
            return msgspec.structs.replace(task, interruptions=task.interruptions + 1)
        # One that was suspected already and is not known to have started was a neighbour only.
        blamed = task.recoveries == 0 or number in found.suspect_starts
        return msgspec.structs.replace(task, recoveries=task.recoveries + blamed)

    async def _bury(self, lease: UUID, number: int, task: Task) -> None:
        reason = f"its worker died {task.recoveries} times while it ran"
        log.error("job %s (%s) failed: %s", task.job_id, task.type, reason)
        self.counts.failed += 1
        await self._bury_all(lease, [(number, dead_letter(encode_task(task), reason))])

    async def _bury_all(self, lease: UUID, entries: Sequence[tuple[int | bytes, bytes]]) -> None:
        self._dropped.add(await self._ask(partial(self._queue.bury, lease, entries)))

    # --- with Postgres: the row decides

    async def _recover_rows(self, store: JobStore, lease: UUID, found: Inspection, blameless: bool) -> None:
        started = [
            task.job_id for task in (await self._read(lease, sorted(found.suspect_starts))).values() if task.job_id
        ]
        inserted_at = trio.current_time()

        async def send() -> tuple[UUID, dict[UUID, JobState]]:
            # Each send makes an entry of its own. That of one whose answer was lost is left to the sweep: it may come
            # late, and must add nothing to an outbox entry that is about to go.
            batch = uuid7()
            states = await store.recover(
                lease, self._queue.name, batch, blameless=blameless, started=started, max_recoveries=self._max
            )
            return batch, states

        batch, states = await self._ask(send)
        for job_id, state in states.items():
            if state is JobState.FAILED:
                log.error("job %s failed: its worker died too often while it ran", job_id)
                self.counts.failed += 1
        waiting = {job_id for job_id, state in states.items() if state is JobState.PENDING}
        self.counts.jobs += len(waiting)
        missing = waiting - await self._give_flight_back(lease, found)
        if not await self._push_missing(store, sorted(missing)):
            return  # some may be in Redis twice already: the outbox entry stays, and the sweep does it once
        if waiting and trio.current_time() - inserted_at <= ANSWER_SECONDS:
            await self._ask(partial(store.delete_outbox, [batch]))

    async def _give_flight_back(self, lease: UUID, found: Inspection) -> set[UUID]:
        """The jobs whose tasks are in the ready list now."""
        returned: set[UUID] = set()
        for numbers in _pieces(found.numbers):
            tasks = await self._read(lease, numbers)
            given = await self._ask(partial(self._queue.give_back, lease, [(number, 0, b"") for number in numbers]))
            returned.update(task.job_id for number, task in tasks.items() if task.job_id and given.get(number))
        return returned

    async def _read(self, lease: UUID, numbers: list[int]) -> dict[int, Task]:
        tasks: dict[int, Task] = {}
        for begin in range(0, len(numbers), PIECE_MAX):
            piece = numbers[begin : begin + PIECE_MAX]
            for number, line in (await self._ask(partial(self._queue.flight_tasks, lease, piece))).items():
                try:
                    tasks[number] = decode_task(line)
                except InvalidTask:
                    continue  # goes back as it is; whoever claims it buries it
        return tasks

    async def _push_missing(self, store: JobStore, ids: list[UUID]) -> bool:
        """Push what was in no flight, once: each further send would leave a copy. False: no answer."""
        if not ids:
            return True
        try:
            await push_waiting(self._queue, partial(self._waiting, store), ids)
        except QueueUnavailable:
            return False
        return True

    async def _waiting(
        self, store: JobStore, ids: list[UUID], *, after: UUID | None, bytes_max: int
    ) -> list[tuple[UUID, int, Task]]:
        return await self._ask(partial(store.waiting, ids, after=after, bytes_max=bytes_max))


class Orphans:
    """Finds owners of jobs that are no lease any more: Redis lost them, or a claim arrived after the recovery.

    Mutable state: since when each of them has been seen absent.
    """

    def __init__(
        self, queue: Queue, store: JobStore | None, *, term_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._queue = queue
        self._store = store
        self._pause = term_seconds * LOOKS_TERMS
        self._clock = clock
        self._absent: dict[UUID, float] = {}

    async def run_once(self) -> list[UUID]:
        """The orphans that were absent in two looks. Raises QueueUnavailable, StoreUnavailable."""
        # Owners first, leases second: else a lease that was taken in between would look absent.
        owners = await self._queue.published_leases()
        if self._store is not None:
            owners |= await self._store.owners(self._queue.name)
        absent = owners - set(await self._queue.lease_scores())
        now = self._clock()
        self._absent = {lease: self._absent.get(lease, now) for lease in absent}
        return [lease for lease, since in self._absent.items() if now - since > self._pause]


def _pieces(numbers: set[int]) -> list[list[int]]:
    """The highest first: each piece goes to the head of the list, so that the order is kept."""
    ordered = sorted(numbers, reverse=True)
    return [ordered[begin : begin + PIECE_MAX] for begin in range(0, len(ordered), PIECE_MAX)]


def _end(score: float | None) -> str:
    if score is None:
        return "Redis does not know any more"
    return "had ended with them" if score == -1 else "was not renewed"
