"""A producer and two workers, step by step, while both servers come and go: nothing is lost, nothing runs twice."""

import os
from collections import Counter
from functools import partial
from random import Random
from uuid import UUID

import pytest
import trio

from core.errors import LeaseLost, QueueUnavailable, StoreUnavailable
from core.outcome import Bury, Complete, GiveBack, Retry, Verdict
from core.queue import Keys, LeaseConnection, open_queue
from core.steps.again import again
from core.steps.lease import Held, Lease
from core.steps.settle import Settled
from core.steps.sweep import Sweep
from core.store import open_store
from core.wire import Submission
from tests.core.steps.conftest import Steps
from tests.support.invariants import check_rows
from tests.support.proxy import Proxy, through

SECONDS = float(os.environ.get("CHAOS_SECONDS", "3"))
RETRIES = 5


class Chaos:
    """What happened. Mutable state: the counters, changed by producer and workers."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.accepted: set[UUID] = set()
        self.refused = 0
        self.runs: Counter[UUID] = Counter()
        self.expected: Counter[UUID] = Counter()  # runs that a verdict asked for
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
            batch = [Submission("x", b"{}", RETRIES)] * self.random.randint(1, 20)
            for answer in await steps.submit.run_batch(batch):
                if isinstance(answer, UUID):
                    self.accepted.add(answer)
                else:
                    self.refused += 1
            await trio.sleep(self.random.uniform(0, 0.02))

    async def work(self, steps: Steps, lease: Lease, *, until_idle: bool = False) -> None:
        """Claim, run, settle. What a stop would cancel is bounded by the caller."""
        idle = 0
        while not (until_idle and idle > 3):
            held: list[Held] = []
            with trio.move_on_after(self.random.choice([0.003, 0.03, float("inf"), float("inf")])):
                held = await steps.claim.run_once(lease, self.random.randint(1, 30))
            idle = 0 if held else idle + 1
            for item in held:
                assert item.job_id not in self.running, f"{item.job_id} runs twice at once"
                assert item.job_id not in self.ended, f"{item.job_id} runs again after its end"
                self.running.add(item.job_id)
                self.runs[item.job_id] += 1
            await trio.sleep(self.random.uniform(0, 0.01))
            settled = [Settled(item, self._verdict(item), 0.01) for item in held]
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

    def _verdict(self, item: Held) -> Verdict:
        verdict = self.random.choice(
            [Complete(b"1"), Complete(b"1"), Retry("E", "failed"), GiveBack(interrupted=True), Bury("E", "failed")]
        )
        if isinstance(verdict, Complete | Bury):
            self.ended.add(item.job_id)
        return verdict

    async def sweep(self, sweep: Sweep) -> None:
        while True:
            try:
                await sweep.run_once()
            except (QueueUnavailable, StoreUnavailable):
                pass
            await trio.sleep(0.05)


@pytest.fixture
def quick_marks(monkeypatch):
    monkeypatch.setattr("core.steps.sweep.MARK_AGE_SECONDS", 0.5)


@pytest.mark.parametrize("seed", range(int(os.environ.get("CHAOS_SEEDS", "1"))))
async def test_nothing_is_lost_and_nothing_runs_twice(
    impatient, quick_marks, bridge, queue, store, psql, redis_url, redis_port, postgres, postgres_dsn, queue_name,
    database_schema, nursery, seed
):  # fmt: skip
    random = Random(seed)
    chaos = Chaos(random)
    redis, rows = Proxy(redis_port), Proxy(postgres.port)
    await nursery.start(redis.run)
    await nursery.start(rows.run)
    leases = [Lease(), Lease()]
    connection = LeaseConnection(redis_url, Keys(queue_name), seconds=3)
    for lease in leases:
        connection.register(lease.id, b"{}")
    connection.close()
    async with (
        open_queue(bridge, through(redis_url, redis), queue_name) as far_queue,
        open_store(bridge, through(postgres_dsn, rows), database_schema) as far_store,
    ):
        workers = [Steps(far_queue, far_store) for _ in leases]
        async with trio.open_nursery() as world:
            async with trio.open_nursery() as troubled:
                troubled.start_soon(chaos.trouble, redis, rows)
                for steps, lease in zip(workers, leases, strict=True):
                    world.start_soon(chaos.work, steps, lease)
                world.start_soon(chaos.sweep, Sweep(far_queue, far_store))
                async with trio.open_nursery() as producing:
                    producing.cancel_scope.deadline = trio.current_time() + SECONDS
                    producing.start_soon(chaos.produce, Steps(far_queue, far_store))
                troubled.cancel_scope.cancel()
            redis.heal()
            rows.heal()
            with trio.fail_after(20):
                while await psql.value("SELECT count(*) FROM jobs WHERE state IN ('pending', 'processing')"):
                    await trio.sleep(0.05)
            world.cancel_scope.cancel()
    states = {row["id"]: row["state"] for row in await psql("SELECT id, state FROM jobs")}
    print(f"seed {seed}: {len(chaos.accepted)} accepted, {chaos.refused} refused, {len(chaos.runs)} ran")
    assert chaos.accepted <= set(states)
    assert chaos.accepted <= set(chaos.runs), "accepted and never run"
    assert {job_id for job_id in chaos.accepted if states[job_id] == "cancelled"} == set()
    assert {job_id for job_id, state in states.items() if state == "cancelled"}.isdisjoint(chaos.runs), (
        "refused and run"
    )
    counted = {row["id"]: row["n"] for row in await psql(
        "SELECT id, attempts + interruptions + (state = 'completed')::int AS n FROM jobs WHERE state <> 'cancelled'")}  # fmt: skip
    assert counted == dict(chaos.runs), "each run is counted once"
    await check_rows(queue, psql)
