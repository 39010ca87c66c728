"""The tasks that run claimed jobs: which job may start, and what is counted and logged of those that did."""

import contextvars
import json
import logging
import threading
from collections import Counter
from functools import partial

import pytest
import trio

from tests.support.wait import until_true
from tests.worker.conftest import finished
from workqueue.core.handlers import Registry
from workqueue.core.queue import Queue
from workqueue.services.worker.peers import LOOK_SECONDS


async def test_a_payload_that_cannot_be_decoded_fails_that_job_alone_and_for_good(registry, run_worker, queue, rows):
    payloads = []

    @registry.handler("x")
    async def handle(job):
        payloads.append(job.payload)

    # JSON, so that the task can be read; but Python makes no integer of 5,000 digits.
    task = b'{"type":"x","retries":3,"payload":{"n":%b}}'
    await queue.push([task % b"1", task % (b"9" * 5000), task % b"2"])
    async with run_worker() as worker:
        await finished(worker, 3)
    assert sorted(payload["n"] for payload in payloads) == [1, 2]
    assert (worker.counts.done, worker.counts.failed, worker.counts.retried) == (2, 1, 0)


async def test_an_unknown_type_fails_like_any_other_error(registry, submit, run_worker, rows, queue):
    [job_id] = await submit("mystery", retries=1)
    async with run_worker() as worker:
        await finished(worker, 1)
    assert (worker.counts.failed, worker.counts.retried) == (1, 1)
    if rows is not None:
        row = await rows.get(job_id)
        assert (row.attempts, row.error_message) == (2, "unsupported task type: mystery")
    else:
        [entry] = await queue._command("LRANGE", queue.keys.dead, 0, -1)
        assert json.loads(entry)["reason"] == "unsupported task type: mystery"


async def test_an_unknown_type_goes_back_uncounted_while_another_worker_knows_it(
    registry, submit, run_worker, queue, rows
):
    other = Registry()

    @other.handler("mystery")
    async def handle(job):
        return job.attempt

    @registry.handler("slow")
    async def slow(job):
        await trio.sleep(0.1)

    async with run_worker(registry=registry, worker_concurrency=5) as ignorant:
        async with run_worker(registry=other, worker_concurrency=1) as knowing:
            await until_true(lambda: ignorant.can_claim)
            before, begun = await _scheduled_so_far(queue), trio.current_time()
            ids = await submit("mystery", 20)
            await finished(knowing, 20, seconds=30)
            # Each goes back for half a second at least; that, a look at a time, and what the leases cost.
            turns = (trio.current_time() - begun) / 0.5 + 2
            assert await _scheduled_so_far(queue) - before <= 20 * turns + 20, "without spinning"
        assert (ignorant.jobs_failed, ignorant.counts.retried) == (0, 0)
    if rows is not None:
        for job_id in ids:
            row = await rows.get(job_id)
            assert (row.attempts, row.interruptions, row.result) == (0, 0, "1")


async def test_tasks_of_a_type_that_no_worker_knows_pass_as_other_failures_do(
    registry, submit, run_worker, queue, rows, monkeypatch
):
    """Claimed by the hundred, and asked for once in a while: a million of them must not hold up what is behind them."""
    calls: Counter[str] = Counter()

    def count(name, ask, *arguments, **more):
        calls[name] += 1
        return ask(*arguments, **more)

    for name in ("claim", "workers"):
        monkeypatch.setattr(queue, name, partial(count, name, getattr(queue, name)))

    @registry.handler("known")
    async def handle(job):
        return None

    await submit("mystery", 3000)
    await submit("known", 10)
    begun = trio.current_time()
    async with run_worker(worker_concurrency=2) as worker:
        await finished(worker, 3010, seconds=60)
        assert (worker.counts.done, worker.jobs_failed) == (10, 3000)
        assert worker.counts.types["known"].done == 10
    assert calls["claim"] < 500
    assert calls["workers"] <= (trio.current_time() - begun) / LOOK_SECONDS + 5


async def _scheduled_so_far(queue) -> int:
    """How often anything was put into a sorted set: a task that waits, a lease that is renewed."""
    calls: int = (await queue._command("INFO", "commandstats")).get("cmdstat_zadd", {}).get("calls", 0)
    return calls


async def test_context_variables_of_one_job_do_not_reach_the_next(registry, submit, run_worker):
    leak: contextvars.ContextVar[str] = contextvars.ContextVar("leak", default="clean")
    seen = []

    @registry.handler("x")
    async def handle(job):
        seen.append(leak.get())
        leak.set(job.id)
        await trio.lowlevel.checkpoint()

    await submit("x", 50)
    async with run_worker(worker_concurrency=2) as worker:
        await finished(worker, 50)
    assert set(seen) == {"clean"}


async def test_a_plain_function_that_hangs_keeps_its_slot_and_is_counted(registry, submit, run_worker):
    release = threading.Event()

    @registry.handler("hang", timeout=0.1)
    def hang(job):
        release.wait(20)

    await submit("hang")
    async with run_worker(worker_concurrency=1) as worker:
        await finished(worker, 1)
        assert worker.counts.failed == 1
        assert worker.consumers.threads_left == 1
        assert (await worker.gauges()).threads_left == 1
        release.set()
        await until_true(lambda: worker.consumers.threads_left == 0)


async def test_a_failure_is_logged_once_with_the_jobs_id_and_its_traceback(registry, submit, run_worker, caplog):
    @registry.handler("x")
    async def handle(job):
        raise ValueError("broken")

    [job_id] = await submit("x")
    with caplog.at_level(logging.INFO):
        async with run_worker() as worker:
            await finished(worker, 1)
    [record] = [record for record in caplog.records if "broken" in record.getMessage()]
    assert str(job_id) in record.getMessage()
    assert "in handle" in record.traceback


async def test_a_flood_of_failures_is_counted_in_the_log_and_not_told_one_by_one(registry, submit, run_worker, caplog):
    @registry.handler("x")
    async def handle(job):
        raise ValueError("broken")

    await submit("x", 500)
    with caplog.at_level(logging.INFO):
        async with run_worker() as worker:
            await finished(worker, 500)
    shown = sum("broken" in line for line in caplog.messages)
    left_out = sum(int(line.split()[0]) for line in caplog.messages if "not shown one by one" in line)
    assert shown + left_out == 500
    assert 20 <= shown < 500


@pytest.mark.parametrize("rows", ["redis only"], indirect=True)
async def test_a_last_chance_that_was_not_started_leaves_the_next_one_its_turn(run_worker, queue, registry, rows):
    # Suspects at their last chance run one at a time: without its turn given back, all others would wait for ever.
    @registry.handler("suspect")
    async def suspect(job) -> None: ...

    async with run_worker(worker_concurrency=2, max_recoveries=3) as worker:
        await queue.push([b'{"type":"unknown","recoveries":2}'])
        await finished(worker, 1)
        await queue.push([b'{"type":"suspect","recoveries":2}'])
        await finished(worker, 2)


async def test_jobs_at_their_last_chance_run_one_at_a_time_and_hold_up_no_other_job(run_worker, queue: Queue, registry):
    """If the worker died now, one of them would be to blame. With two of them running, both would end as failed."""
    running: set[str] = set()
    most, other_ran, release = 0, trio.Event(), trio.Event()

    @registry.handler("suspect")
    async def suspect(job) -> None:
        nonlocal most
        running.add(job.id)
        most = max(most, len(running))
        await release.wait()
        running.remove(job.id)

    @registry.handler("other")
    async def other(job) -> None:
        other_ran.set()

    suspects = [b'{"type":"suspect","recoveries":2,"payload":{"n":%d}}' % number for number in range(2)]
    async with run_worker(worker_concurrency=5, max_recoveries=3) as worker_:
        await queue.push([*suspects, b'{"type":"other"}'])
        with trio.fail_after(30):
            await other_ran.wait()
        await until_true(lambda: len(running) == 1)
        await trio.sleep(0.2)
        assert most == 1
        [recorded] = await queue._command("SMEMBERS", queue.keys.suspect_starts((await worker_.leases.wait()).id))
        assert int(recorded), "its start is recorded: a death of the worker counts against it"
        release.set()
        await finished(worker_, 3)
        assert most == 1
