"""Claim, with Postgres: the rows of claimed tasks. A task whose row is not ours does not run."""

import logging
from collections.abc import Collection, Sequence
from functools import partial
from uuid import UUID

from uuid_utils.compat import uuid4, uuid7

from workqueue.core.counters import Counters
from workqueue.core.dead_letter import dead_letter
from workqueue.core.errors import StoreRefused, StoreUnavailable
from workqueue.core.job import JobState
from workqueue.core.queue import Queue
from workqueue.core.steps.copies import Copies, is_copy
from workqueue.core.steps.dead_letters import Discards
from workqueue.core.steps.lease import ClaimedTask, Lease
from workqueue.core.steps.piggyback import Piggyback
from workqueue.core.steps.until_answered import UntilAnswered
from workqueue.core.store import Counter, JobStore, Requeue, RowStatus
from workqueue.core.store.clean import clean
from workqueue.core.wire import Task, encode_task

log = logging.getLogger(__name__)

WORKER_LENGTH_MAX = 300
LOCKED_DELAY_MS = 50  #: a row that another transaction has locked: its task comes again after this, later after twice
LOCKED_DELAY_MAX_MS = 1600
LOCKED_MAX = 10_000  #: locked rows that are counted; beyond, each begins anew
TASKS_MAX = 10  #: read from rows at a time: each may have a MiB
CLAIM_TRIES = 10  #: of adopting external tasks in one claim; beyond, what is left goes back


class RowClaims:
    """Claims rows for one worker, one claim at a time.

    Mutable state: the last delay of each task whose row was locked.
    """

    def __init__(
        self,
        queue: Queue,
        store: JobStore,
        piggyback: Piggyback,
        worker: str,
        discards: Discards,
        until_answered: UntilAnswered,
    ) -> None:
        self._queue = queue
        self._store = store
        self._piggyback = piggyback
        self._worker = clean(worker, WORKER_LENGTH_MAX) or ""
        self._discards = discards
        self._until_answered = until_answered
        self._copies = Copies(queue, store, discards, until_answered)
        self._locked: dict[int, int] = {}

    async def claim(self, lease: Lease, items: list[ClaimedTask], new: Sequence[ClaimedTask]) -> list[ClaimedTask]:
        """Claims.claim."""
        waiting = {claimed.key: claimed for claimed in sorted(items, key=lambda claimed: claimed.key)}
        ours: list[ClaimedTask] = []
        earlier: list[UUID] = []  # tokens of sends without an answer
        if new:
            earlier = await self._adopt(lease, waiting, {claimed.key: claimed for claimed in new}, ours)
        for _ in range(CLAIM_TRIES):
            if not waiting:
                break
            ids = [claimed.job_id for claimed in waiting.values()]
            replaced: list[UUID] = []
            token, rows = await self._send_claim(lease, ids, earlier, replaced)
            tasks = await self._read_tasks(replaced) if replaced else {}
            for key, counters in rows.items():
                claimed = waiting.pop(key)
                claimed.token, claimed.counters = token, counters
                if tasks and (task := tasks.get(claimed.job_id)) is not None:
                    claimed.task = task
                ours.append(claimed)
            if waiting:
                ids = [claimed.job_id for claimed in waiting.values()]
                statuses = await self._until_answered(partial(self._store.get_status, ids))
                known = [waiting.pop(job_id.int) for job_id in statuses]
                await self._put_away(lease, known, statuses, earlier)
            if waiting:
                earlier += await self._adopt(lease, waiting, dict(waiting), ours)
        if waiting:  # rows that neither exist nor can be made: the audit gives their tasks back
            log.error("%d tasks of a claim got no rows and go back", len(waiting))
        # Do not delete the tokens of unanswered claims: the statement may still arrive, even after this job was
        # retried, and its row would have no owner. The audit deletes a token when no row has it.
        return sorted(ours, key=lambda claimed: claimed.number)  # first in, first out: rows come in another order

    async def _send_claim(
        self, lease: Lease, ids: list[UUID], earlier: list[UUID], replaced: list[UUID]
    ) -> tuple[UUID, dict[int, Counters]]:
        """Each send has a token of its own and takes over what the sends before it got: a late one gets nothing.

        `earlier` grows by the token of each send that had no answer, `replaced` by the jobs whose tasks are old.
        """

        async def send() -> tuple[UUID, dict[int, Counters]]:
            token = uuid4()
            try:
                with self._piggyback.claims() as finished:
                    return token, await self._store.claim(
                        ids,
                        token,
                        queue=self._queue.name,
                        owner=lease.id,
                        worker=self._worker,
                        earlier=earlier,
                        done_claims=finished,
                        replaced=replaced,
                    )
            except BaseException:
                earlier.append(token)
                raise

        return await self._until_answered(send)

    async def _read_tasks(self, ids: list[UUID]) -> dict[UUID, Task]:
        """What the rows of these jobs say is to be done. They are ours, and nobody changes it any more."""
        tasks: dict[UUID, Task] = {}
        for begin in range(0, len(ids), TASKS_MAX):
            tasks |= await self._until_answered(partial(self._store.claimed_tasks, ids[begin : begin + TASKS_MAX]))
        return tasks

    async def _adopt(
        self,
        lease: Lease,
        waiting: dict[int, ClaimedTask],
        external: dict[int, ClaimedTask],
        ours: list[ClaimedTask],
    ) -> list[UUID]:
        """Make rows for external tasks. One try, answered or not: the next claim tells whose the rest is.

        Moves what became ours from `waiting` to `ours`; returns the tokens under which more of it may be ours.
        """
        adopt = partial(self._store.adopt, queue=self._queue.name, owner=lease.id, worker=self._worker)
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
                self._discards.counts.adopted[claimed.task.type] += 1

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
            await self._discards.bury(lease.id, refused)
        return unanswered

    async def _put_away(
        self, lease: Lease, items: list[ClaimedTask], statuses: dict[UUID, RowStatus], mine: Collection[UUID]
    ) -> None:
        """Tasks whose rows this claim did not get; `mine` are the tokens of its earlier sends."""
        if len(self._locked) > LOCKED_MAX:
            self._locked.clear()
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
            elif is_copy(status):
                duplicates.append(claimed.number)
            else:  # pending: early, or locked by another transaction when we came
                back.append((claimed.number, status.delay_ms or self._locked_delay(claimed.key), b""))
        await self._copies.pass_over(lease, [claimed for claimed in items if claimed.number in duplicates])
        await self._discards.ack(lease.id, duplicates)
        if back:
            await self._until_answered(partial(self._queue.give_back, lease.id, back))
        await self._discards.bury(lease.id, strange)

    def _locked_delay(self, key: int) -> int:
        """In ms. Most locks last for a statement; one that a person holds must not make the worker spin."""
        delay = self._locked[key] = min(2 * self._locked.get(key, LOCKED_DELAY_MS // 2), LOCKED_DELAY_MAX_MS)
        return delay

    async def audit(self, lease: Lease) -> int:
        """Claims.audit."""
        claims = await self._store.owned(lease.id)
        pairs = lease.pairs()
        strays = [(token, job_id) for token, ids in claims.items() for job_id in ids if (token, job_id) not in pairs]
        held_tokens = {token for token, _ in pairs}
        for token in claims:
            if token not in held_tokens and not claims[token]:
                self._piggyback.finished(token)  # a claim of which nothing is left
        if strays:
            requeues = [Requeue(job_id, token, Counter.NONE, 0) for token, job_id in sorted(strays)]
            try:
                await self._store.requeue(uuid7(), self._queue.name, requeues)  # the relay pushes them
            except StoreRefused as error:  # there is no text in them
                raise StoreUnavailable(str(error)) from error
        return len(strays)
