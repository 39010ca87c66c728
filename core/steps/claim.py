"""Claim: tasks from Redis, then their rows; and the audit, which gives back what a lost answer left behind."""

import base64
import logging
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from functools import partial
from uuid import UUID

import msgspec
import trio
from msgspec import Struct
from uuid_utils.compat import uuid4, uuid7

from workqueue.core.errors import InvalidTask, QueueUnavailable, StoreRefused, StoreUnavailable
from workqueue.core.ids import new_ids
from workqueue.core.job import TERMINAL, JobState
from workqueue.core.queue import Queue
from workqueue.core.steps.dropped import Dropped
from workqueue.core.steps.lease import ClaimedTask, Lease
from workqueue.core.steps.piggyback import Piggyback
from workqueue.core.steps.until_answered import UntilAnswered
from workqueue.core.store import Counters, JobStore, Requeue, RowStatus
from workqueue.core.store.jobs import clean
from workqueue.core.wire import Task, decode_task, encode_task

log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode

CLAIM_MAX = 1000
SPARE_IDS_MAX = 10  #: for so many tasks that came without a name the claim brings one along
WORKER_LENGTH_MAX = 300
LOCKED_DELAY_MS = 1000  #: a row that somebody else has locked: its task comes again after this
AUDIT_SECONDS = 5.0
CLAIM_TRIES = 10  #: of adopting external tasks in one claim; beyond, what is left goes back


class ClaimCounts(Struct):
    """What the claim met and did not run, counted since the start."""

    duplicates: int = 0  #: of jobs that run or have ended
    invalid: int = 0  #: moved to the dead letters


class Claim:
    """Claims for one worker. One claim at a time: the caller is a single task.

    Mutable state: the counts, and the lease's numbers and holdings (steps/lease.py).
    """

    def __init__(
        self,
        queue: Queue,
        store: JobStore | None,
        piggyback: Piggyback,
        worker: str,
        until_answered: UntilAnswered | None = None,
        dropped: Dropped | None = None,
    ) -> None:
        self._queue = queue
        self._store = store
        self._piggyback = piggyback
        self._worker = clean(worker, WORKER_LENGTH_MAX) or ""
        self._until_answered = until_answered or UntilAnswered()
        self.counts = ClaimCounts()
        self._dropped = dropped or Dropped()

    async def run_once(
        self, lease: Lease, count: int, on_task_available: Callable[[], None] | None = None
    ) -> list[ClaimedTask]:
        """Take up to `count` tasks; what is returned is ours, with_id and (with Postgres) `processing` under our token.

        `on_task_available`: wait for a task first (Queue.claim). Then QueueUnavailable is raised where nothing could be waited for.
        Raises LeaseLost. Lasts as long as an outage does. Cancelled anywhere: the tasks lie in the lease's flight and
        perhaps their rows are ours; the audit, or whoever recovers the lease, gives both back.
        """
        spare_ids = new_ids(min(count, SPARE_IDS_MAX))
        raw = await self._take(lease, count, spare_ids, on_task_available)
        items, new = await self._understand(lease, raw, spare_ids)
        if items and self._store is not None:
            items = await self._claim_rows(self._store, lease, items, new)
        lease.add(items)
        return items

    async def _take(
        self, lease: Lease, count: int, spare_ids: list[UUID], on_task_available: Callable[[], None] | None
    ) -> dict[int, bytes]:
        """The same claim again until it is answered: Redis tells a repeated one by its start number."""
        start, count = lease.next_number, min(count, CLAIM_MAX)
        # After an empty answer too, or a late send of this claim could still take. Before the send: a cancelled claim
        # may have filled all of its numbers, and one of another size must not put its tasks in their place.
        lease.next_number = start + count
        claim = partial(self._queue.claim, lease.id, start=start, count=count, spare_ids=spare_ids)
        if on_task_available is None:
            return await self._until_answered(claim)
        try:
            return await claim(on_task_available=on_task_available)
        except QueueUnavailable:
            on_task_available()
            if not (tasks := await self._until_answered(claim)):
                raise
            return tasks

    # --- decode and name

    async def _understand(
        self, lease: Lease, raw: dict[int, bytes], spare_ids: list[UUID]
    ) -> tuple[list[ClaimedTask], list[ClaimedTask]]:
        """What may run, and those among them that had no name: no row of theirs can be there yet.

        `spare_ids`: what the claim brought along for them.
        """
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
            self.counts.invalid += len(entries)
            await self._bury(lease, entries)
        new = [claimed for claimed in items[: len(spare_ids)] if claimed.job_id in spare_ids]
        if without_id:
            with_id = await self._assign_ids(lease, without_id, now)
            new += with_id
            items += with_id
            items.sort(key=lambda claimed: claimed.number)
        return await self._without_duplicates(lease, items), new

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
            self.counts.duplicates += len(duplicates)
            await self._until_answered(partial(self._queue.ack, lease.id, duplicates))
        return list(unique.values())

    async def _bury(self, lease: Lease, entries: list[tuple[int, bytes]]) -> None:
        for _, entry in entries:
            log.warning("a task was moved to the dead letters: %.200s", entry.decode())
        self._dropped.add(await self._until_answered(partial(self._queue.bury, lease.id, entries)))

    # --- rows

    async def _claim_rows(
        self, store: JobStore, lease: Lease, items: list[ClaimedTask], new: Sequence[ClaimedTask]
    ) -> list[ClaimedTask]:
        """Those whose rows are ours now. `new` are those among them that can have no row yet."""
        waiting = {claimed.key: claimed for claimed in sorted(items, key=lambda claimed: claimed.key)}
        ours: list[ClaimedTask] = []
        earlier: list[UUID] = []  # tokens of sends without an answer
        if new:
            earlier = await self._adopt(store, lease, waiting, {claimed.key: claimed for claimed in new}, ours)
        for _ in range(CLAIM_TRIES):
            if not waiting:
                break
            ids = [claimed.job_id for claimed in waiting.values()]
            token, rows = await self._send_claim(store, lease, ids, earlier)
            for key, counters in rows.items():
                claimed = waiting.pop(key)
                claimed.token, claimed.counters = token, counters
                ours.append(claimed)
            if waiting:
                statuses = await self._until_answered(
                    partial(store.get_status, [claimed.job_id for claimed in waiting.values()])
                )
                known = [waiting.pop(job_id.int) for job_id in statuses]
                await self._put_away(lease, known, statuses, earlier)
            if waiting:
                earlier += await self._adopt(store, lease, waiting, dict(waiting), ours)
        if waiting:  # rows that neither exist nor can be made: the audit gives their tasks back
            log.error("%d tasks of a claim got no rows and go back", len(waiting))
        # The tokens of `earlier` stay: a statement without an answer may still come, when its job waits for a retry,
        # and would find its claim forgotten. The audit forgets it once it has seen it.
        return sorted(
            ours, key=lambda claimed: claimed.number
        )  # first in, first out: rows come in an order of their own

    async def _send_claim(
        self, store: JobStore, lease: Lease, ids: list[UUID], earlier: list[UUID]
    ) -> tuple[UUID, dict[int, Counters]]:
        """Each send has a token of its own and takes over what the sends before it got: a late one gets nothing.

        `earlier` grows by the token of each send that had no answer.
        """

        async def send() -> tuple[UUID, dict[int, Counters]]:
            token = uuid4()
            try:
                with self._piggyback.claims() as finished:
                    rows = await store.claim(
                        ids,
                        token,
                        queue=self._queue.name,
                        owner=lease.id,
                        worker=self._worker,
                        earlier=earlier,
                        done_claims=finished,
                    )
            except BaseException:
                earlier.append(token)
                raise
            return token, rows

        return await self._until_answered(send)

    async def _adopt(
        self,
        store: JobStore,
        lease: Lease,
        waiting: dict[int, ClaimedTask],
        external: dict[int, ClaimedTask],
        ours: list[ClaimedTask],
    ) -> list[UUID]:
        """Make rows for external tasks. One try, answered or not: the next claim tells whose the rest is.

        Moves what became ours from `waiting` to `ours`; returns the tokens under which more of it may be ours.
        """
        adopt = partial(store.adopt, queue=self._queue.name, owner=lease.id, worker=self._worker)
        unanswered: list[UUID] = []

        async def send(some: list[ClaimedTask]) -> None:
            token = uuid4()
            try:
                made = await adopt([(claimed.job_id, claimed.task) for claimed in some], token)
            except StoreUnavailable:
                unanswered.append(token)
                return
            for key in made:
                claimed = waiting.pop(key)
                claimed.token = token
                ours.append(claimed)

        try:
            await send(list(external.values()))
        except StoreRefused:
            refused: list[tuple[int, bytes]] = []
            for claimed in external.values():  # one of them has a value that Postgres does not take
                try:
                    await send([claimed])
                except StoreRefused as error:
                    del waiting[claimed.key]
                    refused.append((claimed.number, dead_letter(encode_task(claimed.task), str(error))))
            if refused:
                self.counts.invalid += len(refused)
                await self._bury(lease, refused)
        return unanswered

    async def _put_away(
        self, lease: Lease, items: list[ClaimedTask], statuses: dict[UUID, RowStatus], mine: Collection[UUID]
    ) -> None:
        """Tasks whose rows this claim did not get; `mine` are the tokens of its earlier sends."""
        duplicates: list[int] = []
        back: list[tuple[int, int, bytes]] = []
        strange: list[tuple[int, bytes]] = []
        for claimed in items:
            status = statuses[claimed.job_id]
            if status.queue != self._queue.name:
                reason = f"job {claimed.job_id} belongs to queue {status.queue}"
                strange.append((claimed.number, dead_letter(encode_task(claimed.task), reason)))
            elif status.state == JobState.PROCESSING and status.token in mine:
                continue  # ours, by a send without an answer, and locked now: the audit gives task and row back
            elif status.state in TERMINAL or status.state == JobState.PROCESSING:
                duplicates.append(claimed.number)
            else:  # pending: early, or locked by somebody when we came
                back.append((claimed.number, status.delay_ms or LOCKED_DELAY_MS, b""))
        if duplicates:
            self.counts.duplicates += len(duplicates)
            await self._until_answered(partial(self._queue.ack, lease.id, duplicates))
        if back:
            await self._until_answered(partial(self._queue.give_back, lease.id, back))
        if strange:
            self.counts.invalid += len(strange)
            await self._bury(lease, strange)

    # --- audit

    async def audit(self, lease: Lease) -> int:
        """Give back what is in our flight, or `processing` under our claims, and not claimed; returns how many.

        Runs in the claiming task, between claims, so that nothing is on its way meanwhile: what we do not hold then
        comes from an answer that was lost or a statement that arrived late. Raises QueueUnavailable, StoreUnavailable.
        """
        numbers = await self._queue.numbers(lease.id) - set(lease.tasks)
        given = 0
        if numbers:
            back = await self._queue.give_back(lease.id, [(number, 0, b"") for number in numbers])
            given = sum(back.values())
        if self._store is not None:
            given += await self._audit_rows(self._store, lease)
        return given

    async def _audit_rows(self, store: JobStore, lease: Lease) -> int:
        claims = await store.owned(lease.id)
        pairs = lease.pairs()
        strays = [(token, job_id) for token, ids in claims.items() for job_id in ids if (token, job_id) not in pairs]
        held_tokens = {token for token, _ in pairs}
        for token in claims:
            if token not in held_tokens and not claims[token]:
                self._piggyback.finished(token)  # a claim of which nothing is left
        if strays:
            requeues = [Requeue(id=job_id, token=token, counter="none", delay_ms=0) for token, job_id in sorted(strays)]
            try:
                await store.requeue(uuid7(), self._queue.name, requeues)  # the sweep pushes them
            except StoreRefused as error:  # there is no text in them
                raise StoreUnavailable(str(error)) from error
        return len(strays)


class _DeadLetter(Struct, omit_defaults=True, gc=False):
    reason: str
    at: datetime
    task: str | None = None
    task_base64: str | None = None


def _as_it_came(line: bytes, spare_ids: list[UUID]) -> bytes:
    """Without the name that the claim gave it."""
    for name in spare_ids:
        if line.endswith(end := b',"job_id":"%b"}' % str(name).encode()):
            return line.removesuffix(end) + b"}"
    return line


def dead_letter(line: bytes, reason: str) -> bytes:
    """An entry of the dead letters: the task whole, as text where it is text, why, and when (for people to read)."""
    at = datetime.now(UTC).replace(microsecond=0)
    try:
        return _encode(_DeadLetter(reason, at, line.decode()))
    except UnicodeDecodeError:
        return _encode(_DeadLetter(reason, at, None, base64.b64encode(line).decode()))
