"""Queues besides the default one, as a worker takes jobs from them."""

import json
from collections import Counter
from functools import partial
from statistics import median
from uuid import UUID

import pytest
import trio

from tests.support.invariants import check_nothing_left, check_rows
from tests.support.steps import make_submit
from tests.support.wait import until, until_true
from tests.worker.conftest import finished
from workqueue.core.options import JobOptions
from workqueue.core.queue import Queue
from workqueue.core.steps.pauses import Parking, Pauses
from workqueue.core.steps.queues import KnownQueues
from workqueue.core.steps.redis_loss import RedisLoss
from workqueue.core.steps.submit import Submit
from workqueue.core.store import JobStore
from workqueue.core.wire import Submission


def to(queue: str, count: int = 1, **options: object) -> list[Submission]:
    return [Submission("x", b'{"n":%d}' % n, JobOptions(queue=queue, **options)) for n in range(count)]  # type: ignore[arg-type]


async def producer(queue: Queue, rows: JobStore | None) -> Submit:
    """A producer's first look at Redis comes first: a worker's would push the jobs again."""
    if rows is not None:
        await RedisLoss(queue, rows).run_once()
    return make_submit(queue, rows)


def _has_run(ran: list[str], count: int) -> bool:
    return len(ran) == count


@pytest.fixture
def ran(registry) -> list[str]:
    """The queues of the jobs that ran, in order."""
    queues: list[str] = []

    @registry.handler("x")
    async def handle(job):
        queues.append(job._context.attempt_of(job).claimed.task.options.queue)

    return queues


async def test_jobs_of_all_queues_run_in_their_order(registry, ran, run_worker, queue, rows, psql_if_rows):
    step = await producer(queue, rows)
    ids = await step.run_batch([*to("mail", 300), *to("default", 300), *to("pdf", 300)])
    assert all(isinstance(job_id, UUID) for job_id in ids)
    async with run_worker(worker_concurrency=1) as worker:
        await finished(worker, 900)
    assert Counter(ran) == {"mail": 300, "default": 300, "pdf": 300}
    if psql_if_rows is not None:
        assert dict(await psql_if_rows("SELECT in_queue, count(*) FROM jobs GROUP BY 1")) == Counter(ran)
        await psql_if_rows("DELETE FROM outbox")
    left = await queue.key_names()
    assert {queue.keys.queues} <= left
    await queue._command("DEL", queue.keys.queues, queue.keys.bell)
    await check_nothing_left(queue, psql_if_rows)


async def test_weights_say_how_many_come_from_each(ran, run_worker, queue, rows):
    step = await producer(queue, rows)
    for name in ("low", "default", "critical"):
        for _ in range(4):
            await step.run_batch(to(name, 500))
    async with run_worker(worker_concurrency=1, queues="critical:6,default:3,low:1") as worker:
        await finished(worker, 6000)
    first = Counter(ran[:2000])  # a claim brings those of one queue before those of the next
    assert first["critical"] > 1.3 * first["default"] > 1.3 * 1.3 * first["low"] > 0


async def test_in_strict_order_a_queue_waits_for_those_before_it(ran, run_worker, queue, rows):
    await (await producer(queue, rows)).run_batch([*to("low", 50), *to("default", 50), *to("critical", 50)])
    async with run_worker(worker_concurrency=1, queues="critical,default,low") as worker:
        await finished(worker, 150)
    assert ran == ["critical"] * 50 + ["default"] * 50 + ["low"] * 50


async def test_a_worker_leaves_other_queues_alone(ran, run_worker, queue, rows):
    await (await producer(queue, rows)).run_batch([*to("mail", 5), *to("default", 5), *to("pdf", 5)])
    async with run_worker(queues="mail") as worker:
        await finished(worker, 5)
        await trio.sleep(0.6)
        assert ran == ["mail"] * 5
        depths = await queue.depths()
        assert (depths.ready, depths.others["pdf"].ready) == (10, 5)


@pytest.mark.parametrize("queues", ["all", "mail", "default,mail"])
async def test_an_idle_worker_wakes_for_any_of_them(ran, run_worker, queue, rows, queues):
    step = await producer(queue, rows)
    await KnownQueues(queue).note("mail")
    took: list[float] = []
    async with run_worker(queues=queues) as worker:
        for number in range(1, 21):
            await trio.sleep(0.05)
            pushed = trio.current_time()
            await step.run_batch(to("mail"))
            await until_true(partial(_has_run, ran, number), seconds=20)
            took.append(trio.current_time() - pushed)
        await finished(worker, 20)
    assert median(took) < 0.1  # without a bell: a quarter of a second


async def test_a_worker_learns_of_a_new_queue_at_once(ran, run_worker, queue, rows):
    async with run_worker() as worker:
        await trio.sleep(0.3)
        await KnownQueues(queue).note("new")
        await (await producer(queue, rows)).run_batch(to("new"))
        with trio.fail_after(3):
            await finished(worker, 1)
    assert ran == ["new"]


async def test_another_program_may_push_to_a_queue(ran, run_worker, queue, redis, rows, psql_if_rows):
    await KnownQueues(queue).note("mail")
    async with run_worker() as worker:
        task = json.dumps({"type": "x", "payload": {"queue": "pdf"}})
        await redis("RPUSH", queue.keys.ready_of("mail"), task, task)
        with trio.fail_after(5):
            await finished(worker, 2)
    assert ran == ["mail", "mail"]
    if psql_if_rows is not None:
        assert await psql_if_rows.value("SELECT count(*) FROM jobs WHERE in_queue = 'mail'") == 2


async def test_what_goes_back_goes_to_its_queue(registry, run_worker, queue, rows, psql_if_rows):
    runs: list[int] = []

    @registry.handler("x")
    async def handle(job):
        runs.append(job.attempt)
        raise ValueError("once more")

    await (await producer(queue, rows)).run_batch(to("mail", 1, retries=2))
    async with run_worker(queues="mail") as worker:  # would never find it in another one
        await finished(worker, 1)
    assert runs == [1, 2, 3]


async def test_a_stop_leaves_them_in_their_queues(registry, run_worker, queue, rows, psql_if_rows):
    @registry.handler("x")
    async def handle(job):
        await trio.sleep_forever()

    if rows is not None:
        await RedisLoss(queue, rows).run_once()  # or the first look of the worker would push them a second time
    await (await producer(queue, rows)).run_batch([*to("mail", 20), *to("default", 20)])
    async with run_worker(shutdown_grace=0):
        await trio.sleep(0.3)
    depths = await queue.depths()
    assert (depths.ready, depths.others["mail"].ready) == (40, 20)
    if psql_if_rows is not None:
        await check_rows(queue, psql_if_rows)


async def test_a_paused_queue_is_not_claimed_from_and_the_others_go_on(ran, run_worker, queue, store):
    pauses = Pauses(queue, store.pauses, Parking(queue))
    step = await producer(queue, store)
    await step.run_batch([*to("mail", 3), *to("default", 3)])
    await pauses.pause_queue("mail")
    async with run_worker(store=store) as worker:
        await finished(worker, 3)
        assert ran == ["default"] * 3
        await pauses.pause_queue("default")
        await pauses.resume_queue("mail")
        await step.run_batch(to("default", 2))
        await finished(worker, 6)
        assert ran == ["default"] * 3 + ["mail"] * 3
        await trio.sleep(0.6)
        assert len(ran) == 6
        await pauses.resume_queue("default")
        await finished(worker, 8)


async def test_jobs_that_were_claimed_before_a_pause_go_back(registry, run_worker, queue, store, psql):
    pauses = Pauses(queue, store.pauses, Parking(queue))
    begun: list[str] = []
    go_on = trio.Event()

    @registry.handler("x")
    async def handle(job):
        begun.append(job.id)
        await go_on.wait()

    await (await producer(queue, store)).run_batch(to("mail", 10))
    async with run_worker(store=store, worker_concurrency=1):
        await until_true(lambda: len(begun) == 1)
        await pauses.pause_queue("mail")

        async def are_back() -> bool:
            return (await queue.depths()).others["mail"].ready == 9

        await until(are_back)
        go_on.set()
        await trio.sleep(0.5)
        assert len(begun) == 1
