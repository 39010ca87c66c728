"""Groups and limits, as workers keep to them: with rows and without."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import trio

from tests.support.invariants import check_nothing_left
from tests.support.steps import make_submit
from tests.support.wait import until, until_true
from tests.worker.conftest import finished
from workqueue.core.engine import engine_of
from workqueue.core.limits import Limit
from workqueue.core.options import JobOptions
from workqueue.core.policies import RateLimited
from workqueue.core.steps.piggyback import Piggyback
from workqueue.core.steps.redis_loss import RedisLoss
from workqueue.core.wire import Submission


class Ledger:
    """What ran, and how many at once. Mutable state: both."""

    def __init__(self) -> None:
        self.order: list[Any] = []
        self.running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    async def run(self, job: Any, seconds: float = 0.02) -> None:
        group = job.payload.get("g", "")
        self.order.append(job.payload["n"])
        self.running[group] += 1
        self.most[group] = max(self.most[group], self.running[group])
        try:
            await trio.sleep(seconds)
        finally:
            self.running[group] -= 1


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
async def enqueue(queue, rows) -> Callable[..., Any]:
    if rows is not None:
        await RedisLoss(queue, rows).run_once()
    step = make_submit(queue, rows, Piggyback())

    async def enqueue(groups: Sequence[str | None], *, retries: int = 0) -> list[Any]:
        submissions = [
            Submission("x", b'{"n":%d,"g":"%b"}' % (n, (group or "").encode()), JobOptions(retries, group=group))
            for n, group in enumerate(groups)
        ]
        return list(await step.run_batch(submissions))

    return enqueue


async def nothing_left(queue, psql) -> None:
    if psql is not None:
        await psql("DELETE FROM outbox")
    await check_nothing_left(queue, psql)


async def test_of_a_type_no_more_run_at_once_than_its_handler_says(
    registry, run_worker, queue, enqueue, ledger, psql_if_rows
):
    @registry.handler("x", running=3)
    async def handle(job):
        await ledger.run(job)

    await enqueue([None] * 60)
    async with run_worker(worker_concurrency=10) as one, run_worker(worker_concurrency=10) as two:
        await until_true(lambda: one.counts.done + two.counts.done == 60)
        assert ledger.most[""] == 3
        await until_true(lambda: one.counts.done > 0 or two.counts.done > 0)
    await nothing_left(queue, psql_if_rows)


async def test_no_more_start_than_its_rate_allows(registry, run_worker, enqueue, ledger):
    starts: list[float] = []

    @registry.handler("x", rate="40/s")
    async def handle(job):
        starts.append(trio.current_time())

    await enqueue([None] * 60)
    async with run_worker(worker_concurrency=10) as worker:
        await finished(worker, 60, seconds=20)
    assert starts[-1] - starts[0] > 1.2, "60 of 40 a second, all but the first at their times"


async def test_a_group_with_one_at_a_time_keeps_its_order_over_retries(
    registry, run_worker, queue, enqueue, ledger, rows, psql_if_rows
):
    if rows is None:
        pytest.skip("limits of groups stand in Postgres")
    await rows.limits.put(queue.name, "groups", Limit(running=1))
    done: list[int] = []

    @registry.handler("x")
    async def handle(job):
        await ledger.run(job, 0.005)
        if job.payload["n"] % 5 == 0 and job.attempt == 1:
            raise ValueError("once")
        done.append(job.payload["n"])

    await enqueue(["a", "b"] * 20, retries=2)
    async with run_worker(worker_concurrency=10) as one, run_worker(worker_concurrency=10) as two:
        await until_true(lambda: one.counts.done + two.counts.done == 40, seconds=30)
    for first in (0, 1):
        assert [n for n in done if n % 2 == first] == list(range(first, 40, 2))
    assert max(ledger.most.values()) == 1
    await nothing_left(queue, psql_if_rows)


async def test_a_type_pauses_for_as_long_as_its_handler_has_heard(registry, run_worker, queue, enqueue, psql_if_rows):
    starts: list[tuple[float, int]] = []

    @registry.handler("x")
    async def handle(job):
        starts.append((trio.current_time(), job.attempt))
        if len(starts) == 1:
            raise RateLimited(after=0.6)

    await enqueue([None] * 5)
    async with run_worker(worker_concurrency=1) as worker:
        await finished(worker, 5)
    assert starts[1][0] - starts[0][0] > 0.55
    assert {attempt for _, attempt in starts} == {1}, "nothing was counted"
    await nothing_left(queue, psql_if_rows)


async def test_a_group_pauses_and_the_others_go_on(registry, run_worker, enqueue):
    ends: list[str] = []

    @registry.handler("x")
    async def handle(job):
        ends.append(job.payload["g"])
        if ends.count("a") == 1 and job.payload["g"] == "a":
            raise RateLimited(after=0.5, group=True)

    await enqueue(["a", "b", "a", "b", "a", "b"])
    async with run_worker(worker_concurrency=1) as worker:
        await finished(worker, 6)
    assert [group for group in ends if group == "b"] == ["b"] * 3
    assert ends.index("a", ends.index("a") + 1) > len(ends) - 1 - ends[::-1].index("b")


async def test_an_idle_worker_starts_a_job_of_a_group_at_once(registry, run_worker, enqueue, ledger):
    started: list[float] = []

    @registry.handler("x")
    async def handle(job):
        started.append(trio.current_time())

    async with run_worker() as worker:
        await enqueue(["a"])
        await finished(worker, 1)
        seconds = []
        for n in range(2, 12):
            await trio.sleep(0.02)
            sent = trio.current_time()
            await enqueue(["a"])
            await finished(worker, n)
            seconds.append(started[-1] - sent)
    assert sorted(seconds)[5] < 0.2, f"without the bell each would wait for a quarter of a second: {seconds}"


async def test_a_limit_that_a_person_sets_holds_within_a_second(registry, run_worker, queue, store, enqueue, ledger):
    @registry.handler("x", running=7)
    async def handle(job):
        await ledger.run(job, 0.05)

    acts = engine_of(queue, store).limit_acts()
    await enqueue([None] * 200)
    async with run_worker(worker_concurrency=20, store=store) as worker:
        await until_true(lambda: worker.counts.done > 20)
        assert ledger.most[""] == 7
        await acts.put("type:x", Limit(running=2))
        await trio.sleep(0.5)  # what had its permit already runs to its end
        ledger.most.clear()
        await finished(worker, 60)
        assert ledger.most[""] <= 2
        await acts.delete("type:x")
        await finished(worker, 200)
        assert ledger.most[""] == 7


async def test_what_runs_when_a_limit_is_set_counts(registry, run_worker, queue, store, enqueue, ledger):
    go = trio.Event()

    @registry.handler("x")
    async def handle(job):
        ledger.order.append(job.payload["n"])
        await go.wait()

    await enqueue([None] * 3)
    acts = engine_of(queue, store).limit_acts()
    async with run_worker(worker_concurrency=20, store=store):
        await until_true(lambda: len(ledger.order) == 3)
        await acts.put("type:x", Limit(running=4))
        await until(partial(permits, queue, {"type:x": 3}))
        await enqueue([None] * 5)
        await until_true(lambda: len(ledger.order) == 4)
        await trio.sleep(0.5)
        assert len(ledger.order) == 4
        go.set()
        await until_true(lambda: len(ledger.order) == 8)


async def permits(queue, wanted: dict[str, int]) -> bool:
    return await queue.permits() == wanted


async def test_a_redis_that_has_lost_its_data_gets_the_limits_back(
    registry, run_worker, queue, enqueue, ledger, rows, redis
):
    @registry.handler("x", running=2)
    async def handle(job):
        await ledger.run(job, 0.01)

    async with run_worker(worker_concurrency=10) as worker:
        await enqueue([None] * 5)
        await finished(worker, 5)
        for name in await queue.key_names():
            await redis("DEL", name)
        await until_true(lambda: worker.leases.current is not None and worker.leases.lost == [], seconds=20)
        await trio.sleep(0.1)
        await enqueue([None] * 30)
        await finished(worker, 35, seconds=30)
    assert ledger.most[""] == 2
