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
from workqueue.core.steps.lease import Held, Lease
from workqueue.core.steps.marks import Ledger, Leftovers
from workqueue.core.steps.until_answered import UntilAnswered
from workqueue.core.store import Counters, JobStore, Look, Release
from workqueue.core.store.jobs import clean
from workqueue.core.wire import Task, decode_task, encode_task

log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode

CLAIM_MAX = 1000
NAMES = 10  #: for so many tasks that came without a name the claim brings one along
WORKER_LENGTH_MAX = 300
LOCKED_DELAY_MS = 1000  #: a row that somebody else has locked: its task comes again after this
AUDIT_SECONDS = 5.0
CLAIM_TRIES = 10  #: of adopting foreign tasks in one claim; beyond, what is left goes back


class Copies(Struct):
    """What the claim met and did not run, counted since the start."""

    copies: int = 0  #: of jobs that run or have ended
    invalid: int = 0  #: moved to the dead letters


class Claim:
    """Claims for one worker. One claim at a time: the caller is a single task.

    Mutable state: the counts, and the lease's numbers and holdings (steps/lease.py).
    """

    def __init__(
        self,
        queue: Queue,
        store: JobStore | None,
        ledger: Ledger,
        worker: str,
        until_answered: UntilAnswered | None = None,
        dropped: Dropped | None = None,
    ) -> None:
        self._queue = queue
        self._store = store
        self._ledger = ledger
        self._worker = clean(worker, WORKER_LENGTH_MAX) or ""
        self._until_answered = until_answered or UntilAnswered()
        self.counts = Copies()
        self._dropped = dropped or Dropped()

    async def run_once(self, lease: Lease, count: int, found: Callable[[], None] | None = None) -> list[Held]:
        """Take up to `count` tasks; what is returned is ours, named and (with Postgres) `processing` under our token.

        `found`: wait for a task first (Queue.claim). Then QueueUnavailable is raised where nothing could be waited for.
        Raises LeaseLost. Lasts as long as an outage does. Cancelled anywhere: the tasks lie in the lease's flight and
        perhaps their rows are ours; the audit, or whoever recovers the lease, gives both back.
        """
        names = new_ids(min(count, NAMES))
        raw = await self._take(lease, count, names, found)
        items, new = await self._understand(lease, raw, names)
        if items and self._store is not None:
            items = await self._claim_rows(self._store, lease, items, new)
        lease.hold(items)
        return items

    async def _take(
        self, lease: Lease, count: int, names: list[UUID], found: Callable[[], None] | None
    ) -> dict[int, bytes]:
        """The same claim again until it is answered: Redis tells a repeated one by its start number."""
        start, count = lease.next_number, min(count, CLAIM_MAX)
        # After an empty answer too, or a late send of this claim could still take. Before the send: a cancelled claim
        # may have filled all of its numbers, and one of another size must not put its tasks in their place.
        lease.next_number = start + count
        claim = partial(self._queue.claim, lease.id, start=start, count=count, names=names)
        if found is None:
            return await self._until_answered(claim)
        try:
            return await claim(found=found)
        except QueueUnavailable:
            found()
            if not (tasks := await self._until_answered(claim)):
                raise
            return tasks

    # --- decode and name

    async def _understand(
        self, lease: Lease, raw: dict[int, bytes], names: list[UUID]
    ) -> tuple[list[Held], list[Held]]:
        """What may run, and those among them that had no name: no row of theirs can be there yet.

        `names`: what the claim brought along for them.
        """
        now = trio.current_time()
        items: list[Held] = []
        unnamed: list[tuple[int, Task]] = []
        entries: list[tuple[int, bytes]] = []
        for number, line in raw.items():
            try:
                task = decode_task(line)
            except InvalidTask as error:
                entries.append((number, dead_letter(_as_it_came(line, names), str(error))))
                continue
            if task.job_id is None:
                unnamed.append((number, msgspec.structs.replace(task, job_id=uuid7())))
            else:
                items.append(Held.of(lease, number, task, task.job_id, now))
        if entries:
            self.counts.invalid += len(entries)
            await self._bury(lease, entries)
        new = [held for held in items[: len(names)] if held.job_id in names]
        if unnamed:
            named = await self._name(lease, unnamed, now)
            new += named
            items += named
            items.sort(key=lambda held: held.number)
        return await self._without_copies(lease, items), new

    async def _name(self, lease: Lease, tasks: list[tuple[int, Task]], now: float) -> list[Held]:
        """Before a row is made or the task enters any set: 2,000 equal tasks that failed became one member."""
        named = [(number, encode_task(task)) for number, task in tasks]
        answers = await self._until_answered(partial(self._queue.name_ids, lease.id, named))
        return [
            Held.of(lease, number, task, task.job_id, now)
            for (number, task), ours in zip(tasks, answers, strict=True)
            if ours and task.job_id is not None  # else it is no longer in this flight: no row may be made for it
        ]

    async def _without_copies(self, lease: Lease, items: list[Held]) -> list[Held]:
        unique: dict[int, Held] = {}
        copies: list[int] = []
        for held in items:
            if held.key in unique or lease.holds(held.key):
                copies.append(held.number)
            else:
                unique[held.key] = held
        if copies:
            self.counts.copies += len(copies)
            await self._until_answered(partial(self._queue.ack, lease.id, copies))
        return list(unique.values())

    async def _bury(self, lease: Lease, entries: list[tuple[int, bytes]]) -> None:
        for _, entry in entries:
            log.warning("a task was moved to the dead letters: %.200s", entry.decode())
        self._dropped.add(await self._until_answered(partial(self._queue.bury, lease.id, entries)))

    # --- rows

    async def _claim_rows(self, store: JobStore, lease: Lease, items: list[Held], new: Sequence[Held]) -> list[Held]:
        """Those whose rows are ours now. `new` are those among them that can have no row yet."""
        waiting = {held.key: held for held in sorted(items, key=lambda held: held.key)}
        claimed: list[Held] = []
        earlier: list[UUID] = []  # tokens of sends without an answer
        if new:
            earlier = await self._adopt(store, lease, waiting, {held.key: held for held in new}, claimed)
        for _ in range(CLAIM_TRIES):
            if not waiting:
                break
            ids = [held.job_id for held in waiting.values()]
            token, rows = await self._send_claim(store, lease, ids, earlier)
            for key, counters in rows.items():
                held = waiting.pop(key)
                held.token, held.counters = token, counters
                claimed.append(held)
            if waiting:
                looks = await self._until_answered(partial(store.look, [held.job_id for held in waiting.values()]))
                known = [waiting.pop(job_id.int) for job_id in looks]
                await self._put_away(lease, known, looks, earlier)
            if waiting:
                earlier += await self._adopt(store, lease, waiting, dict(waiting), claimed)
        if waiting:  # rows that neither exist nor can be made: the audit gives their tasks back
            log.error("%d tasks of a claim got no rows and go back", len(waiting))
        # The tokens of `earlier` stay: a statement without an answer may still come, when its job waits for a retry,
        # and would find its claim forgotten. The audit forgets it once it has seen it.
        return sorted(claimed, key=lambda held: held.number)  # first in, first out: rows come in an order of their own

    async def _send_claim(
        self, store: JobStore, lease: Lease, ids: list[UUID], earlier: list[UUID]
    ) -> tuple[UUID, dict[int, Counters]]:
        """Each send has a token of its own and takes over what the sends before it got: a late one gets nothing.

        `earlier` grows by the token of each send that had no answer.
        """

        async def send() -> tuple[UUID, dict[int, Counters]]:
            token = uuid4()
            riding = self._ledger.take()
            try:
                rows = await store.claim(
                    ids,
                    token,
                    queue=self._queue.name,
                    owner=lease.id,
                    worker=self._worker,
                    earlier=earlier,
                    done_claims=riding.claims,
                )
            except BaseException:
                self._ledger.put_back(riding)
                earlier.append(token)
                raise
            self._ledger.put_back(Leftovers(riding.marks, []))
            return token, rows

        return await self._until_answered(send)

    async def _adopt(
        self, store: JobStore, lease: Lease, waiting: dict[int, Held], foreign: dict[int, Held], claimed: list[Held]
    ) -> list[UUID]:
        """Make rows for foreign tasks. One try, answered or not: the next claim tells whose the rest is.

        Moves what became ours from `waiting` to `claimed`; returns the tokens under which more of it may be ours.
        """
        adopt = partial(store.adopt, queue=self._queue.name, owner=lease.id, worker=self._worker)
        unanswered: list[UUID] = []

        async def send(some: list[Held]) -> None:
            token = uuid4()
            try:
                made = await adopt([(held.job_id, held.task) for held in some], token)
            except StoreUnavailable:
                unanswered.append(token)
                return
            for key in made:
                held = waiting.pop(key)
                held.token = token
                claimed.append(held)

        try:
            await send(list(foreign.values()))
        except StoreRefused:
            refused: list[tuple[int, bytes]] = []
            for held in foreign.values():  # one of them has a value that Postgres does not take
                try:
                    await send([held])
                except StoreRefused as error:
                    del waiting[held.key]
                    refused.append((held.number, dead_letter(encode_task(held.task), str(error))))
            if refused:
                self.counts.invalid += len(refused)
                await self._bury(lease, refused)
        return unanswered

    async def _put_away(self, lease: Lease, items: list[Held], looks: dict[UUID, Look], mine: Collection[UUID]) -> None:
        """Tasks whose rows this claim did not get; `mine` are the tokens of its earlier sends."""
        copies: list[int] = []
        back: list[tuple[int, int, bytes]] = []
        strange: list[tuple[int, bytes]] = []
        for held in items:
            look = looks[held.job_id]
            if look.queue != self._queue.name:
                reason = f"job {held.job_id} belongs to queue {look.queue}"
                strange.append((held.number, dead_letter(encode_task(held.task), reason)))
            elif look.state == JobState.PROCESSING and look.token in mine:
                continue  # ours, by a send without an answer, and locked now: the audit gives task and row back
            elif look.state in TERMINAL or look.state == JobState.PROCESSING:
                copies.append(held.number)
            else:  # pending: early, or locked by somebody when we came
                back.append((held.number, look.delay_ms or LOCKED_DELAY_MS, b""))
        if copies:
            self.counts.copies += len(copies)
            await self._until_answered(partial(self._queue.ack, lease.id, copies))
        if back:
            await self._until_answered(partial(self._queue.back, lease.id, back))
        if strange:
            self.counts.invalid += len(strange)
            await self._bury(lease, strange)

    # --- audit

    async def audit(self, lease: Lease) -> int:
        """Give back what is in our flight, or `processing` under our claims, and not held; returns how many.

        Runs in the claiming task, between claims, so that nothing is on its way meanwhile: what we do not hold then
        comes from an answer that was lost or a statement that arrived late. Raises QueueUnavailable, StoreUnavailable.
        """
        numbers = await self._queue.numbers(lease.id) - set(lease.held)
        given = 0
        if numbers:
            back = await self._queue.back(lease.id, [(number, 0, b"") for number in numbers])
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
                self._ledger.settled(token)  # a claim of which nothing is left
        if strays:
            releases = [Release(id=job_id, token=token, counter="none", delay_ms=0) for token, job_id in sorted(strays)]
            try:
                await store.release(uuid7(), self._queue.name, releases)  # the sweep pushes them
            except StoreRefused as error:  # there is no text in them
                raise StoreUnavailable(str(error)) from error
        return len(strays)


class _DeadLetter(Struct, omit_defaults=True, gc=False):
    reason: str
    at: datetime
    task: str | None = None
    task_base64: str | None = None


def _as_it_came(line: bytes, names: list[UUID]) -> bytes:
    """Without the name that the claim gave it."""
    for name in names:
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
