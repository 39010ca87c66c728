"""Unique keys, as a worker frees them: with rows and without."""

from typing import Any

import trio

from tests.support.invariants import check_nothing_left
from tests.support.steps import make_submit_unique
from tests.worker.conftest import finished
from workqueue.core.options import JobOptions
from workqueue.core.policies import Discard
from workqueue.core.steps.submit_unique import Duplicate, SubmitUnique
from workqueue.core.wire import Submission


def item(payload: bytes = b"{}", *, retries: int = 0, until_: str | None = None, replace: bool = False) -> Submission:
    options = JobOptions(retries, unique_key="k", unique_until=until_, on_duplicate="replace" if replace else None)
    return Submission("x", payload, options)


async def accept(step: SubmitUnique, submission: Submission) -> Any:
    [answer] = await step.run_batch([submission])
    return answer


async def test_the_key_is_held_while_the_job_runs_and_free_when_it_has_ended(
    registry, run_worker, queue, rows, psql_if_rows
):
    began, go = trio.Event(), trio.Event()

    @registry.handler("x")
    async def handle(job):
        began.set()
        await go.wait()

    step = make_submit_unique(queue, rows)
    async with run_worker() as worker:
        first = await accept(step, item())
        await began.wait()
        assert await accept(step, item()) == Duplicate(first)
        go.set()
        await finished(worker, 1)
        second = await accept(step, item())
        assert second not in (first, Duplicate(first))
        await finished(worker, 2)
    if psql_if_rows is not None:
        await psql_if_rows("DELETE FROM outbox")
    await check_nothing_left(queue, psql_if_rows)


async def test_a_failure_frees_it_and_a_retry_keeps_it(registry, run_worker, queue, rows, psql_if_rows):
    failing = trio.Event()
    runs: list[int] = []

    @registry.handler("x")
    async def handle(job):
        runs.append(job.payload["n"])
        if len(runs) == 2:
            failing.set()
            await trio.sleep(0.1)
        raise (ValueError if len(runs) == 1 else Discard)("no")

    step = make_submit_unique(queue, rows)
    async with run_worker() as worker:
        first = await accept(step, item(b'{"n":1}', retries=3))
        await failing.wait()
        assert await accept(step, item(b'{"n":2}', replace=True)) == Duplicate(first)
        await finished(worker, 1)
        second = await accept(step, item(b'{"n":3}'))
        assert not isinstance(second, Duplicate)
        await finished(worker, 2)
    assert runs == [1, 1, 3], "what has been started is not replaced"
    if psql_if_rows is not None:
        await psql_if_rows("DELETE FROM outbox")
    await check_nothing_left(queue, psql_if_rows, dead=True)


async def test_until_it_is_started_one_may_run_and_one_wait(registry, run_worker, queue, rows):
    began, go = trio.Event(), trio.Event()

    @registry.handler("x")
    async def handle(job):
        began.set()
        await go.wait()

    step = make_submit_unique(queue, rows)
    first = await accept(step, item(until_="started"))
    assert await accept(step, item(until_="started")) == Duplicate(first)
    async with run_worker() as worker:
        await began.wait()
        second = await accept(step, item(until_="started"))
        assert not isinstance(second, Duplicate)
        go.set()
        await finished(worker, 2)


async def test_for_seconds_it_is_held_after_the_end(registry, run_worker, queue, rows):
    @registry.handler("x")
    async def handle(job):
        pass

    step = make_submit_unique(queue, rows)
    async with run_worker() as worker:
        begun = trio.current_time()
        first = await accept(step, item(until_="1.5"))
        await finished(worker, 1)
        assert await accept(step, item()) == Duplicate(first)
        while await accept(step, item()) == Duplicate(first):
            await trio.sleep(0.05)
        assert 1.4 < trio.current_time() - begun < 10


async def test_what_was_replaced_runs_once_with_what_came_last(registry, run_worker, queue, rows, psql_if_rows):
    ran: list[tuple[int, str]] = []

    @registry.handler("x")
    async def handle(job):
        ran.append((job.payload["n"], str(job.id)))

    step = make_submit_unique(queue, rows)
    first = await accept(step, item(b'{"n":0}'))
    for number in range(1, 6):
        await step.run_batch([item(b'{"n":%d}' % number, replace=True)])
    async with run_worker() as worker:
        await finished(worker, 1)
    assert ran == [(5, str(first))]
    if psql_if_rows is not None:
        await psql_if_rows("DELETE FROM outbox")
    await check_nothing_left(queue, psql_if_rows)
