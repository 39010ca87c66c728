"""A producer and two workers, step by step, while both servers come and go: nothing is lost, nothing runs twice."""

import contextlib
import os
from collections import Counter
from functools import partial
from random import Random
from uuid import UUID

import pytest
import trio

from tests.support.invariants import check_rows, tasks_in_redis
from tests.support.proxy import Proxy
from tests.support.steps import Steps
from tests.support.wait import until
from workqueue.core.errors import QueueUnavailable, StoreUnavailable
from workqueue.core.job import RunOutcome
from workqueue.core.options import JobOptions
from workqueue.core.outcome import Complete, Fail, GiveBack, Retry, Verdict
from workqueue.core.steps.lease import ClaimedTask, Lease
from workqueue.core.steps.outbox import OutboxRelay
from workqueue.core.steps.settle import Ending
from workqueue.core.wire import Submission

SEEDS = int(os.environ.get("CHAOS_SEEDS", "1"))
SECONDS = float(os.environ.get("CHAOS_SECONDS", "2"))
RETRIES = 5


class Chaos:
    """What happened. Mutable state: the counters, changed by producer and workers."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.accepted: set[UUID] = set()
        self.refused = 0
        self.runs: Counter[UUID] = Counter()
        self.running: set[UUID] = set()
        self.ended: set[UUID] = set()

    async def trouble(self, *proxies: Proxy) -> None:
        """One thing after the other, each of them short; sometimes both servers at once."""
        while True:
            await trio.sleep(self.random.uniform(0.01, 0.1))
            proxy = self.random.choice(proxies)
            match self.random.randrange(6):
                case 0:
                    proxy.cut()
                case 1:
                    proxy.swallow_replies()
                case 2:
                    proxy.swallow_requests()
                case 3:
                    proxy.go_away()
                case 4:
                    proxy.delay_seconds = self.random.uniform(0, 0.01)
                case 5:
                    continue
            await trio.sleep(self.random.uniform(0.005, 0.05))
            if self.random.random() < 0.8:
                proxy.heal()

    async def produce(self, steps: Steps) -> None:
        while True:
            batch = [Submission("x", b"{}", JobOptions(RETRIES))] * self.random.randint(1, 20)
            for answer in await steps.submit.run_batch(batch):
                if isinstance(answer, UUID):
                    self.accepted.add(answer)
                else:
                    self.refused += 1
            await trio.sleep(self.random.uniform(0, 0.02))

    async def work(self, steps: Steps, lease: Lease) -> None:
        """Claim, run, settle, and now and then lose patience with a claim."""
        while True:
            held: list[ClaimedTask] = []
            with trio.move_on_after(self.random.choice([0.003, 0.03, float("inf"), float("inf")])):
                held = await steps.claim.run_once(lease, self.random.randint(1, 30))
            for item in held:
                assert item.job_id not in self.running, f"{item.job_id} runs twice at once"
                assert item.job_id not in self.ended, f"{item.job_id} runs again after its end"
                self.running.add(item.job_id)
                self.runs[item.job_id] += 1
            await trio.sleep(self.random.uniform(0, 0.01))
            settled = [Ending(item, self._verdict(item), 0.01) for item in held]
            for item in held:
                self.running.discard(item.job_id)
            if settled:
                await steps.settle.run_batch(settled)
            try:
                if not held or self.random.random() < 0.2:
                    await steps.claim.audit(lease)
                await steps.claim._queue.promote()
            except (QueueUnavailable, StoreUnavailable):
                await trio.sleep(0.01)

    def _verdict(self, item: ClaimedTask) -> Verdict:
        verdicts: list[Verdict] = [
            Complete(b"1"),
            Complete(b"1"),
            Retry("E", RunOutcome.FAILED),
            GiveBack(interrupted=True),
            Fail("E", RunOutcome.FAILED),
        ]
        verdict = self.random.choice(verdicts)
        if isinstance(verdict, Complete | Fail):
            self.ended.add(item.job_id)
        return verdict

    async def relay(self, relay: OutboxRelay) -> None:
        while True:
            with contextlib.suppress(QueueUnavailable, StoreUnavailable):
                await relay.run_once()
            await trio.sleep(0.05)


async def play(chaos: Chaos, make, leases, proxies, quiet, relay: OutboxRelay | None = None) -> None:
    """Some seconds of trouble, then peace until everything is `quiet`."""
    async with trio.open_nursery() as world:
        async with trio.open_nursery() as troubled:
            troubled.start_soon(chaos.trouble, *proxies)
            for lease in leases:
                world.start_soon(chaos.work, make(), lease)
            if relay is not None:
                world.start_soon(chaos.relay, relay)
            async with trio.open_nursery() as producing:
                producing.cancel_scope.deadline = trio.current_time() + SECONDS
                producing.start_soon(chaos.produce, make())
            troubled.cancel_scope.cancel()
        for proxy in proxies:
            proxy.heal()
        await until(quiet, seconds=20)
        world.cancel_scope.cancel()


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_with_postgres(far_queue, far_store, redis_proxy, postgres_proxy, lease, other, queue, psql, seed):
    async def quiet() -> bool:
        return not await psql("SELECT FROM jobs WHERE state IN ('pending', 'processing') LIMIT 1")

    chaos = Chaos(Random(seed))
    make = partial(Steps, far_queue, far_store)
    await play(
        chaos,
        make,
        [lease, other],
        [redis_proxy, postgres_proxy],
        quiet,
        OutboxRelay(far_queue, far_store, age_seconds=0.5),
    )
    print(f"seed {seed}: {len(chaos.accepted)} accepted, {chaos.refused} refused, {len(chaos.runs)} ran")
    states = {row["id"]: row["state"] for row in await psql("SELECT id, state FROM jobs")}
    cancelled = {job_id for job_id, state in states.items() if state == "cancelled"}
    assert chaos.accepted <= set(chaos.runs), "accepted and never run"
    assert cancelled.isdisjoint(chaos.runs), "refused and run"
    assert cancelled.isdisjoint(chaos.accepted)
    counted = await psql("SELECT id, attempts + interruptions + (state = 'completed')::int AS runs FROM jobs")
    assert {row["id"]: row["runs"] for row in counted if row["runs"]} == chaos.runs, "each run is counted once"
    await check_rows(queue, psql)


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_with_redis_only(far_queue, redis_proxy, lease, other, queue, seed):
    async def quiet() -> bool:  # the keys are not read at one moment: a task that moves meanwhile may not be seen
        await trio.sleep(0.05)
        return chaos.accepted <= chaos.ended and not await tasks_in_redis(queue)

    chaos = Chaos(Random(seed))
    await play(chaos, partial(Steps, far_queue, None), [lease, other], [redis_proxy], quiet)
    print(f"seed {seed}: {len(chaos.accepted)} accepted, {chaos.refused} refused, {len(chaos.runs)} ran")
    assert chaos.accepted <= chaos.ended, "accepted and never run to its end"
