"""Settle: what becomes of jobs whose attempt has ended. Postgres first, then Redis; only a verdict is acked."""

import logging
from collections.abc import Sequence
from functools import partial
from random import Random
from uuid import UUID

import msgspec
import trio
from msgspec import Struct
from uuid_utils.compat import uuid7

from workqueue.core.errors import StoreRefused
from workqueue.core.job import JobState
from workqueue.core.outcome import Complete, Fail, GiveBack, Retry, Verdict
from workqueue.core.queue import Queue
from workqueue.core.retry import RetryPolicy, backoff
from workqueue.core.steps.claim import dead_letter
from workqueue.core.steps.dropped import Dropped
from workqueue.core.steps.lease import ClaimedTask, Lease
from workqueue.core.steps.piggyback import Piggyback
from workqueue.core.steps.until_answered import UntilAnswered
from workqueue.core.store import Finish, JobStore, Requeue
from workqueue.core.wire import encode_task

log = logging.getLogger(__name__)

FINISH_SECONDS = 60.0  #: longer than a finish with artifacts of 64 MiB lasts
ENDS = (Complete, Fail)  #: a union would take three times as long to ask for, for each job
LOCKED_SECONDS = 0.5  #: pause before what somebody has locked is tried again


class Ending(Struct, frozen=True, gc=False):
    """A claimed job and what shall become of it."""

    claimed: ClaimedTask
    verdict: Verdict
    seconds: float | None = None  #: how long it ran; None: it was not started


class Settle:
    """Settles batches for one worker. Bounded by its caller's scope alone: an outage may last.

    Cancelled or killed anywhere: what has no verdict in the row is still `processing` under our claim, and what is
    not acked is still in the flight; whoever recovers the lease gives both back, or finds them done.
    """

    def __init__(
        self,
        queue: Queue,
        store: JobStore | None,
        piggyback: Piggyback,
        policy: RetryPolicy,
        random: Random,
        until_answered: UntilAnswered | None = None,
        dropped: Dropped | None = None,
    ) -> None:
        self._queue = queue
        self._store = store
        self._piggyback = piggyback
        self._policy = policy
        self._random = random
        self._until_answered = until_answered or UntilAnswered()
        self._dropped = dropped or Dropped()

    async def run_batch(self, batch: Sequence[Ending]) -> None:
        """Carry out the verdicts and drop the tasks from their leases."""
        for ending in batch:
            ending.claimed.lease.finishing(ending.claimed)
        for part in _each_job_once(batch):
            await self._run_part(part)

    async def _run_part(self, batch: Sequence[Ending]) -> None:
        waits = [ending for ending in batch if not isinstance(ending.verdict, ENDS)]
        ends = [ending for ending in batch if isinstance(ending.verdict, ENDS)] if waits else batch
        if self._store is None:
            await self._finish_in_redis(ends)
            await self._requeue_in_redis(waits)
        else:
            if ends:
                await self._finish(self._store, ends)
            if waits:
                await self._requeue(self._store, waits)

    # --- Redis only: the task is all there is

    async def _finish_in_redis(self, ends: Sequence[Ending]) -> None:
        done = [ending for ending in ends if isinstance(ending.verdict, Complete)]
        buried = [ending for ending in ends if isinstance(ending.verdict, Fail)]
        await self._ack([ending.claimed for ending in done])
        for lease, items in _by_lease(buried):
            entries = [
                (ending.claimed.number, dead_letter(self._text(ending.claimed, failures=1), ending.verdict.error))
                for ending in items
                if isinstance(ending.verdict, Fail)
            ]
            self._dropped.add(await self._until_answered(partial(self._queue.bury, lease.id, entries)))
            self._drop(items)

    async def _requeue_in_redis(self, waits: Sequence[Ending]) -> None:
        for lease, items in _by_lease(waits):
            tasks = [(ending.claimed.number, self._delay_ms(ending), self._new_text(ending)) for ending in items]
            await self._until_answered(partial(self._queue.give_back, lease.id, tasks))
            self._drop(items)

    def _new_text(self, ending: Ending) -> bytes:
        match ending.verdict:
            case Retry():
                return self._text(ending.claimed, failures=1)
            case GiveBack(interrupted=True):
                return self._text(ending.claimed, interruptions=1)
        return b""  # untouched

    def _text(self, claimed: ClaimedTask, *, failures: int = 0, interruptions: int = 0) -> bytes:
        """The task with its counters as they are now."""
        task = msgspec.structs.replace(
            claimed.task,
            attempts=claimed.counters.attempts + failures,
            recoveries=claimed.counters.recoveries,
            interruptions=claimed.counters.interruptions + interruptions,
            job_id=claimed.job_id,
        )
        return encode_task(task)

    def _delay_ms(self, ending: Ending) -> int:
        match ending.verdict:
            case Retry():
                # At least 1 ms: 0 would mean the head of the list, before all that waits there.
                seconds = backoff(ending.claimed.counters.attempts + 1, self._policy, self._random)
                return max(1, int(seconds * 1000))
            case GiveBack(delay_ms=delay_ms):
                return delay_ms
        return 0

    # --- with Postgres: the row decides

    async def _finish(self, store: JobStore, ends: Sequence[Ending]) -> None:
        while ends:
            done, stuck = await self._send_finish(store, ends)
            acked: list[ClaimedTask] = []
            back: list[ClaimedTask] = []
            left: dict[UUID, Ending] = {}
            for ending in ends:
                if ending.claimed.key in done:
                    acked.append(ending.claimed)
                elif ending.claimed.key not in stuck:
                    left[ending.claimed.job_id] = ending
            if left:
                acked_too, back = await self._sort_the_rest(store, left, {e: _state(s) for e, s in left.items()})
                acked += acked_too
            await self._ack(acked)
            await self._give_tasks_back(back)
            ends = list(left.values())
            if ends:
                await trio.sleep(LOCKED_SECONDS)

    async def _send_finish(self, store: JobStore, ends: Sequence[Ending]) -> tuple[set[int], set[int]]:
        """The keys of the jobs that are done now, and of those whose outcome Postgres does not take in any form."""

        async def send(items: Sequence[Ending]) -> set[int]:
            with self._piggyback.claims() as finished:
                return await store.finish([_finish_of(ending) for ending in items], finished)

        try:
            return await self._until_answered(partial(send, ends), seconds=FINISH_SECONDS), set()
        except StoreRefused as error:
            if len(ends) > 1:  # one of them has a value that Postgres does not take: one by one
                done: set[int] = set()
                stuck: set[int] = set()
                for ending in ends:
                    done_too, stuck_too = await self._send_finish(store, [ending])
                    done |= done_too
                    stuck |= stuck_too
                return done, stuck
            [ending] = ends
            log.error("job %s: its outcome cannot be stored and becomes a failure: %s", ending.claimed.job_id, error)
            failure = Fail(_not_stored(error), "failed")
        try:
            return await self._until_answered(partial(send, [Ending(ending.claimed, failure, ending.seconds)])), set()
        except StoreRefused as error:
            return set(), {_stuck(ending, error)}

    async def _requeue(self, store: JobStore, waits: Sequence[Ending]) -> None:
        outbox: list[UUID] = []
        left = {ending.claimed.job_id: ending for ending in waits}
        delays = {ending.claimed.job_id: self._delay_ms(ending) for ending in waits}
        all_back, inserted_at = True, trio.current_time()
        while left:
            sent, rows, stuck = await self._send_requeue(store, list(left.values()), delays)
            outbox += sent
            for job_id in stuck:
                del left[job_id]
            back: list[Ending] = []
            acked: list[ClaimedTask] = []
            for job_id, state in rows.items():
                ending = left.pop(job_id)
                if state is JobState.PENDING:
                    back.append(ending)
                else:
                    acked.append(ending.claimed)  # a person had asked for its end
            if left:
                wanted = dict.fromkeys(left, JobState.PENDING)
                acked_too, pending = await self._sort_the_rest(store, left, wanted)
                acked += acked_too
                all_back = all_back and not pending
                await self._give_tasks_back(pending)
            await self._ack(acked)
            all_back = await self._back(back, delays) and all_back
            if left:
                await trio.sleep(LOCKED_SECONDS)
        if all_back:  # else the sweep pushes what is still pending
            for entry in outbox:
                self._piggyback.pushed(entry, inserted_at=inserted_at)

    async def _send_requeue(
        self, store: JobStore, waits: list[Ending], delays: dict[UUID, int]
    ) -> tuple[list[UUID], dict[UUID, JobState], set[UUID]]:
        """The entries that were made, the states that were written, and the jobs whose outcome Postgres does not take in
        any form."""

        async def send(waits: Sequence[Ending]) -> tuple[UUID, dict[UUID, JobState]]:
            # A entry of its own for each send: the sweep may have taken an earlier one by now, and would drop it whole.
            entry = uuid7()
            requeues = [_requeue_of(ending, delays[ending.claimed.job_id]) for ending in waits]
            with self._piggyback.claims() as finished:
                return entry, await store.requeue(entry, self._queue.name, requeues, finished)

        try:
            entry, rows = await self._until_answered(partial(send, waits))
        except StoreRefused as error:
            if len(waits) > 1:  # one of them has a value that Postgres does not take: one by one
                outbox: list[UUID] = []
                states: dict[UUID, JobState] = {}
                stuck: set[UUID] = set()
                for ending in waits:
                    entries_too, rows, stuck_too = await self._send_requeue(store, [ending], delays)
                    outbox += entries_too
                    states |= rows
                    stuck |= stuck_too
                return outbox, states, stuck
            [ending] = waits
            log.error("job %s: its error cannot be stored and is replaced: %s", ending.claimed.job_id, error)
            verdict = ending.verdict
            if isinstance(verdict, Retry):
                verdict = Retry(_not_stored(error), "failed")
            plain = Ending(ending.claimed, verdict, ending.seconds)
        else:
            return [entry], rows, set()
        try:
            entry, rows = await self._until_answered(partial(send, [plain]))
        except StoreRefused as error:
            _stuck(plain, error)
            return [], {}, {plain.claimed.job_id}
        return [entry], rows, set()

    async def _sort_the_rest(
        self, store: JobStore, left: dict[UUID, Ending], wanted: dict[UUID, JobState]
    ) -> tuple[list[ClaimedTask], list[ClaimedTask]]:
        """What a statement did not return: done by an earlier send, taken back by somebody, or locked just now.

        Returns what may be acked and what goes back to the head; what is locked stays in `left`.
        """
        acked: list[ClaimedTask] = []
        back: list[ClaimedTask] = []
        statuses = await self._until_answered(partial(store.get_status, list(left)))
        for job_id, ending in list(left.items()):
            status = statuses.get(job_id)
            mine = status is not None and status.token == ending.claimed.token
            if status is not None and mine and status.state == JobState.PROCESSING:
                continue  # locked
            del left[job_id]
            if status is not None and status.state == JobState.PENDING:
                # Given back by our own send without an answer, or by whoever took the job from us: a task must be
                # there, and a copy does no harm.
                back.append(ending.claimed)
                continue
            if not (status is not None and mine and status.state in {wanted[job_id], JobState.CANCELLED}):
                log.warning("job %s: our outcome came too late and is refused", job_id)
            acked.append(ending.claimed)
        return acked, back

    async def _back(self, items: Sequence[Ending], delays: dict[UUID, int]) -> bool:
        """Give tasks back with their new counters; False: one was no longer in its flight."""
        all_back = True
        for lease, group in _by_lease(items):
            tasks = [(ending.claimed.number, delays[ending.claimed.job_id], self._new_text(ending)) for ending in group]
            answers = await self._until_answered(partial(self._queue.give_back, lease.id, tasks))
            all_back = all_back and all(answers.values())
            self._drop(group)
        return all_back

    async def _give_tasks_back(self, items: Sequence[ClaimedTask]) -> None:
        for claimed in items:
            await self._until_answered(partial(self._queue.give_back, claimed.lease.id, [(claimed.number, 0, b"")]))
            self._drop_task(claimed)

    # --- leaving the flight

    async def _ack(self, items: Sequence[ClaimedTask]) -> None:
        leases: dict[Lease, list[ClaimedTask]] = {}
        for claimed in items:
            leases.setdefault(claimed.lease, []).append(claimed)
        for lease, group in leases.items():
            await self._until_answered(partial(self._queue.ack, lease.id, [claimed.number for claimed in group]))
            for claimed in group:
                self._drop_task(claimed)

    def _drop(self, items: Sequence[Ending]) -> None:
        for ending in items:
            self._drop_task(ending.claimed)

    def _drop_task(self, claimed: ClaimedTask) -> None:
        if (token := claimed.lease.drop(claimed)) is not None:
            self._piggyback.finished(token)


def _not_stored(error: StoreRefused) -> str:
    """In ASCII: it must be stored, whatever the database is."""
    return f"the outcome could not be stored: {error}".encode("ascii", "replace").decode()


def _stuck(ending: Ending, error: StoreRefused) -> int:
    """Nothing of it can be stored: it stays as it is, and the recovery of the lease tries anew. Returns its key."""
    log.error("job %s: nothing of its outcome can be stored, so it stays claimed: %s", ending.claimed.job_id, error)
    return ending.claimed.key


def _each_job_once(batch: Sequence[Ending]) -> list[Sequence[Ending]]:
    """Parts in which no job comes twice: after a lost lease the old run and the new one may end side by side."""
    if len({ending.claimed.key for ending in batch}) == len(batch):
        return [batch]
    parts: list[dict[int, Ending]] = [{}]
    for ending in batch:
        key = ending.claimed.key
        if (part := next((part for part in parts if key not in part), None)) is None:
            parts.append(part := {})
        part[key] = ending
    return [list(part.values()) for part in parts]


def _by_lease(items: Sequence[Ending]) -> list[tuple[Lease, list[Ending]]]:
    """Groups by lease: after a loss, two are finishing side by side."""
    groups: dict[Lease, list[Ending]] = {}
    for ending in items:
        groups.setdefault(ending.claimed.lease, []).append(ending)
    return list(groups.items())


def _state(ending: Ending) -> JobState:
    return JobState.COMPLETED if isinstance(ending.verdict, Complete) else JobState.FAILED


def _finish_of(ending: Ending) -> Finish:
    claimed, seconds = ending.claimed, ending.seconds or 0.0
    if claimed.token is None:
        raise AssertionError("a job with a row has a token")
    verdict = ending.verdict
    if isinstance(verdict, Complete):
        result = verdict.result.decode()
        return Finish(
            claimed.job_id,
            claimed.token,
            JobState.COMPLETED,
            "completed",
            seconds,
            result,
            None,
            None,
            verdict.artifacts,
        )
    if isinstance(verdict, Fail):
        return Finish(
            claimed.job_id,
            claimed.token,
            JobState.FAILED,
            verdict.outcome,
            seconds,
            None,
            verdict.error,
            verdict.traceback,
        )
    raise AssertionError(f"{verdict} ends no job")


def _requeue_of(ending: Ending, delay_ms: int) -> Requeue:
    claimed = ending.claimed
    if claimed.token is None:
        raise AssertionError("a job with a row has a token")
    match ending.verdict:
        case Retry(error, outcome, traceback):
            return Requeue(
                claimed.job_id, claimed.token, "attempts", delay_ms, outcome, ending.seconds or 0.0, error, traceback
            )
        case GiveBack(interrupted=True):
            return Requeue(
                claimed.job_id,
                claimed.token,
                "interruptions",
                delay_ms,
                "interrupted",
                ending.seconds or 0.0,
                error="interrupted: its worker stopped",
            )
        case _:
            return Requeue(claimed.job_id, claimed.token, "none", delay_ms)
