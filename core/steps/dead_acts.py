"""What a person does with dead letters: look, retry, delete. With rows, the row of its job says what a retry means."""

from collections.abc import Collection, Sequence
from typing import Protocol
from uuid import UUID

import trio
from msgspec import Struct

from workqueue.core.dead_letter import dead_letter_id, read_dead_letter, task_to_retry
from workqueue.core.errors import InvalidTask
from workqueue.core.job import JobState
from workqueue.core.queue import DEAD_READ_MAX, DeadPage, Queue
from workqueue.core.steps.acts import Acts
from workqueue.core.store import Acted, JobStore
from workqueue.core.wire import Task, encode_task

ACT_SECONDS = 15.0  #: no further batch begins then, and the answer says what is left: a request has to end
REASONS_MAX = 100  #: entries that stay are named, so many of them; all are counted

#: What is said of a task that must not be pushed; "": its row has it pushed. Those that are missing are pushed.
Verdicts = dict[UUID, str]


class Stays(Struct, frozen=True):
    """An entry that could not be retried, and why."""

    id: str
    why: str


class Retried(Struct):
    """What a retry has done so far."""

    retried: int = 0  #: entries that went
    kept: int = 0  #: entries that cannot be retried as they are, and stay
    reasons: list[Stays] = []  #: of the first of them
    missing: list[str] = []  #: ids of no entry
    left: int = 0  #: that were not come to within ACT_SECONDS: repeat it


class Deleted(Struct):
    """What a deletion has done so far."""

    deleted: int = 0
    missing: list[str] = []
    left: int = 0


class JudgeRetries(Protocol):
    """What the rows say of tasks that are to be retried."""

    async def __call__(self, ids: Collection[UUID]) -> Verdicts: ...


async def push_all(ids: Collection[UUID]) -> Verdicts:
    """Without rows the task is all there is."""
    return {}


class RowsDecide:
    """With rows. A task whose job has ended would be dropped as a duplicate by the worker that claims it, and be lost.

    So a job that failed or was cancelled is retried by its row, as by Acts.retry, and the entry goes once the row says
    so. A task without a row (it comes from a time without Postgres, or Postgres had refused its values) is pushed, and
    gets its row at the claim; so is one whose job is pending: a copy does no harm.
    """

    def __init__(self, queue_name: str, store: JobStore, acts: Acts) -> None:
        self._queue_name = queue_name
        self._store = store
        self._acts = acts

    async def __call__(self, ids: Collection[UUID]) -> Verdicts:
        """Retry what has failed, at most ACTED_MAX ids at a time. Raises StoreUnavailable: it may be repeated."""
        if not ids:
            return {}
        verdicts: Verdicts = {}
        ended: list[UUID] = []
        for job_id, status in (await self._store.get_status(list(ids))).items():
            if status.queue != self._queue_name:
                verdicts[job_id] = f"job {job_id} belongs to queue {status.queue}"
            elif status.state in {JobState.FAILED, JobState.CANCELLED}:
                ended.append(job_id)
            elif status.state != JobState.PENDING:
                verdicts[job_id] = _why_not(job_id, status.state)
        acted = await self._acts.retry(ended) if ended else {}
        return verdicts | {job_id: _verdict(job_id, acted.get(job_id)) for job_id in ended}


def _verdict(job_id: UUID, acted: Acted | None) -> str:
    if acted is None:
        return f"job {job_id} was deleted"
    return "" if acted.state == JobState.PENDING else _why_not(job_id, acted.state)


def _why_not(job_id: UUID, state: JobState) -> str:
    return f"job {job_id} is {state}"


class DeadLetters:
    """The dead letters of one queue. Bounded: one piece of the list is in memory at a time (Queue.read_dead).

    Raises QueueUnavailable and StoreUnavailable: it is not known then what of the last batch was done; it may be
    repeated, and never pushes a task twice. Cancelled or killed: the same. Workers may add entries at any time, and
    several callers may act at once.
    """

    def __init__(self, queue: Queue, judge: JudgeRetries = push_all) -> None:
        self._queue = queue
        self._judge = judge

    async def page(self, place: int, *, after: str, limit: int) -> DeadPage:
        """Up to `limit` entries from a place on, the newest first (Queue.read_dead); fewer where they are large."""
        return await self._queue.read_dead(place, after=after, count=limit)

    async def find(self, wanted: str) -> bytes | None:
        """The entry with this id, the newest of its copies. Looks through the list in pieces."""
        place: int | None = 0
        while place is not None:
            page = await self._queue.read_dead(place, only=[wanted])
            if page.entries:
                return page.entries[0]
            place = page.next
        return None

    async def retry(self, ids: Collection[str]) -> Retried:
        """Push the tasks of these entries, each with all of its copies; what is no task stays."""
        done = Retried()
        wanted, begun, place = set(ids), trio.current_time(), _start(ids)
        while place is not None and wanted:
            if trio.current_time() - begun > ACT_SECONDS:
                done.left = len(wanted)
                return done
            page = await self._queue.read_dead(place, only=wanted)
            found = list(dict.fromkeys(reversed(page.entries)))
            gone = await self._retry(found, done, with_copies=True)
            wanted.difference_update(map(dead_letter_id, found))
            place = _back(page.next, gone)
        done.missing = sorted(wanted)
        return done

    async def retry_all(self) -> Retried:
        """Push the task of each entry that is there now, the oldest first; what is no task stays."""
        done = Retried()
        begun, place, looked_at = trio.current_time(), 0, 0
        total: int | None = None
        while total is None or looked_at < total:  # what fails again meanwhile comes behind these, and is left alone
            if trio.current_time() - begun > ACT_SECONDS:
                done.left = (total or 0) - looked_at
                break
            count = DEAD_READ_MAX if total is None else min(DEAD_READ_MAX, total - looked_at)
            page = await self._queue.read_dead(place, oldest_first=True, count=count)
            total = page.total if total is None else total
            if not page.entries:
                break
            kept_before = done.kept
            await self._retry(page.entries, done, with_copies=False)
            place += done.kept - kept_before
            looked_at += len(page.entries)
        return done

    async def delete(self, ids: Collection[str]) -> Deleted:
        """Delete these entries, each with all of its copies."""
        done = Deleted()
        wanted, begun, place = set(ids), trio.current_time(), _start(ids)
        while place is not None and wanted:
            if trio.current_time() - begun > ACT_SECONDS:
                done.left = len(wanted)
                return done
            page = await self._queue.read_dead(place, only=wanted)
            found = list(dict.fromkeys(page.entries))
            gone = sum(await self._queue.unbury([(entry, b"") for entry in found], with_copies=True))
            done.deleted += gone
            wanted.difference_update(map(dead_letter_id, found))
            place = _back(page.next, gone)
        done.missing = sorted(wanted)
        return done

    async def delete_all(self) -> Deleted:
        """Delete every entry, in one transaction."""
        return Deleted(await self._queue.clear_dead())

    async def _retry(self, entries: Sequence[bytes], done: Retried, *, with_copies: bool) -> int:
        """Retry what can be of one piece, and note it; how many entries have gone."""
        tasks: list[tuple[bytes, str, Task]] = []
        for entry in entries:
            letter = read_dead_letter(entry)
            try:
                tasks.append((entry, letter.id, task_to_retry(letter)))
            except InvalidTask as error:
                _keep(done, letter.id, str(error))
        # The rows first: killed between the two, the job waits, and the next retry finds the entry there still.
        verdicts = await self._judge({task.job_id for _, _, task in tasks if task.job_id is not None})
        moves: list[tuple[bytes, bytes]] = []
        for entry, named, task in tasks:
            why = None if task.job_id is None else verdicts.get(task.job_id)
            if why:
                _keep(done, named, why)
            else:
                moves.append((entry, encode_task(task) if why is None else b""))
        gone = sum(await self._queue.unbury(moves, with_copies=with_copies)) if moves else 0
        done.retried += gone
        return gone


def _keep(done: Retried, named: str, why: str) -> None:
    done.kept += 1
    if len(done.reasons) < REASONS_MAX:
        done.reasons.append(Stays(named, why))


def _start(ids: Collection[str]) -> int | None:
    """Where a walk begins that looks for some; without any it ends at once: no ids are not all of them."""
    return 0 if ids else None


def _back(following: int | None, gone: int) -> int | None:
    """Where a walk to older entries goes on after so many have gone, at most, of those that it has passed."""
    return None if following is None else max(0, following - gone)
