"""The services of a running worker beside its jobs: each test fails if the worker no longer runs that one."""

from collections.abc import Callable
from functools import partial
from uuid import uuid4

import pytest
from uuid_utils.compat import uuid7

from tests.support.invariants import check_rows
from tests.support.steps import Steps, make_recover, registered
from tests.support.wait import until, until_true
from tests.worker.conftest import finished
from workqueue.core.options import DEFAULTS
from workqueue.core.queue import Queue
from workqueue.core.steps.lease import Lease
from workqueue.core.steps.redis_loss import RedisLoss
from workqueue.core.store import JobStore, NewJob
from workqueue.services.worker import claiming, worker


@pytest.fixture
def registered_lease(redis_url: str, queue_name: str) -> Callable[[], Lease]:
    return partial(registered, redis_url, queue_name)


@pytest.fixture
def ran(registry) -> list[tuple[str, int]]:
    """(id, number of the run) of each job of type x that the worker has run."""
    ran: list[tuple[str, int]] = []

    @registry.handler("x")
    async def x(job) -> None:
        ran.append((str(job.id), job.attempt))

    return ran


async def test_jobs_of_a_worker_of_which_redis_knows_nothing_any_more_are_found(
    run_worker, submit, queue: Queue, rows: JobStore | None, registered_lease, ran, monkeypatch
):
    """Killed, and then Redis lost its lease: no worker can see that it stopped. Its rows, or its flight, name it."""
    monkeypatch.setattr(worker, "ORPHANS_SECONDS", 0.2)
    ids = await submit("x", 3)
    dead = registered_lease()
    assert len(await Steps(queue, rows).claim.run_once(dead, 3)) == 3
    await queue._command("ZREM", queue.keys.leases, str(dead.id))
    if rows is not None:
        await queue._command("DEL", queue.keys.workers, queue.keys.flight(dead.id))
    async with run_worker(lease_seconds=1) as running:
        await finished(running, 3)
        assert (await running.gauges()).recovered_jobs == 3
    assert sorted(ran) == [(str(job_id), 2) for job_id in ids]
    assert dead.id not in await queue.published_leases()


async def test_a_task_that_was_claimed_without_an_answer_is_given_back(
    run_worker, submit, queue: Queue, rows: JobStore | None, ran, psql_if_rows, monkeypatch
):
    """A task in its flight that it does not know; with rows, a row that a late statement claimed as well."""
    monkeypatch.setattr(claiming, "AUDIT_SECONDS", 0.2)
    async with run_worker() as running:
        lease = await running.leases.wait()
        await queue._command("HSET", queue.keys.flight(lease.id), 1_000_000, '{"type":"x"}')
        await until_true(lambda: len(ran) == 1)
        if rows is not None and psql_if_rows is not None:
            late = uuid7()
            await rows.insert(uuid7(), queue.name, [NewJob(late, "x", "{}", DEFAULTS)], [])
            claim = partial(rows.claim, queue=queue.name, owner=lease.id, worker="w", earlier=[], done_claims=[])
            assert await claim([late], uuid4())
            await until(partial(_waits_again, psql_if_rows, late))
            await check_rows(queue, psql_if_rows)


async def _waits_again(psql, job_id) -> bool:
    return await psql.value("SELECT state FROM jobs WHERE id = $1", job_id) == "pending"


@pytest.mark.parametrize("rows", ["postgres"], indirect=True)
async def test_a_job_of_the_outbox_that_was_never_pushed_is_run(
    run_worker, queue: Queue, rows: JobStore, ran, psql_if_rows
):
    """Its producer was killed between the insert and the push."""
    await RedisLoss(queue, rows).run_once()
    job_id = uuid7()
    await rows.insert(uuid7(), queue.name, [NewJob(job_id, "x", "{}", DEFAULTS)], [])
    await psql_if_rows("UPDATE outbox SET at = now() - interval '6 s'")
    async with run_worker() as running:
        await finished(running, 1)
        await until(partial(_outbox_is_empty, psql_if_rows))
    assert ran == [(str(job_id), 1)]


@pytest.mark.parametrize("rows", ["postgres"], indirect=True)
async def test_outbox_entries_are_deleted_although_no_other_statement_takes_them_along(
    run_worker, submit, queue: Queue, rows: JobStore, registry, psql_if_rows
):
    """After a second of quiet; the relay would push the job once more, in vain, and then delete its outbox entry."""

    @registry.handler("fails")
    async def fails(job) -> None:
        raise ValueError("no")

    await submit("fails", retries=1)
    await psql_if_rows("DELETE FROM outbox")  # that of the producer, which has no loop here
    async with run_worker(retry_base_seconds=3000, retry_cap_seconds=3600) as running:
        await until_true(lambda: running.counts.retried == 1 and len(running._outcomes) == 0)
        await psql_if_rows("UPDATE outbox SET at = now() + interval '1 h'")  # the relay leaves it alone
        await until(partial(_outbox_is_empty, psql_if_rows), seconds=60)
        assert (await queue.depths()).scheduled == 1


async def _outbox_is_empty(psql) -> bool:
    return await psql("SELECT * FROM outbox") == []


async def test_a_job_fails_after_as_many_deaths_as_the_setting_says(
    run_worker, submit, queue: Queue, rows: JobStore | None, registered_lease, ran
):
    await submit("x")
    steps = Steps(queue, rows)
    for _ in range(2):
        lease = registered_lease()
        [held] = await steps.claim.run_once(lease, 1)
        if held.counters.recoveries:
            assert await queue.record_suspect_start(lease.id, held.number)
        assert await queue.fence(lease.id, (await queue.lease_scores())[lease.id])
        if not held.counters.recoveries:
            await make_recover(queue, rows, max_recoveries=2).run_once(lease.id)
    async with run_worker(max_recoveries=2) as running:
        await until_true(lambda: running.recover.counts.failed == 1)
        await until(partial(_is_gone, queue, lease))
        assert (await queue.depths()).ready == 0
    assert ran == []


async def _is_gone(queue: Queue, lease: Lease) -> bool:
    return lease.id not in await queue.lease_scores()
