"""Settle, with Postgres: the row decides, and then the task leaves the flight."""

import logging
from collections.abc import Sequence
from functools import partial
from uuid import UUID

import trio
from uuid_utils.compat import uuid7

from workqueue.core.errors import StoreRefused
from workqueue.core.job import JobState, RunOutcome
from workqueue.core.outcome import Cancel, Complete, Fail, GiveBack, Retry
from workqueue.core.queue import Queue
from workqueue.core.steps.lease import ClaimedTask
from workqueue.core.steps.piggyback import Piggyback
from workqueue.core.steps.settle import Departures, Ending
from workqueue.core.steps.until_answered import UntilAnswered
from workqueue.core.store import Counter, Finish, JobStore, Requeue

log = logging.getLogger(__name__)

FINISH_SECONDS = 60.0  #: longer than a finish with artifacts of 64 MiB lasts
LOCKED_SECONDS = 0.5  #: pause before what another transaction has locked is tried again


class RowEndings:
    """Endings for one worker."""

    def __init__(
        self, queue: Queue, store: JobStore, piggyback: Piggyback, departures: Departures, until_answered: UntilAnswered
    ) -> None:
        self._queue = queue
        self._store = store
        self._piggyback = piggyback
        self._departures = departures
        self._until_answered = until_answered

    async def finish(self, ends: Sequence[Ending]) -> None:
        while ends:
            done, stuck = await self._send_finish(ends)
            acked: list[ClaimedTask] = []
            back: list[ClaimedTask] = []
            left: dict[UUID, Ending] = {}
            for ending in ends:
                if ending.claimed.key in done:
                    acked.append(ending.claimed)
                elif ending.claimed.key not in stuck:
                    left[ending.claimed.job_id] = ending
            if left:
                acked_too, back = await self._sort_the_rest(left, {e: _state(s) for e, s in left.items()})
                acked += acked_too
            await self._departures.ack(acked)
            await self._departures.give_back_unchanged(back)
            ends = list(left.values())
            if ends:
                await trio.sleep(LOCKED_SECONDS)

    async def _send_finish(self, ends: Sequence[Ending]) -> tuple[set[int], set[int]]:
        """The keys of the jobs that are done now, and of those whose outcome Postgres does not take in any form."""

        async def send(items: Sequence[Ending]) -> set[int]:
            with self._piggyback.claims() as finished:
                if all(type(end.verdict) is Complete and not end.verdict.artifacts for end in items):
                    return await self._store.complete(*_columns(items), finished)
                return await self._store.finish([_finish_of(ending) for ending in items], finished)

        try:
            return await self._until_answered(partial(send, ends), seconds=FINISH_SECONDS), set()
        except StoreRefused as error:
            if len(ends) > 1:  # one of them has a value that Postgres does not take: one by one
                done: set[int] = set()
                stuck: set[int] = set()
                for ending in ends:
                    done_too, stuck_too = await self._send_finish([ending])
                    done |= done_too
                    stuck |= stuck_too
                return done, stuck
            [ending] = ends
            log.error("job %s: its outcome cannot be stored and becomes a failure: %s", ending.claimed.job_id, error)
            failure = Fail(_not_stored(error), RunOutcome.FAILED)
        try:
            return await self._until_answered(partial(send, [Ending(ending.claimed, failure, ending.seconds)])), set()
        except StoreRefused as error:
            return set(), {_stuck(ending, error)}

    async def requeue(self, waits: Sequence[Ending]) -> None:
        await self._departures.pause(waits)
        outbox: list[UUID] = []
        left = {ending.claimed.job_id: ending for ending in waits}
        delays = self._departures.delays_ms(waits)
        all_back, inserted_at = True, trio.current_time()
        while left:
            sent, rows, stuck = await self._send_requeue(list(left.values()), delays)
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
                    acked.append(ending.claimed)  # its cancellation had been asked for
            if left:
                wanted = dict.fromkeys(left, JobState.PENDING)
                acked_too, pending = await self._sort_the_rest(left, wanted)
                acked += acked_too
                all_back = all_back and not pending
                await self._departures.give_back_unchanged(pending)
            await self._departures.ack(acked)
            all_back = await self._departures.give_back(back, delays) and all_back
            if left:
                await trio.sleep(LOCKED_SECONDS)
        if all_back:  # else the relay pushes what is still pending
            for entry in outbox:
                self._piggyback.pushed(entry, inserted_at=inserted_at)

    async def _send_requeue(
        self, waits: list[Ending], delays: dict[UUID, int]
    ) -> tuple[list[UUID], dict[UUID, JobState], set[UUID]]:
        """The entries that were made, the states that were written, and the jobs whose outcome is not storable."""

        async def send(waits: Sequence[Ending]) -> tuple[UUID, dict[UUID, JobState]]:
            # An entry of its own for each send: the relay may have taken an earlier one, and would delete it whole.
            entry = uuid7()
            requeues = [_requeue_of(ending, delays[ending.claimed.job_id]) for ending in waits]
            with self._piggyback.claims() as finished:
                return entry, await self._store.requeue(entry, self._queue.name, requeues, finished)

        try:
            entry, rows = await self._until_answered(partial(send, waits))
        except StoreRefused as error:
            if len(waits) > 1:  # one of them has a value that Postgres does not take: one by one
                outbox: list[UUID] = []
                states: dict[UUID, JobState] = {}
                stuck: set[UUID] = set()
                for ending in waits:
                    entries_too, rows, stuck_too = await self._send_requeue([ending], delays)
                    outbox += entries_too
                    states |= rows
                    stuck |= stuck_too
                return outbox, states, stuck
            [ending] = waits
            log.error("job %s: its error cannot be stored and is replaced: %s", ending.claimed.job_id, error)
            verdict = ending.verdict
            if isinstance(verdict, Retry):
                verdict = Retry(_not_stored(error), RunOutcome.FAILED)
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
        self, left: dict[UUID, Ending], wanted: dict[UUID, JobState]
    ) -> tuple[list[ClaimedTask], list[ClaimedTask]]:
        """What a statement did not return: done by an earlier send, taken back by another worker, or locked just now.

        Returns what may be acked and what goes back to the head; what is locked stays in `left`.
        """
        acked: list[ClaimedTask] = []
        back: list[ClaimedTask] = []
        statuses = await self._until_answered(partial(self._store.get_status, list(left)))
        for job_id, ending in list(left.items()):
            status = statuses.get(job_id)
            mine = status is not None and status.token == ending.claimed.token
            if status is not None and mine and status.state == JobState.PROCESSING:
                continue  # locked
            del left[job_id]
            if status is not None and status.state == JobState.PENDING:
                # Given back by our own send without an answer, or by the worker that took the job from us: a task must
                # be there, and a duplicate does no harm.
                back.append(ending.claimed)
                continue
            if not (status is not None and mine and status.state in {wanted[job_id], JobState.CANCELLED}):
                log.warning("job %s: our outcome came too late and is refused", job_id)
            acked.append(ending.claimed)
        return acked, back


def _not_stored(error: StoreRefused) -> str:
    """In ASCII: it must be stored, whatever the database is."""
    return f"the outcome could not be stored: {error}".encode("ascii", "replace").decode()


def _stuck(ending: Ending, error: StoreRefused) -> int:
    """Nothing of it can be stored: it stays as it is, and the recovery of the lease tries anew. Returns its key."""
    log.error("job %s: nothing of its outcome can be stored, so it stays claimed: %s", ending.claimed.job_id, error)
    return ending.claimed.key


def _state(ending: Ending) -> JobState:
    if isinstance(ending.verdict, Complete):
        return JobState.COMPLETED
    return JobState.CANCELLED if isinstance(ending.verdict, Cancel) else JobState.FAILED


def _columns(
    ends: Sequence[Ending],
) -> tuple[list[UUID], list[UUID], list[str | None], list[float]]:
    """As JobStore.complete takes jobs that completed and made nothing."""
    ids: list[UUID] = []
    tokens: list[UUID] = []
    results: list[str | None] = []
    durations: list[float] = []
    for ending in sorted(ends, key=_key):
        claimed, verdict = ending.claimed, ending.verdict
        if claimed.token is None or not isinstance(verdict, Complete):
            raise AssertionError("a job with a row has a token, and these have completed")
        ids.append(claimed.job_id)
        tokens.append(claimed.token)
        results.append(verdict.result.decode())
        durations.append(ending.seconds or 0.0)
    return ids, tokens, results, durations


def _key(ending: Ending) -> int:
    return ending.claimed.key


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
            RunOutcome.COMPLETED,
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
    if isinstance(verdict, Cancel):
        return Finish(
            claimed.job_id, claimed.token, JobState.CANCELLED, RunOutcome.CANCELLED, seconds, error=verdict.error
        )
    raise AssertionError(f"{verdict} ends no job")


def _requeue_of(ending: Ending, delay_ms: int) -> Requeue:
    claimed = ending.claimed
    if claimed.token is None:
        raise AssertionError("a job with a row has a token")
    match ending.verdict:
        case Retry(error, outcome, traceback):
            return Requeue(
                claimed.job_id,
                claimed.token,
                Counter.ATTEMPTS,
                delay_ms,
                outcome,
                ending.seconds or 0.0,
                error,
                traceback,
            )
        case GiveBack(interrupted=True):
            return Requeue(
                claimed.job_id,
                claimed.token,
                Counter.INTERRUPTIONS,
                delay_ms,
                RunOutcome.INTERRUPTED,
                ending.seconds or 0.0,
                error="interrupted: its worker stopped",
            )
        case _:
            return Requeue(claimed.job_id, claimed.token, Counter.NONE, delay_ms)
