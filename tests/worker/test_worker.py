"""A worker on real servers, without and with rows."""

import json
from collections import Counter
from uuid import uuid4

import pytest
import trio

from tests.support.invariants import check_nothing_left
from tests.support.wait import until, until_true
from tests.worker.conftest import finished


async def test_jobs_are_done_in_the_order_of_their_push_and_nothing_is_left(
    registry, submit, run_worker, queue, rows, psql_if_rows
):
    ran: list[str] = []

    @registry.handler("x")
    async def handle(job):
        ran.append(job.id)
        return {"n": 1}

    ids = [str(job_id) for job_id in await submit("x", 1200)]
    async with run_worker(worker_concurrency=1) as worker:
        await finished(worker, 1200)
    assert ran == ids
    assert (worker.counts.done, worker.jobs_failed) == (1200, 0)
    if psql_if_rows is not None:
        assert (
            await psql_if_rows.value("SELECT count(*) FROM jobs WHERE state = 'completed' AND result = '{\"n\":1}'")
            == 1200
        )
    await _clear_the_producers_outbox(psql_if_rows)
    await check_nothing_left(queue, psql_if_rows)


async def _clear_the_producers_outbox(psql) -> None:
    """The producer of these tests has no loop that does it."""
    if psql is not None:
        await psql("DELETE FROM outbox")


async def test_a_failing_job_is_retried_with_backoff_and_then_fails_for_good(
    registry, submit, run_worker, queue, rows, psql_if_rows
):
    attempts: list[tuple[str, int]] = []

    @registry.handler("x")
    async def handle(job):
        attempts.append((job.id, job.attempt))
        raise ValueError(f"run {job.attempt}")

    ids = await submit("x", 20, retries=2)
    async with run_worker(worker_concurrency=5) as worker:
        await finished(worker, 20)
    assert Counter(attempts) == {(str(job_id), run): 1 for job_id in ids for run in (1, 2, 3)}
    assert (worker.counts.done, worker.counts.failed, worker.counts.retried) == (0, 20, 40)
    if rows is not None:
        row = await rows.get(ids[0])
        assert (row.state, row.attempts, row.error_message) == ("failed", 3, "ValueError: run 3")
        assert [run.number for run in await rows.runs(ids[0])] == [1, 2, 3]
    else:
        assert (await queue.depths()).dead == 20
    await _clear_the_producers_outbox(psql_if_rows)
    await check_nothing_left(queue, psql_if_rows, dead=True)


async def test_a_job_that_succeeds_at_last_keeps_its_failures_and_loses_its_message(registry, submit, run_worker, rows):
    @registry.handler("x")
    async def handle(job):
        if job.attempt < 3:
            raise ValueError("not yet")
        return job.attempt

    [job_id] = await submit("x", retries=5)
    async with run_worker() as worker:
        await finished(worker, 1)
    assert worker.counts.done == 1
    if rows is not None:
        row = await rows.get(job_id)
        assert (row.state, row.attempts, row.error_message, row.result) == ("completed", 2, None, "3")


async def test_any_program_may_push_and_any_program_may_take(registry, run_worker, queue, rows):
    seen = []

    @registry.handler("x")
    async def handle(job):
        seen.append((job.payload, job.retries, job.id))

    own = uuid4()
    await queue._command("RPUSH", queue.name, '{"type":"x"}', f'{{"type":"x","payload":{{"a":1}},"job_id":"{own}"}}')
    async with run_worker() as worker:
        await finished(worker, 2)
        assert sorted(seen, key=str)[1] == ({}, 0, seen[0][2])
        assert ({"a": 1}, 0, str(own)) in seen
    await queue.push([b'{"type":"x","n":1}', b'{"type":"x","n":2}'])
    assert await queue._command("BRPOP", queue.name, 1) in [
        [queue.name.encode(), b'{"type":"x","n":2}'],
        (queue.name.encode(), b'{"type":"x","n":2}'),
    ]
    assert await queue._command("LPOP", queue.name) == b'{"type":"x","n":1}'


async def test_garbage_among_good_tasks_is_buried_and_counted_as_failed(registry, run_worker, queue):
    @registry.handler("x")
    async def handle(job): ...

    tasks = [b'{"type":"x"}'] * 499
    tasks.insert(250, b"\x00garbage")
    await queue.push(tasks)
    async with run_worker() as worker:
        await finished(worker, 500)
    assert (worker.counts.done, worker.jobs_failed) == (499, 1)
    [entry] = await queue._command("LRANGE", queue.keys.dead, 0, -1)
    assert json.loads(entry)["task"] == "\x00garbage"


async def test_two_workers_share_a_queue_and_no_job_runs_twice(registry, submit, run_worker):
    ran: Counter[str] = Counter()

    @registry.handler("x")
    async def handle(job):
        ran[job.id] += 1
        await trio.lowlevel.checkpoint()

    ids = await submit("x", 2000)
    async with run_worker(worker_concurrency=4) as one, run_worker(worker_concurrency=4) as two:
        await until_true(lambda: one.counts.done + two.counts.done >= 2000, seconds=60)
    assert ran == {str(job_id): 1 for job_id in ids}
    assert min(one.counts.done, two.counts.done) > 0


async def test_duplicates_of_a_task_run_once(registry, submit, run_worker, queue, rows):
    started, go_on = trio.Event(), trio.Event()
    ran: Counter[str] = Counter()

    @registry.handler("x")
    async def handle(job):
        ran[job.id] += 1
        started.set()
        await go_on.wait()

    [job_id] = await submit("x")
    [line] = await queue._command("LRANGE", queue.name, 0, -1)
    async with run_worker(worker_concurrency=5) as worker:
        await started.wait()
        await queue.push([line, line])
        await until_true(lambda: worker._claim.counts.duplicates == 2)
        go_on.set()
        await finished(worker, 1)
        if rows is not None:  # it has ended: the row knows
            await queue.push([line])
            await until_true(lambda: worker._claim.counts.duplicates == 3)
    assert ran == {str(job_id): 1}


async def test_a_short_job_does_not_wait_behind_a_long_one_while_a_second_worker_is_idle(registry, submit, run_worker):
    released, short_done = trio.Event(), []

    @registry.handler("long")
    async def long(job):
        await released.wait()

    @registry.handler("short")
    async def short(job):
        short_done.append(job.id)

    async with run_worker(worker_concurrency=1) as one:
        await submit("short", 300)  # it learns that jobs are short, and claims ahead
        await finished(one, 300)
        await submit("long")
        await submit("short", 200)
        async with run_worker(worker_concurrency=1):
            await until_true(lambda: len(short_done) == 500, seconds=60)
        released.set()


async def test_a_result_and_its_artifacts_are_kept_or_refused_with_a_reason(registry, submit, run_worker, rows):
    @registry.handler("x")
    async def handle(job):
        job.attach("a.txt", b"hello", "text/plain")
        return "ok"

    [job_id] = await submit("x")
    async with run_worker() as worker:
        await finished(worker, 1)
    if rows is not None:
        assert (await rows.artifact(job_id, None)).content == b"hello"
        assert (await rows.get(job_id)).result == '"ok"'
    else:
        assert worker.counts.failed == 1


async def test_what_a_worker_says_of_itself(registry, submit, run_worker, queue):
    go_on = trio.Event()

    @registry.handler("x")
    async def handle(job):
        await go_on.wait()

    [job_id] = await submit("x")
    async with run_worker(worker_concurrency=7, lease_seconds=1) as worker:

        async def shown() -> bool:
            found = [json.loads(published) for published, _ in (await queue.workers()).values()]
            return bool(found and found[0]["running"])

        await until(shown)
        [(published, age)] = (await queue.workers()).values()
        said = json.loads(published)
        assert (said["name"], said["concurrency"], said["types"]) == (worker.name, 7, ["x"])
        assert said["running"][0]["job_id"] == str(job_id)
        assert age < 5
        gauges = await worker.gauges()
        assert (gauges.running, gauges.ready) == (1, 0)
        go_on.set()
        await finished(worker, 1)


@pytest.mark.parametrize("rows", ["postgres"], indirect=True)
async def test_a_worker_removes_idempotency_keys_that_are_too_old(run_worker, queue, rows, psql):
    await psql(
        "INSERT INTO idempotency SELECT $1, sha256(n::text::bytea), '', gen_random_uuid(), now() + (n - 1200.5) *"
        " interval '1 s' FROM generate_series(1, 1210) n",
        queue.name,
    )

    async def pruned() -> bool:
        return await psql.value("SELECT count(*) FROM idempotency") <= 10

    async with run_worker():
        await until(pruned, seconds=60)
