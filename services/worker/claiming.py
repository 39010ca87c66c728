"""Claiming: one task that keeps the buffer filled, and never claims more than there is room for."""

import logging
from collections.abc import Callable
from random import Random

import trio

from workqueue.core.errors import LeaseLost, QueueUnavailable, StoreUnavailable
from workqueue.core.queue import WAIT_SECONDS
from workqueue.core.steps.claim import AUDIT_SECONDS, CLAIM_MAX, Claim
from workqueue.core.steps.lease import ClaimedTask, Lease
from workqueue.core.steps.until_answered import TRIP_SECONDS
from workqueue.services.worker.heartbeats import Heartbeats
from workqueue.services.worker.leases import Leases
from workqueue.services.worker.metrics import Counts
from workqueue.services.worker.prefetch import Prefetch
from workqueue.services.worker.running.buffer import Buffer
from workqueue.services.worker.running.consumers import Consumers
from workqueue.services.worker.running.outcomes import Outcomes

log = logging.getLogger(__name__)

UNKNOWN_TYPE_PAUSE_SECONDS = 0.1
GIVE_BACK_SECONDS = 1.0
LACKING_SECONDS = 0.5
PAUSE_SECONDS = 0.5  #: between two checks whether it may claim
QUIET_SECONDS = 0.1  #: between two looks whether it is quiet still
STOP_SECONDS = 1.0  #: for a claim that is under way at a stop


class Claiming:
    """From Redis into the buffer.

    Mutable state: the scope of the claim that is under way, whether the last one emptied the queues, whether another
    queue than the default one was pushed to since, and the time of the last audit.
    """

    def __init__(
        self,
        claim: Claim,
        leases: Leases,
        buffer: Buffer,
        consumers: Consumers,
        outcomes: Outcomes,
        counts: Counts,
        heartbeats: Heartbeats,
        random: Random,
        may_claim: Callable[[], bool] = lambda: True,
        is_quiet: Callable[[], bool] = lambda: False,
        waits_for_default: Callable[[], bool] = lambda: True,
    ) -> None:
        """`may_claim`: while it returns False, no job is claimed. `is_quiet`: a person has asked for that, so what was
        claimed and has not started goes back. `waits_for_default`: whether jobs of the default queue are taken."""
        self._claim = claim
        self._may_claim = may_claim
        self._is_quiet = is_quiet
        self._waits_for_default = waits_for_default
        self._idle = trio.Event()
        self._rung = trio.Event()
        self._leases = leases
        self._buffer = buffer
        self._consumers = consumers
        self._outcomes = outcomes
        self._counts = counts
        self._heartbeats = heartbeats
        self._random = random
        self._prefetch = Prefetch()
        self._under_way = trio.CancelScope()
        self._is_empty = False
        self._audited_at = trio.current_time()

    async def run(self) -> None:
        """Claim until cancelled; a claim that is under way then may end, if it does within STOP_SECONDS."""
        with self._heartbeats.service("claim") as heartbeat:
            while True:
                heartbeat(2.0)
                with trio.move_on_after(1):
                    await self._leases.wait()
                if (lease := self._leases.current) is None:
                    continue
                if not self._may_claim():
                    await trio.sleep(PAUSE_SECONDS)
                    continue
                heartbeat(TRIP_SECONDS)
                # A claim is shielded and `wait` returns at once: under load there is no other checkpoint for a stop.
                await trio.lowlevel.checkpoint_if_cancelled()
                try:
                    await (self._be_quiet(lease) if self._is_quiet() else self._run_once(lease))
                except LeaseLost:
                    self._leases.lose(lease)
                except (QueueUnavailable, StoreUnavailable):
                    await trio.sleep(self._random.uniform(0.2, 0.8))

    async def wait_idle(self) -> None:
        """Return once the queues were found empty, and are waited for."""
        await self._idle.wait()

    def ring(self) -> None:
        """Another queue than the default one was pushed to: look at once, where nothing but the default one is waited
        for."""
        self._rung.set()
        if self._is_empty and not self._under_way.shield:
            self._under_way.cancel()

    def end_soon(self) -> None:
        """At a stop: bound the claim that is under way by STOP_SECONDS."""
        self._under_way.deadline = trio.current_time() + STOP_SECONDS

    async def _be_quiet(self, lease: Lease) -> None:
        """Claim nothing. The answer of a claim may have been lost before: the audit gives back what it took."""
        self._consumers.give_back(self._buffer.drain())
        await self._audit(lease)
        await trio.sleep(QUIET_SECONDS)

    async def _audit(self, lease: Lease) -> None:
        if trio.current_time() - self._audited_at > AUDIT_SECONDS:
            self._audited_at = trio.current_time()
            if given := await self._claim.audit(lease):
                log.info("gave back %d jobs of claims whose answers were lost", given)

    async def _run_once(self, lease: Lease) -> None:
        await self._audit(lease)
        if self._consumers.environment.fault is not None:  # another machine may have what this one lacks
            self._consumers.give_back(self._buffer.drain())
            await trio.sleep(LACKING_SECONDS)
            return
        if self._consumers.yield_next_claim:  # a worker that knows the type should claim before this one
            self._consumers.yield_next_claim = False
            await trio.sleep(UNKNOWN_TYPE_PAUSE_SECONDS)
        if self._is_stale():
            await self._give_back()
        if (count := self._room()) < 1:
            with trio.move_on_after(self._prefetch.stale_seconds / 2 if len(self._buffer) else 1):
                await self._buffer.wait_for_room(self._ahead() // 2)
            return
        # A stop that came during the last claim, or before this task ran again, has met no checkpoint yet.
        await trio.lowlevel.checkpoint_if_cancelled()
        claimed = await self._take(lease, count)
        if claimed and self._is_empty:
            # The consumers that were woken go first, the next trip can wait. Twice, because within one turn of its loop
            # Trio runs this task and them in any order.
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()

    async def _take(self, lease: Lease, count: int) -> list[ClaimedTask]:
        """Claim once; where the last claim has emptied the list, wait for a task first.

        Shielded, except for the wait, so that a stop leaves no claim half done; bounded by `end_soon`, because an
        outage may last.
        """
        with trio.CancelScope(shield=not self._is_empty) as self._under_way:
            began = trio.current_time()

            def on_task_available() -> None:
                nonlocal began
                self._under_way.shield, began = True, trio.current_time()
                self._rung = trio.Event()

            waits = self._is_empty
            if waits and not self._waits_for_default():
                with trio.move_on_after(WAIT_SECONDS):
                    await self._rung.wait()
                on_task_available()
                waits = False
            claimed = await self._claim.run_once(lease, count, on_task_available if waits else None)
            if self._is_quiet():  # since this claim began: none of it starts
                self._consumers.give_back(claimed)
            else:
                self._consumers.claimed(claimed, had_permits=self._claim.had_permits)
            self._found_empty(len(claimed) < count and not self._rung.is_set())
            self._prefetch.claimed(trio.current_time() - began)
            return claimed
        self._found_empty(False)  # rung, or a stop: then the audit gives back what the claim took
        return []

    def _found_empty(self, is_empty: bool) -> None:
        if is_empty and not self._is_empty:
            self._idle.set()
        elif self._is_empty and not is_empty:
            self._idle = trio.Event()
        self._is_empty = is_empty

    def _room(self) -> int:
        """How many jobs to claim now; under a backlog of outcomes none."""
        if self._outcomes.full:
            return 0
        idle = self._buffer.idle
        ahead = self._ahead()
        waiting = len(self._buffer)
        if waiting > ahead // 2 and waiting >= idle:
            return 0  # half of it is still there: a larger batch is cheaper
        return min(idle + ahead - waiting, CLAIM_MAX)

    def _ahead(self) -> int:
        return self._prefetch.target(self._counts.finished)

    def _is_stale(self) -> bool:
        since = self._buffer.waiting_since()
        return (
            since is not None and trio.current_time() - since > self._prefetch.stale_seconds and not self._buffer.idle
        )

    async def _give_back(self) -> None:
        """Give back jobs that wait too long behind a long job: an idle worker may take them.

        The next claim waits until they are back, or it would take the jobs behind them.
        """
        self._prefetch.reset(self._counts.finished)
        self._consumers.give_back(self._buffer.drain())
        with trio.move_on_after(GIVE_BACK_SECONDS):
            await self._outcomes.wait_empty()
