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
from workqueue.core.outcome import Bury, Complete, GiveBack, Retry, Verdict
from workqueue.core.queue import Queue
from workqueue.core.retry import RetryPolicy, backoff
from workqueue.core.steps.claim import dead_letter
from workqueue.core.steps.dropped import Dropped
from workqueue.core.steps.lease import Held, Lease
from workqueue.core.steps.marks import Ledger, Leftovers
from workqueue.core.steps.until_answered import UntilAnswered
from workqueue.core.store import Ending, JobStore, Release
from workqueue.core.wire import encode_task

log = logging.getLogger(__name__)

FINISH_SECONDS = 60.0  #: longer than a finish with artifacts of 64 MiB lasts
ENDS = (Complete, Bury)  #: a union would take three times as long to ask for, for each job
LOCKED_SECONDS = 0.5  #: pause before what somebody has locked is tried again


class Settled(Struct, frozen=True, gc=False):
    """A claimed job and what shall become of it."""

    held: Held
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
        ledger: Ledger,
        policy: RetryPolicy,
        random: Random,
        until_answered: UntilAnswered | None = None,
        dropped: Dropped | None = None,
    ) -> None:
        self._queue = queue
        self._store = store
        self._ledger = ledger
        self._policy = policy
        self._random = random
        self._until_answered = until_answered or UntilAnswered()
        self._dropped = dropped or Dropped()

    async def run_batch(self, batch: Sequence[Settled]) -> None:
        """Carry out the verdicts and drop the tasks from their leases."""
        for settled in batch:
            settled.held.lease.settling(settled.held)
        for part in _without_twins(batch):
            await self._run_part(part)

    async def _run_part(self, batch: Sequence[Settled]) -> None:
        waits = [settled for settled in batch if not isinstance(settled.verdict, ENDS)]
        ends = [settled for settled in batch if isinstance(settled.verdict, ENDS)] if waits else batch
        if self._store is None:
            await self._finish_in_redis(ends)
            await self._release_in_redis(waits)
        else:
            if ends:
                await self._finish(self._store, ends)
            if waits:
                await self._release(self._store, waits)

    # --- Redis only: the task is all there is

    async def _finish_in_redis(self, ends: Sequence[Settled]) -> None:
        done = [settled for settled in ends if isinstance(settled.verdict, Complete)]
        buried = [settled for settled in ends if isinstance(settled.verdict, Bury)]
        await self._ack([settled.held for settled in done])
        for lease, items in _by_lease(buried):
            entries = [
                (settled.held.number, dead_letter(self._text(settled.held, failures=1), settled.verdict.error))
                for settled in items
                if isinstance(settled.verdict, Bury)
            ]
            self._dropped.add(await self._until_answered(partial(self._queue.bury, lease.id, entries)))
            self._drop(items)

    async def _release_in_redis(self, waits: Sequence[Settled]) -> None:
        for lease, items in _by_lease(waits):
            tasks = [(settled.held.number, self._delay_ms(settled), self._new_text(settled)) for settled in items]
            await self._until_answered(partial(self._queue.back, lease.id, tasks))
            self._drop(items)

    def _new_text(self, settled: Settled) -> bytes:
        match settled.verdict:
            case Retry():
                return self._text(settled.held, failures=1)
            case GiveBack(interrupted=True):
                return self._text(settled.held, interruptions=1)
        return b""  # untouched

    def _text(self, held: Held, *, failures: int = 0, interruptions: int = 0) -> bytes:
        """The task with its counters as they are now."""
        task = msgspec.structs.replace(
            held.task,
            attempts=held.counters.attempts + failures,
            recoveries=held.counters.recoveries,
            interruptions=held.counters.interruptions + interruptions,
            job_id=held.job_id,
        )
        return encode_task(task)

    def _delay_ms(self, settled: Settled) -> int:
        match settled.verdict:
            case Retry():
                # At least 1 ms: 0 would mean the head of the list, before all that waits there.
                seconds = backoff(settled.held.counters.attempts + 1, self._policy, self._random)
                return max(1, int(seconds * 1000))
            case GiveBack(delay_ms=delay_ms):
                return delay_ms
        return 0

    # --- with Postgres: the row decides

    async def _finish(self, store: JobStore, ends: Sequence[Settled]) -> None:
        while ends:
            done, stuck = await self._send_finish(store, ends)
            acked: list[Held] = []
            back: list[Held] = []
            left: dict[UUID, Settled] = {}
            for settled in ends:
                if settled.held.key in done:
                    acked.append(settled.held)
                elif settled.held.key not in stuck:
                    left[settled.held.job_id] = settled
            if left:
                acked_too, back = await self._judge_the_rest(store, left, {e: _state(s) for e, s in left.items()})
                acked += acked_too
            await self._ack(acked)
            await self._give_tasks_back(back)
            ends = list(left.values())
            if ends:
                await trio.sleep(LOCKED_SECONDS)

    async def _send_finish(self, store: JobStore, ends: Sequence[Settled]) -> tuple[set[int], set[int]]:
        """The keys of the jobs that are done now, and of those whose outcome Postgres does not take in any form."""

        async def send(items: Sequence[Settled]) -> set[int]:
            riding = self._ledger.take()
            try:
                done = await store.finish([_ending(settled) for settled in items], riding.claims)
            except BaseException:
                self._ledger.put_back(riding)
                raise
            self._ledger.put_back(Leftovers(riding.marks, []))
            return done

        try:
            return await self._until_answered(partial(send, ends), seconds=FINISH_SECONDS), set()
        except StoreRefused as error:
            if len(ends) > 1:  # one of them has a value that Postgres does not take: one by one
                done: set[int] = set()
                stuck: set[int] = set()
                for settled in ends:
                    done_too, stuck_too = await self._send_finish(store, [settled])
                    done |= done_too
                    stuck |= stuck_too
                return done, stuck
            [settled] = ends
            log.error("job %s: its outcome cannot be stored and becomes a failure: %s", settled.held.job_id, error)
            failure = Bury(_not_stored(error), "failed")
        try:
            return await self._until_answered(partial(send, [Settled(settled.held, failure, settled.seconds)])), set()
        except StoreRefused as error:
            return set(), {_stuck(settled, error)}

    async def _release(self, store: JobStore, waits: Sequence[Settled]) -> None:
        marks: list[UUID] = []
        left = {settled.held.job_id: settled for settled in waits}
        delays = {settled.held.job_id: self._delay_ms(settled) for settled in waits}
        all_back, marked_at = True, trio.current_time()
        while left:
            sent, rows, stuck = await self._send_release(store, list(left.values()), delays)
            marks += sent
            for job_id in stuck:
                del left[job_id]
            back: list[Settled] = []
            acked: list[Held] = []
            for job_id, state in rows.items():
                settled = left.pop(job_id)
                if state is JobState.PENDING:
                    back.append(settled)
                else:
                    acked.append(settled.held)  # a person had asked for its end
            if left:
                wanted = dict.fromkeys(left, JobState.PENDING)
                acked_too, pending = await self._judge_the_rest(store, left, wanted)
                acked += acked_too
                all_back = all_back and not pending
                await self._give_tasks_back(pending)
            await self._ack(acked)
            all_back = await self._back(back, delays) and all_back
            if left:
                await trio.sleep(LOCKED_SECONDS)
        if all_back:  # else the sweep pushes what is still pending
            for mark in marks:
                self._ledger.pushed(mark, marked_at=marked_at)

    async def _send_release(
        self, store: JobStore, waits: list[Settled], delays: dict[UUID, int]
    ) -> tuple[list[UUID], dict[UUID, JobState], set[UUID]]:
        """The marks that were made, the states that were written, and the jobs whose outcome Postgres does not take in
        any form."""

        async def send(waits: Sequence[Settled]) -> tuple[UUID, dict[UUID, JobState]]:
            # A mark of its own for each send: the sweep may have taken an earlier one by now, and would drop it whole.
            mark = uuid7()
            riding = self._ledger.take()
            try:
                releases = [_release(settled, delays[settled.held.job_id]) for settled in waits]
                rows = await store.release(mark, self._queue.name, releases, riding.claims)
            except BaseException:
                self._ledger.put_back(riding)
                raise
            self._ledger.put_back(Leftovers(riding.marks, []))
            return mark, rows

        try:
            mark, rows = await self._until_answered(partial(send, waits))
        except StoreRefused as error:
            if len(waits) > 1:  # one of them has a value that Postgres does not take: one by one
                marks: list[UUID] = []
                states: dict[UUID, JobState] = {}
                stuck: set[UUID] = set()
                for settled in waits:
                    marks_too, rows, stuck_too = await self._send_release(store, [settled], delays)
                    marks += marks_too
                    states |= rows
                    stuck |= stuck_too
                return marks, states, stuck
            [settled] = waits
            log.error("job %s: its error cannot be stored and is replaced: %s", settled.held.job_id, error)
            verdict = settled.verdict
            if isinstance(verdict, Retry):
                verdict = Retry(_not_stored(error), "failed")
            plain = Settled(settled.held, verdict, settled.seconds)
        else:
            return [mark], rows, set()
        try:
            mark, rows = await self._until_answered(partial(send, [plain]))
        except StoreRefused as error:
            _stuck(plain, error)
            return [], {}, {plain.held.job_id}
        return [mark], rows, set()

    async def _judge_the_rest(
        self, store: JobStore, left: dict[UUID, Settled], wanted: dict[UUID, JobState]
    ) -> tuple[list[Held], list[Held]]:
        """What a statement did not return: done by an earlier send, taken back by somebody, or locked just now.

        Returns what may be acked and what goes back to the head; what is locked stays in `left`.
        """
        acked: list[Held] = []
        back: list[Held] = []
        looks = await self._until_answered(partial(store.look, list(left)))
        for job_id, settled in list(left.items()):
            look = looks.get(job_id)
            mine = look is not None and look.token == settled.held.token
            if look is not None and mine and look.state == JobState.PROCESSING:
                continue  # locked
            del left[job_id]
            if look is not None and look.state == JobState.PENDING:
                # Given back by our own send without an answer, or by whoever took the job from us: a task must be
                # there, and a copy does no harm.
                back.append(settled.held)
                continue
            if not (look is not None and mine and look.state in {wanted[job_id], JobState.CANCELLED}):
                log.warning("job %s: our outcome came too late and is refused", job_id)
            acked.append(settled.held)
        return acked, back

    async def _back(self, items: Sequence[Settled], delays: dict[UUID, int]) -> bool:
        """Give tasks back with their new counters; False: one was no longer in its flight."""
        all_back = True
        for lease, group in _by_lease(items):
            tasks = [(settled.held.number, delays[settled.held.job_id], self._new_text(settled)) for settled in group]
            answers = await self._until_answered(partial(self._queue.back, lease.id, tasks))
            all_back = all_back and all(answers.values())
            self._drop(group)
        return all_back

    async def _give_tasks_back(self, items: Sequence[Held]) -> None:
        for held in items:
            await self._until_answered(partial(self._queue.back, held.lease.id, [(held.number, 0, b"")]))
            self._drop_held(held)

    # --- leaving the flight

    async def _ack(self, items: Sequence[Held]) -> None:
        leases: dict[Lease, list[Held]] = {}
        for held in items:
            leases.setdefault(held.lease, []).append(held)
        for lease, group in leases.items():
            await self._until_answered(partial(self._queue.ack, lease.id, [held.number for held in group]))
            for held in group:
                self._drop_held(held)

    def _drop(self, items: Sequence[Settled]) -> None:
        for settled in items:
            self._drop_held(settled.held)

    def _drop_held(self, held: Held) -> None:
        if (token := held.lease.drop(held)) is not None:
            self._ledger.settled(token)


def _not_stored(error: StoreRefused) -> str:
    """In ASCII: it must be stored, whatever the database is."""
    return f"the outcome could not be stored: {error}".encode("ascii", "replace").decode()


def _stuck(settled: Settled, error: StoreRefused) -> int:
    """Nothing of it can be stored: it stays as it is, and the recovery of the lease tries anew. Returns its key."""
    log.error("job %s: nothing of its outcome can be stored, so it stays claimed: %s", settled.held.job_id, error)
    return settled.held.key


def _without_twins(batch: Sequence[Settled]) -> list[Sequence[Settled]]:
    """Parts in which no job comes twice: after a lost lease the old run and the new one may end side by side."""
    if len({settled.held.key for settled in batch}) == len(batch):
        return [batch]
    parts: list[dict[int, Settled]] = [{}]
    for settled in batch:
        key = settled.held.key
        if (part := next((part for part in parts if key not in part), None)) is None:
            parts.append(part := {})
        part[key] = settled
    return [list(part.values()) for part in parts]


def _by_lease(items: Sequence[Settled]) -> list[tuple[Lease, list[Settled]]]:
    """Groups by lease: after a loss, two are being settled side by side."""
    groups: dict[Lease, list[Settled]] = {}
    for settled in items:
        groups.setdefault(settled.held.lease, []).append(settled)
    return list(groups.items())


def _state(settled: Settled) -> JobState:
    return JobState.COMPLETED if isinstance(settled.verdict, Complete) else JobState.FAILED


def _ending(settled: Settled) -> Ending:
    held, seconds = settled.held, settled.seconds or 0.0
    if held.token is None:
        raise AssertionError("a job with a row has a token")
    verdict = settled.verdict
    if isinstance(verdict, Complete):
        result = verdict.result.decode()
        return Ending(
            held.job_id, held.token, JobState.COMPLETED, "completed", seconds, result, None, None, verdict.artifacts
        )
    if isinstance(verdict, Bury):
        return Ending(
            held.job_id, held.token, JobState.FAILED, verdict.outcome, seconds, None, verdict.error, verdict.traceback
        )
    raise AssertionError(f"{verdict} ends no job")


def _release(settled: Settled, delay_ms: int) -> Release:
    held = settled.held
    if held.token is None:
        raise AssertionError("a job with a row has a token")
    match settled.verdict:
        case Retry(error, outcome, traceback):
            return Release(
                held.job_id, held.token, "attempts", delay_ms, outcome, settled.seconds or 0.0, error, traceback
            )
        case GiveBack(interrupted=True):
            return Release(
                held.job_id,
                held.token,
                "interruptions",
                delay_ms,
                "interrupted",
                settled.seconds or 0.0,
                error="interrupted: its worker stopped",
            )
        case _:
            return Release(held.job_id, held.token, "none", delay_ms)
