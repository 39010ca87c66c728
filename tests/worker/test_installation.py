"""DATABASE_URL forgotten, another database, and the way from Redis only to rows: no job goes to a wrong worker."""

from collections import Counter
from functools import partial
from pathlib import Path
from signal import SIGKILL
from uuid import uuid4

import pytest
import trio

from tests.support.invariants import check_rows
from tests.support.steps import make_installation, make_submit
from tests.support.wait import until, until_true
from tests.worker.processes import ledger_counts, worker_process
from tests.worker.test_endpoint import is_ready, ready
from workqueue.core.dead_letter import dead_letter
from workqueue.core.options import JobOptions
from workqueue.core.steps.piggyback import Piggyback
from workqueue.core.wire import Submission, Task, encode_task


@pytest.fixture
def variables(redis_url, queue_name) -> dict[str, str]:
    return {"REDIS_URL": redis_url, "QUEUE_NAME": queue_name, "LEASE_SECONDS": "1"}


@pytest.fixture
def with_rows(variables, postgres_dsn, database_schema, store) -> dict[str, str]:
    return variables | {"DATABASE_URL": postgres_dsn, "DATABASE_SCHEMA": database_schema}


async def states(psql) -> Counter[str]:
    return Counter(row["state"] for row in await psql("SELECT state FROM jobs"))


async def test_a_worker_that_comes_without_the_database_takes_nothing_and_says_what_to_set(
    nursery, tmp_path: Path, variables, with_rows, queue, store, psql
):
    await make_installation(queue, store).run_once()
    [job_id] = await make_submit(queue, store, Piggyback()).run_batch([Submission("quick", b"{}")])
    ledger = tmp_path / "ledger"
    async with worker_process(nursery, ledger, wait=False, **variables) as worker:
        await until_true(lambda: "DATABASE_URL is not set: set it" in worker.said, seconds=30)
        status, faults = await ready(worker)
        assert status == 503
        assert "DATABASE_URL is not set" in faults["postgres"]
        await trio.sleep(1.2)  # another look
        assert worker.said.count("DATABASE_URL is not set") == 1, "told once"
        assert await queue.ready_length() == 1
        assert await queue.workers() == {}, "it has not even joined"
        assert await worker.terminate() < 5
        assert worker.process.returncode == 0
    async with worker_process(nursery, ledger, **with_rows) as worker:
        await until_true(lambda: ledger_counts(ledger)[1] == {str(job_id): 1})
        await until(partial(is_ready, worker))
        await worker.terminate()
    assert await states(psql) == {"completed": 1}


@pytest.mark.parametrize("rows", ["redis only"], indirect=True)
async def test_a_worker_that_runs_when_the_rows_come_takes_nothing_any_more(registry, run_worker, queue, store, rows):
    assert rows is None
    ran, go = [], trio.Event()

    @registry.handler("waits")
    async def waits(job):
        ran.append(job.id)
        await go.wait()

    submit = make_submit(queue, None, Piggyback())
    await submit.run_batch([Submission("waits", b"{}")] * 20)
    async with run_worker(worker_concurrency=1) as worker:
        await until_true(lambda: len(ran) == 1)
        await make_installation(queue, store).run_once()
        await until_true(lambda: worker.installation.refusal is not None)

        async def all_but_one_are_back() -> bool:
            return await queue.ready_length() == 19

        await until(all_but_one_are_back)
        assert "DATABASE_URL is not set" in (await worker.faults())["postgres"]
        go.set()
        await until_true(lambda: worker.counts.done == 1 and not len(worker._outcomes))
        await submit.run_batch([Submission("waits", b"{}")])
        await trio.sleep(1.2)
        assert (len(ran), await queue.ready_length()) == (1, 20), "what runs is settled, and nothing else is begun"
    await queue.remove()


async def test_from_redis_only_to_rows_with_jobs_waiting_scheduled_running_and_dead(
    nursery, tmp_path: Path, variables, with_rows, queue, psql
):
    """What docs/deployment.md says about the move."""
    ledger = tmp_path / "ledger"
    submit = make_submit(queue, None, Piggyback())
    running = await submit.run_batch([Submission("naps", b'{"seconds":600}')] * 2)
    waiting = await submit.run_batch([Submission("quick", b"{}", JobOptions(2))] * 3)
    async with worker_process(nursery, ledger, **variables) as worker:
        await until_true(lambda: len(ledger_counts(ledger)[0]) == 2)
        worker.process.send_signal(SIGKILL)  # the worst way: its jobs stay in its flight
        await worker.process.wait()
    early = uuid4()
    await queue.schedule([(1500, encode_task(Task("quick", job_id=early)))])
    letter = dead_letter(encode_task(Task("quick", job_id=uuid4())), "no")
    await queue._command("RPUSH", queue.keys.dead, letter)
    # The running ones are made short, or the test would last as long.
    flight = next(name for name in await queue.key_names() if ":flight:" in name)
    for number in (1, 2):
        task = await queue._command("HGET", flight, number)
        await queue._command("HSET", flight, number, task.replace(b"600", b"0.01"))
    async with worker_process(nursery, ledger, **with_rows) as worker:

        async def all_have_ended() -> bool:
            return await states(psql) == {"completed": 6}

        await until(all_have_ended, seconds=30)
        await worker.terminate()
    ids = {row["id"] for row in await psql("SELECT id FROM jobs")}
    assert ids == {*running, *waiting, early}
    starts, ends = ledger_counts(ledger)
    assert set(ends.values()) == {1}
    assert len(ends) == 6
    assert [starts[str(job_id)] for job_id in running] == [2, 2], "what had begun is begun again"
    assert await queue._command("LLEN", queue.keys.dead) == 1, "dead letters stay where they are"
    await check_rows(queue, psql)
    await queue._command("DEL", queue.keys.dead)
