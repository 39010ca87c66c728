"""Admission: may a claimed job start now? One check for each reason why not; a limit to come is one more of them."""

import time
from collections.abc import Callable, Sequence
from enum import Enum, auto
from functools import partial
from random import Random
from typing import Protocol

import trio

from workqueue.core.errors import QueueUnavailable
from workqueue.core.handlers import Registry
from workqueue.core.outcome import Failed, NotStarted, Outcome
from workqueue.core.queue import Queue
from workqueue.core.steps.lease import ClaimedTask, Lease
from workqueue.core.steps.until_answered import UntilAnswered
from workqueue.services.worker.peers import Peers
from workqueue.services.worker.running.environment import Environment

UNKNOWN_TYPE_DELAY_MS = 1000
LAST_CHANCE_DELAY_MS = 1000
GLANCE_SECONDS = 0.001  #: between two looks at the checks of the worker
FRESH_SECONDS = 0.1  #: between two looks at a lease that is not fresh


class Scope(Enum):
    """How often `passes_now` of a check is asked."""

    JOB = auto()  #: for each job
    WORKER = auto()  #: each GLANCE_SECONDS: its answer is the same for all jobs of a lease
    PREPARED = auto()  #: not before a job is prepared, which shows the same


class Check(Protocol):
    """One reason why a job may not start now."""

    scope: Scope

    def passes_now(self, claimed: ClaimedTask) -> bool:
        """True: the job may start, and this check need not hear of it. No wait, no change."""

    def refuses_now(self, claimed: ClaimedTask) -> Outcome | None:
        """What becomes of a job that does not pass now, where that is known without a wait; None: `admit` tells."""

    async def admit(self, claimed: ClaimedTask) -> Outcome | None:
        """None: the job may start, and `ended` is called when it has ended or could not start after all. Otherwise
        what becomes of it. Cancelled: as if it had not been called."""

    def ended(self, claimed: ClaimedTask) -> None:
        """A job that `admit` let in is no longer there."""


class Admission:
    """All checks, in order.

    Checks of the worker are asked once in a while: with a call for each of them a short job took 5 % longer.
    Mutable state: that of the checks; and for which lease, until when, those of the worker have passed.
    """

    def __init__(self, checks: Sequence[Check], clock: Callable[[], float] = time.monotonic) -> None:
        self._checks = checks
        self._clock = clock
        self._of_jobs = [check.passes_now for check in checks if check.scope is Scope.JOB]
        self._of_worker = [check.passes_now for check in checks if check.scope is Scope.WORKER]
        self._lease: Lease | None = None
        self._until = 0.0

    def passes_now(self, claimed: ClaimedTask) -> bool:
        """May it start without a wait, if it can be prepared? Nothing is counted then."""
        if claimed.lease is not self._lease or self._clock() >= self._until:
            if not all(passes(claimed) for passes in self._of_worker):
                self.ask_anew()
                return False
            self._lease, self._until = claimed.lease, self._clock() + GLANCE_SECONDS
        for passes in self._of_jobs:  # noqa: SIM110 - a generator would take as long as all checks together
            if not passes(claimed):
                return False
        return True

    def ask_anew(self) -> None:
        """Something has changed: the next job has to pass the checks of the worker again."""
        self._lease = None

    def refuses_now(self, claimed: ClaimedTask) -> Outcome | None:
        """What becomes of a job that does not pass now, where the check that stands in its way knows it."""
        for check in self._checks:
            if not check.passes_now(claimed):
                return check.refuses_now(claimed)
        return None

    async def admit(self, claimed: ClaimedTask) -> Outcome | None:
        """Wait for what can be waited for. None: the job may start, and `ended` has to be called once it has ended.

        Otherwise what becomes of it. Cancelled: nothing is counted.
        """
        admitted: list[Check] = []
        is_admitted = False
        try:
            for check in self._checks:
                if (outcome := await check.admit(claimed)) is not None:
                    return outcome
                admitted.append(check)
            is_admitted = True
        finally:
            if not is_admitted:
                for check in admitted:
                    check.ended(claimed)
        return None

    def ended(self, claimed: ClaimedTask) -> None:
        """A job that `admit` let in has ended, or could not start after all."""
        for check in self._checks:
            check.ended(claimed)


class Machine:
    """The machine gives what jobs need, threads and processes. Otherwise each job goes back."""

    scope = Scope.WORKER

    def __init__(self, environment: Environment) -> None:
        self._environment = environment

    def passes_now(self, claimed: ClaimedTask) -> bool:
        return self._environment.fault is None

    def refuses_now(self, claimed: ClaimedTask) -> Outcome | None:
        return None

    async def admit(self, claimed: ClaimedTask) -> Outcome | None:
        return NotStarted() if self._environment.fault is not None else None

    def ended(self, claimed: ClaimedTask) -> None:
        pass


class Suspects:
    """A worker has died while this job ran: its start is recorded first, or a second death could not be blamed on it.

    At its last chance it runs alone: if this worker dies, that job is to blame. Mutable state: whether one does.
    """

    scope = Scope.JOB

    def __init__(self, queue: Queue, until_answered: UntilAnswered, *, max_recoveries: int) -> None:
        self._queue = queue
        self._until_answered = until_answered
        self._last_chance = max_recoveries - 1  #: deaths of its worker behind a job
        self._runs_alone: ClaimedTask | None = None

    def passes_now(self, claimed: ClaimedTask) -> bool:
        return not claimed.counters.recoveries

    def refuses_now(self, claimed: ClaimedTask) -> Outcome | None:
        return None

    async def admit(self, claimed: ClaimedTask) -> Outcome | None:
        if not claimed.counters.recoveries:
            return None
        is_last_chance = claimed.counters.recoveries >= self._last_chance
        if is_last_chance and self._runs_alone is not None:
            return NotStarted(LAST_CHANCE_DELAY_MS)
        if is_last_chance:
            self._runs_alone = claimed
        is_recorded = False
        try:
            record = partial(self._queue.record_suspect_start, claimed.lease.id, claimed.number)
            is_recorded = await self._until_answered(record)
        finally:
            if not is_recorded:
                self.ended(claimed)
        return None if is_recorded else NotStarted()

    def ended(self, claimed: ClaimedTask) -> None:
        if self._runs_alone is claimed:
            self._runs_alone = None


class FreshLease:
    """The lease is fresh: a worker that wakes from a freeze must not start what others may run."""

    scope = Scope.WORKER

    def __init__(self, is_fresh: Callable[[Lease], bool]) -> None:
        self._is_fresh = is_fresh

    def passes_now(self, claimed: ClaimedTask) -> bool:
        return not claimed.lease.lost and self._is_fresh(claimed.lease)

    def refuses_now(self, claimed: ClaimedTask) -> Outcome | None:
        return None

    async def admit(self, claimed: ClaimedTask) -> Outcome | None:
        # An outage, or this process woke from a freeze. The lease thread finds out which; it sets no event.
        while not (self._is_fresh(claimed.lease) or claimed.lease.lost):  # noqa: ASYNC110
            await trio.sleep(FRESH_SECONDS)
        return NotStarted() if claimed.lease.lost else None

    def ended(self, claimed: ClaimedTask) -> None:
        pass


class KnownType:
    """This worker has a handler for the type. Otherwise another worker may: the job goes back, or fails.

    Mutable state: `yield_next_claim`.
    """

    scope = Scope.PREPARED

    def __init__(self, registry: Registry, peers: Peers, random: Random) -> None:
        self._registry = registry
        self._peers = peers
        self._random = random
        #: A job went back that only other workers can run: Claiming waits once, so that they claim first.
        self.yield_next_claim = False

    def passes_now(self, claimed: ClaimedTask) -> bool:
        return self._registry.get(claimed.task.type) is not None

    def refuses_now(self, claimed: ClaimedTask) -> Outcome | None:
        """Jobs of a type that no worker knows fail without a run, a million of them at once."""
        return _unsupported(claimed) if self._peers.knew(claimed.task.type) is False else None

    async def admit(self, claimed: ClaimedTask) -> Outcome | None:
        if self.passes_now(claimed):
            return None
        try:
            known = await self._peers.know(claimed.task.type)
        except QueueUnavailable:
            known = True  # unknown: the task comes again
        if not known:
            return _unsupported(claimed)
        self.yield_next_claim = True
        return NotStarted(int(UNKNOWN_TYPE_DELAY_MS * self._random.uniform(0.5, 1.5)))

    def ended(self, claimed: ClaimedTask) -> None:
        pass


def _unsupported(claimed: ClaimedTask) -> Failed:
    return Failed(f"unsupported task type: {claimed.task.type}")
