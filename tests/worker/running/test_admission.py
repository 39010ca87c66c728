"""Checks in order; a job that is refused or cancelled on the way is counted by none of them."""

from random import Random
from uuid import uuid4

import pytest
import trio

from workqueue.core.counters import Counters
from workqueue.core.errors import QueueUnavailable
from workqueue.core.handlers import Registry
from workqueue.core.outcome import Failed, NotStarted, Outcome
from workqueue.core.steps.lease import ClaimedTask, Lease
from workqueue.core.steps.until_answered import UntilAnswered
from workqueue.core.wire import Task
from workqueue.services.worker.running.admission import (
    LAST_CHANCE_DELAY_MS,
    Admission,
    FreshLease,
    KnownType,
    Machine,
    Scope,
    Suspects,
)
from workqueue.services.worker.running.environment import Environment


def claimed(job_type: str = "x", *, recoveries: int = 0) -> ClaimedTask:
    return ClaimedTask.of(Lease(), 1, Task(job_type, counters=Counters(0, recoveries)), uuid4(), 0.0)


class Limit:
    """Lets `places` jobs in at a time; `refusal` is what becomes of the others, None: it waits for ever."""

    scope = Scope.JOB

    def __init__(self, places: int, refusal: Outcome | None = None) -> None:
        self.places = places
        self.refusal = refusal
        self.inside: list[ClaimedTask] = []

    def passes_now(self, job: ClaimedTask) -> bool:
        return False

    def refuses_now(self, job: ClaimedTask) -> Outcome | None:
        return None

    async def admit(self, job: ClaimedTask) -> Outcome | None:
        if len(self.inside) < self.places:
            self.inside.append(job)
            return None
        if self.refusal is None:
            await trio.sleep_forever()
        return self.refusal

    def ended(self, job: ClaimedTask) -> None:
        if job in self.inside:
            self.inside.remove(job)


async def test_a_job_that_a_later_check_refuses_is_in_no_earlier_one():
    first, second = Limit(5), Limit(1, NotStarted(7))
    admission = Admission([first, second])
    one, other = claimed(), claimed()
    assert await admission.admit(one) is None
    assert await admission.admit(other) == NotStarted(7)
    assert (first.inside, second.inside) == ([one], [one])
    admission.ended(one)
    assert first.inside == second.inside == []


async def test_a_job_whose_wait_is_cancelled_is_in_none():
    first, second = Limit(5), Limit(0)
    with trio.move_on_after(0.01) as waiting:
        await Admission([first, second]).admit(claimed())
    assert waiting.cancelled_caught
    assert first.inside == []


class Switch(Limit):
    """A check of the worker, that counts how often it is asked."""

    scope = Scope.WORKER

    def __init__(self) -> None:
        super().__init__(0)
        self.is_open = True
        self.asked = 0

    def passes_now(self, job: ClaimedTask) -> bool:
        self.asked += 1
        return self.is_open


def test_checks_of_the_worker_are_asked_each_millisecond_for_another_lease_and_on_request():
    switch, now = Switch(), 100.0
    admission = Admission([switch], clock=lambda: now)
    job = claimed()
    assert all(admission.passes_now(job) for _ in range(10))
    assert switch.asked == 1
    now += 0.001
    assert admission.passes_now(job)
    assert switch.asked == 2
    assert admission.passes_now(claimed()), "under another lease"
    assert switch.asked == 3
    switch.is_open = False
    admission.ask_anew()
    assert not any(admission.passes_now(job) for _ in range(3))
    assert switch.asked == 6, "while it is closed, for each job"


class Suspicions:
    """What Redis answers when a start is recorded."""

    def __init__(self, answer: bool = True) -> None:
        self.answer = answer
        self.recorded: list[int] = []

    async def record_suspect_start(self, lease: object, number: int) -> bool:
        await trio.lowlevel.checkpoint()
        self.recorded.append(number)
        return self.answer


async def test_a_job_at_its_last_chance_runs_alone_and_others_do_not_wait_for_it():
    suspects = Suspects(Suspicions(), UntilAnswered(), max_recoveries=3)  # type: ignore[arg-type]
    last, also_last, once, never = (claimed(recoveries=deaths) for deaths in (2, 2, 1, 0))
    assert suspects.passes_now(never)
    assert not suspects.passes_now(once)
    assert await suspects.admit(last) is None
    assert await suspects.admit(also_last) == NotStarted(LAST_CHANCE_DELAY_MS)
    assert await suspects.admit(once) is None
    suspects.ended(once)
    assert await suspects.admit(also_last) == NotStarted(LAST_CHANCE_DELAY_MS), "the other one still runs"
    suspects.ended(last)
    assert await suspects.admit(also_last) is None


async def test_a_suspect_whose_start_was_not_recorded_does_not_run_and_blocks_no_other():
    suspects = Suspects(Suspicions(False), UntilAnswered(), max_recoveries=3)  # type: ignore[arg-type]
    assert await suspects.admit(claimed(recoveries=2)) == NotStarted()
    assert await suspects.admit(claimed(recoveries=2)) == NotStarted(), "not for the last chance of the first"
    with trio.CancelScope() as stop:
        stop.cancel()
        await suspects.admit(claimed(recoveries=2))
    assert await suspects.admit(claimed(recoveries=2)) == NotStarted()


async def test_nothing_starts_under_a_lease_that_is_not_fresh(autojump_clock):
    fresh: list[Lease] = []
    check = FreshLease(fresh.__contains__)
    job = claimed()
    assert not check.passes_now(job)
    async with trio.open_nursery() as nursery:
        with trio.move_on_after(10) as waiting:
            await check.admit(job)
        assert waiting.cancelled_caught
        fresh.append(job.lease)
        assert await check.admit(job) is None
        assert check.passes_now(job)
        job.lease.lost = True
        assert await check.admit(job) == NotStarted()
        assert not check.passes_now(job)
        nursery.cancel_scope.cancel()


async def test_nothing_starts_on_a_machine_that_lacks_threads():
    environment = Environment()
    check = Machine(environment)
    assert check.passes_now(claimed())
    environment.lacks("a thread")
    assert not check.passes_now(claimed())
    assert await check.admit(claimed()) == NotStarted()


class Fleet:
    """What the other workers can run: known types, None while that cannot be had."""

    def __init__(self, known: set[str] | None) -> None:
        self.known = known

    async def know(self, job_type: str) -> bool:
        await trio.lowlevel.checkpoint()
        if self.known is None:
            raise QueueUnavailable("away")
        return job_type in self.known

    def knew(self, job_type: str) -> bool | None:
        return None if self.known is None else job_type in self.known


@pytest.mark.parametrize(
    ("known", "outcome", "yields"), [(set(), Failed, False), ({"x"}, NotStarted, True), (None, NotStarted, True)]
)
async def test_a_type_without_a_handler_here_fails_only_where_no_worker_knows_it(known, outcome, yields):
    check = KnownType(Registry(), Fleet(known), Random(1))  # type: ignore[arg-type]
    assert not check.passes_now(claimed())
    assert (check.refuses_now(claimed()) is not None) == (known == set()), "known without a trip"
    assert isinstance(await check.admit(claimed()), outcome)
    assert check.yield_next_claim == yields
