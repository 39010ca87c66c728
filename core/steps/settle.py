"""Settle: what becomes of jobs whose attempt has ended. Only a task whose job has a verdict is acked."""

from collections.abc import Sequence
from functools import partial
from random import Random
from typing import Protocol
from uuid import UUID

from msgspec import Struct

from workqueue.core.counters import Counters
from workqueue.core.options import JobOptions, until_seconds
from workqueue.core.outcome import Cancel, Complete, Fail, GiveBack, Retry, Verdict
from workqueue.core.policies import Backoff
from workqueue.core.queue import Queue
from workqueue.core.steps.lease import ClaimedTask, Lease
from workqueue.core.steps.piggyback import Piggyback
from workqueue.core.steps.until_answered import UntilAnswered
from workqueue.core.wire import encode_task

ENDS = (Complete, Fail, Cancel)  #: a union would take three times as long to ask for, for each job


class Ending(Struct, frozen=True, gc=False):
    """A claimed job and what shall become of it."""

    claimed: ClaimedTask
    verdict: Verdict
    seconds: float | None = None  #: how long it ran; None: it was not started


class Endings(Protocol):
    """How verdicts are carried out: with rows the row decides, without them the task is all there is."""

    async def finish(self, ends: Sequence[Ending]) -> None:
        """Complete, Fail and Cancel."""

    async def requeue(self, waits: Sequence[Ending]) -> None:
        """Retry and GiveBack."""


class Settle:
    """Settles batches for one worker. Bounded by its caller's scope alone: an outage may last.

    Cancelled or killed anywhere: what has no verdict in the row is still `processing` under our claim, and what is
    not acked is still in the flight; the recovery of the lease gives both back, or finds them done.
    """

    def __init__(self, endings: Endings) -> None:
        self._endings = endings

    async def run_batch(self, batch: Sequence[Ending]) -> None:
        """Carry out the verdicts and drop the tasks from their leases."""
        for ending in batch:
            ending.claimed.lease.finishing(ending.claimed)
        for part in _each_job_once(batch):
            waits = [ending for ending in part if not isinstance(ending.verdict, ENDS)]
            ends = [ending for ending in part if isinstance(ending.verdict, ENDS)] if waits else part
            if ends:
                await self._endings.finish(ends)
            if waits:
                await self._endings.requeue(waits)


class Departures:
    """How tasks leave the flight, and with which text and delay they go back."""

    def __init__(
        self, queue: Queue, piggyback: Piggyback, backoff: Backoff, random: Random, until_answered: UntilAnswered
    ) -> None:
        self._queue = queue
        self._piggyback = piggyback
        self._backoff = backoff
        self._random = random
        self._until_answered = until_answered

    async def ack(self, items: Sequence[ClaimedTask]) -> None:
        leases: dict[Lease, list[ClaimedTask]] = {}
        for claimed in items:
            leases.setdefault(claimed.lease, []).append(claimed)
        for lease, group in leases.items():
            await self._until_answered(partial(self._queue.ack, lease.id, [claimed.number for claimed in group]))
            for claimed in group:
                self._drop(claimed)

    async def ack_unique(self, items: Sequence[ClaimedTask]) -> None:
        """Redis only: with the tasks their unique keys go, in one script. A worker that dies leaves both or neither."""
        leases: dict[Lease, list[ClaimedTask]] = {}
        for claimed in items:
            if held_by(claimed.task.options, claimed.job_id) is None:
                await self.ack([claimed])
            else:
                leases.setdefault(claimed.lease, []).append(claimed)
        for lease, group in leases.items():
            rows = [(claimed.number, claimed.task.options.unique_key or "", claimed.job_id) for claimed in group]
            await self._until_answered(partial(self._queue.free_unique, lease.id, rows, ack=True))
            for claimed in group:
                self._drop(claimed)

    async def give_back(self, items: Sequence[Ending], delays: dict[UUID, int]) -> bool:
        """Give tasks back with their new counters; False: one was no longer in its flight."""
        all_back = True
        for lease, group in by_lease(items):
            tasks = [(ending.claimed.number, delays[ending.claimed.job_id], _new_text(ending)) for ending in group]
            answers = await self._until_answered(partial(self._queue.give_back, lease.id, tasks))
            all_back = all_back and all(answers.values())
            self.drop(group)
        return all_back

    async def give_back_unchanged(self, items: Sequence[ClaimedTask]) -> None:
        """To the head of the list."""
        for claimed in items:
            await self._until_answered(partial(self._queue.give_back, claimed.lease.id, [(claimed.number, 0, b"")]))
            self._drop(claimed)

    async def pause(self, items: Sequence[Ending]) -> None:
        """What these jobs have asked for: no other job of their type, or group, starts for a while."""
        pauses: dict[str, int] = {}
        for ending in items:
            verdict, task = ending.verdict, ending.claimed.task
            if isinstance(verdict, GiveBack) and verdict.pauses is not None:
                is_of_group = verdict.pauses == "group" and task.options.group is not None
                scope = f"group:{task.options.group}" if is_of_group else f"type:{task.type}"
                pauses[scope] = max(verdict.delay_ms, pauses.get(scope, 0))
        for scope, pause_ms in pauses.items():
            await self._until_answered(partial(self._queue.pause_scope, scope, pause_ms / 1000))

    def drop(self, items: Sequence[Ending]) -> None:
        """They have left the flight."""
        for ending in items:
            self._drop(ending.claimed)

    def _drop(self, claimed: ClaimedTask) -> None:
        if (token := claimed.lease.drop(claimed)) is not None:
            self._piggyback.finished(token)

    def delays_ms(self, items: Sequence[Ending]) -> dict[UUID, int]:
        """Job -> how long it waits; to be asked once for each ending, because a backoff has jitter."""
        return {ending.claimed.job_id: self._delay_ms(ending) for ending in items}

    def _delay_ms(self, ending: Ending) -> int:
        match ending.verdict:
            case Retry() as retry:
                # At least 1 ms: 0 would mean the head of the list, before all that waits there.
                return max(1, self._backoff_ms(retry, ending.claimed.counters.attempts + 1))
            case GiveBack(delay_ms=delay_ms):
                return delay_ms
        return 0

    def _backoff_ms(self, retry: Retry, failures: int) -> int:
        if retry.delay_ms is not None:
            return retry.delay_ms
        return int((retry.backoff or self._backoff).seconds(failures, self._random) * 1000)


def held_by(options: JobOptions, job_id: UUID | None) -> tuple[str, UUID] | None:
    """The unique key that a job holds until it ends, and its id: Redis only, where the key is deleted then."""
    if options.unique_key is None or job_id is None or until_seconds(options) is not None:
        return None
    return options.unique_key, job_id


def text_of(claimed: ClaimedTask, *, failures: int = 0, interruptions: int = 0) -> bytes:
    """The task with its counters as they are now."""
    now = claimed.counters
    counters = Counters(now.attempts + failures, now.recoveries, now.interruptions + interruptions)
    return encode_task(claimed.task, counters, claimed.job_id)


def _new_text(ending: Ending) -> bytes:
    match ending.verdict:
        case Retry():
            return text_of(ending.claimed, failures=1)
        case GiveBack(interrupted=True):
            return text_of(ending.claimed, interruptions=1)
    return b""  # untouched


def by_lease(items: Sequence[Ending]) -> list[tuple[Lease, list[Ending]]]:
    """Groups by lease: after a loss of the lease, jobs of two of them end side by side."""
    groups: dict[Lease, list[Ending]] = {}
    for ending in items:
        groups.setdefault(ending.claimed.lease, []).append(ending)
    return list(groups.items())


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
