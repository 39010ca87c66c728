"""The task that keeps the buffer filled: when it claims, waits and stops."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from random import Random

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.support.wait import until_true
from tests.worker.claimed import claimed_task
from workqueue.core.handlers import Registry
from workqueue.core.steps.claim import AUDIT_SECONDS, Claim
from workqueue.core.steps.lease import ClaimedTask, Lease
from workqueue.core.steps.pauses import Parking
from workqueue.services.worker.claiming import STOP_SECONDS, Claiming
from workqueue.services.worker.heartbeats import Heartbeats
from workqueue.services.worker.leases import Leases
from workqueue.services.worker.metrics import Counts
from workqueue.services.worker.peers import Peers
from workqueue.services.worker.running.admission import KnownType
from workqueue.services.worker.running.buffer import Buffer
from workqueue.services.worker.running.consumers import Consumers
from workqueue.services.worker.running.environment import Environment
from workqueue.services.worker.running.outcomes import Outcomes
from workqueue.services.worker.running.statistics import Statistics


class Trickle(Claim):
    """There is always one more task, and never as many as there is room for."""

    had_permits = False

    def __init__(self) -> None:
        self.claims = 0

    async def run_once(
        self, lease: Lease, count: int, on_task_available: Callable[[], None] | None = None
    ) -> list[ClaimedTask]:
        self.claims += 1
        if on_task_available is not None:
            on_task_available()
        await trio.lowlevel.checkpoint()
        return [claimed_task(self.claims)]


class Waiting(Claim):
    """The list is empty until `task` is set; the claim is answered when `answer` is set."""

    had_permits = False

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.task = trio.Event()
        self.answer = trio.Event()

    async def run_once(
        self, lease: Lease, count: int, on_task_available: Callable[[], None] | None = None
    ) -> list[ClaimedTask]:
        if on_task_available is None or len(self.steps) > 2:
            self.steps.append("claims")
            await trio.lowlevel.checkpoint()
            return []
        self.steps.append("waits")
        await self.task.wait()
        on_task_available()
        self.steps.append("claims what came")
        await self.answer.wait()
        return [claimed_task(1)]


class NoPeers(Peers):
    """No other worker is asked."""

    def __init__(self) -> None: ...


class IdleConsumers(Consumers):
    """Nothing that Claiming has to wait for."""

    def __init__(self, buffer: Buffer) -> None:
        self._buffer = buffer
        self._cancelled = set()
        self._pauses = {}
        self._statistics = Statistics(Counts(), Counter())
        self._parking = Parking(None)  # type: ignore[arg-type]  # no claim asks it
        self.environment = Environment()
        self._types = KnownType(Registry(), NoPeers(), Random(1))


class NoOutcomes(Outcomes):
    """None has come yet, or (`full`) more than there is room for."""

    def __init__(self, *, full: bool) -> None:
        self._full = full

    @property
    def full(self) -> bool:
        return self._full


def claiming_of(claim: Claim, buffer: Buffer, *, outcomes_full: bool = False) -> Claiming:
    leases = Leases(lambda lease: None)
    leases.take(Lease())
    outcomes = NoOutcomes(full=outcomes_full)
    return Claiming(claim, leases, buffer, IdleConsumers(buffer), outcomes, Counts(), Heartbeats(), Random(1))


async def test_a_stop_ends_a_wait_at_once_and_lets_the_claim_behind_it_end(nursery, autojump_clock: MockClock):
    for comes in (False, True):
        claim, buffer = Waiting(), Buffer()
        claiming = claiming_of(claim, buffer)
        nursery.start_soon(buffer.take)
        with trio.fail_after(STOP_SECONDS / 2):
            async with trio.open_nursery() as claims:
                claims.start_soon(claiming.run)
                await until_true(partial(claim.steps.__contains__, "waits"))
                if comes:
                    claim.task.set()
                    await wait_all_tasks_blocked()
                claiming.end_soon()
                claims.cancel_scope.cancel()
                claim.answer.set()
        assert claim.steps == ["claims", "waits", *["claims what came"] * comes]
        await wait_all_tasks_blocked()
        assert buffer.idle == (0 if comes else 1), "what it took has a consumer"
        buffer.close()


async def test_nothing_is_claimed_while_outcomes_are_full(nursery, autojump_clock: MockClock):
    claim, buffer = Trickle(), Buffer()
    nursery.start_soon(buffer.take)
    with trio.move_on_after(AUDIT_SECONDS / 2):
        await claiming_of(claim, buffer, outcomes_full=True).run()
    assert claim.claims == 0
    buffer.close()


async def test_a_consumer_that_waits_has_its_job_before_the_next_claim_is_sent(nursery):
    for _ in range(20):  # Trio runs what is ready in any order
        claim, buffer = Waiting(), Buffer()
        claiming = claiming_of(claim, buffer)

        async def consume(buffer: Buffer = buffer, claim: Waiting = claim) -> None:
            while await buffer.take():
                claim.steps.append("runs")

        for _ in range(5):  # more than are woken, so that there is room for more
            nursery.start_soon(consume)
        await wait_all_tasks_blocked()
        claim.task.set()
        claim.answer.set()
        async with trio.open_nursery() as claims:
            claims.start_soon(claiming.run)
            await until_true(partial(_has_steps, claim, 5))
            claims.cancel_scope.cancel()
        assert claim.steps[:5] == ["claims", "waits", "claims what came", "runs", "claims"]
        buffer.close()


def _has_steps(claim: Waiting, count: int) -> bool:
    return len(claim.steps) >= count


async def test_a_stop_ends_the_claiming_after_the_claim_that_is_under_way(nursery):
    buffer, claim = Buffer(), Trickle()
    claiming = claiming_of(claim, buffer)
    for _ in range(200):
        nursery.start_soon(buffer.take)
    await wait_all_tasks_blocked()
    async with trio.open_nursery() as claims:
        claims.start_soon(claiming.run)
        await trio.lowlevel.checkpoint()
        claiming.end_soon()
        claims.cancel_scope.cancel()
    assert claim.claims <= 2
    buffer.close()
