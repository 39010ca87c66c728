"""Handlers of asyncio, in a worker: results, failures, timeouts, cancellation and a stop, with rows and without."""

import asyncio
import time

import trio

from tests.support.invariants import check_nothing_left
from tests.support.steps import make_submit
from tests.support.wait import until_true
from tests.worker.conftest import finished
from workqueue.core.dead_letter import read_dead_letter
from workqueue.core.job import Job
from workqueue.core.options import JobOptions
from workqueue.core.wire import Submission


async def submit(queue, rows, *names, kind="x", **options):
    tasks = [Submission(kind, b'{"name":"%s"}' % name.encode(), JobOptions(**options)) for name in names]
    return await make_submit(queue, rows).run_batch(tasks)


async def ends(queue, psql_if_rows):
    """Name -> how its job ended, with its error."""
    if psql_if_rows is None:
        entries = [read_dead_letter(entry) async for piece in queue.dead_letters() for entry in piece]
        return sorted(entry.reason for entry in entries)
    rows = await psql_if_rows("SELECT error_message FROM jobs WHERE error_message IS NOT NULL")
    return sorted(row["error_message"] for row in rows)


async def test_what_it_returns_raises_and_takes_too_long(registry, run_worker, queue, rows, psql_if_rows):
    @registry.handler("x", runtime="asyncio", timeout=0.3)
    async def handle(job: Job) -> object:
        job.progress(0.5, "half")
        job.log("here")
        match job.payload["name"]:
            case "fails":
                raise ValueError("no")
            case "late":
                await asyncio.sleep(60)
            case "group":
                async with asyncio.TaskGroup() as group:
                    group.create_task(asyncio.sleep(0.01))
        return {"ran in": type(asyncio.get_running_loop()).__module__}

    @registry.handler("trio")
    async def ours(job: Job) -> None:
        await trio.lowlevel.checkpoint()

    await submit(queue, rows, "good", "fails", "late", "group")
    await submit(queue, rows, "ours", kind="trio")
    async with run_worker() as worker:
        await finished(worker, 5)
    assert await ends(queue, psql_if_rows) == ["ValueError: no", "timed out after 0.3 s"]
    if psql_if_rows is not None:
        results = await psql_if_rows("SELECT result FROM jobs WHERE state = 'completed' AND type = 'x'")
        assert [row["result"] for row in results] == ['{"ran in":"asyncio.unix_events"}'] * 2
        traceback = await psql_if_rows("SELECT traceback FROM runs WHERE error = 'ValueError: no'")
        assert "test_asyncio.py" in traceback[0]["traceback"]
        assert "asyncio_thread.py" not in traceback[0]["traceback"]
        await check_nothing_left(queue, psql_if_rows)


async def test_a_stop_cancels_what_runs_and_waits_for_its_clean_up(registry, run_worker, queue, rows, psql_if_rows):
    seen: list[str] = []

    @registry.handler("x", runtime="asyncio")
    async def handle(job: Job) -> None:
        seen.append("runs")
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.1)
            seen.append("cleaned up")

    await submit(queue, rows, "one")
    async with run_worker(shutdown_grace=0.2):
        await until_true(lambda: seen == ["runs"])
    assert seen == ["runs", "cleaned up"]
    assert (await queue.depths()).ready == 1, "it goes back, and another worker runs it"


async def test_one_that_blocks_its_loop_holds_up_no_other_kind(registry, run_worker, queue, rows):
    seen: list[str] = []

    @registry.handler("x", runtime="asyncio")
    async def blocks(job: Job) -> None:
        time.sleep(1)  # noqa: ASYNC251 - that is the fault
        seen.append("blocked")

    @registry.handler("trio")
    async def ours(job: Job) -> None:
        seen.append("ours")

    await submit(queue, rows, "one")
    await submit(queue, rows, "two", kind="trio")
    async with run_worker() as worker:
        await finished(worker, 2)
    assert seen == ["ours", "blocked"]


async def test_a_hundred_at_once_leave_nothing_behind(registry, run_worker, queue, rows, psql_if_rows):
    tasks: set[asyncio.Task[None]] = set()

    async def child() -> None:
        await asyncio.sleep(60)

    @registry.handler("x", runtime="asyncio")
    async def handle(job: Job) -> None:
        tasks.add(asyncio.create_task(child()))
        await asyncio.sleep(0.01)

    await submit(queue, rows, *map(str, range(100)))
    async with run_worker(worker_concurrency=50) as worker:
        await finished(worker, 100)
    assert len(tasks) == 100
    assert all(task.cancelled() for task in tasks)
