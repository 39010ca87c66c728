"""The services of a running worker beside its jobs: each test fails if the worker no longer runs that one."""

from collections.abc import Callable
from functools import partial
from uuid import uuid4

import pytest
import trio
from uuid_utils.compat import uuid7

from tests.core.steps.conftest import Steps, registered
from tests.support.invariants import check_rows
from tests.support.steps import make_recover
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
    """Killed, and then Redis lost its lease: nobody can see it stand still. Its rows, or its flight, name it."""
    monkeypatch.setattr(worker, "ORPHANS_SECONDS", 0.2)
    ids = await submit("x", 3)
    dead = registered_lease()
    assert len(await Steps(queue, rows).claim.run_once(dead, 3)) == 3
    await queue._command("ZREM", queue.keys.leases, str(dead.id))
    if rows is not None:
        await queue._command("DEL", queue.keys.workers, queue.keys.flight(dead.id))
    async with run_worker(lease_seconds=1):
        await until_true(lambda: len(ran) == 3)
    assert sorted(ran) == [(str(job_id), 2) for job_id in ids]
    assert dead.id not in await queue.published_leases()


async def test_what_an_answer_without_a_receiver_left_with_us_is_given_back(
    run_worker, submit, queue: Queue, rows: JobStore | None, ran, psql_if_rows, monkeypatch
):
    """A task in our flight that we do not hold; with rows, one that a late statement of ours took as well."""
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
async def test_what_was_marked_and_never_pushed_is_run(run_worker, queue: Queue, rows: JobStore, ran, psql_if_rows):
    """Its producer was killed between the insert and the push."""
    await RedisLoss(queue, rows).run_once()
    job_id = uuid7()
    await rows.insert(uuid7(), queue.name, [NewJob(job_id, "x", "{}", DEFAULTS)], [])
    await psql_if_rows("UPDATE outbox SET at = now() - interval '6 s'")
    async with run_worker() as running:
        await finished(running, 1)
    assert ran == [(str(job_id), 1)]
    assert await psql_if_rows("SELECT * FROM outbox") == []


@pytest.mark.parametrize("rows", ["postgres"], indirect=True)
async def test_outbox_go_although_no_other_statement_takes_them_along(
    run_worker, submit, queue: Queue, rows: JobStore, registry, psql_if_rows
):
    """After a second of quiet; the sweep would push the job once more, in vain, and then drop its outbox entry."""

    @registry.handler("fails")
    async def fails(job) -> None:
        raise ValueError("no")

    await submit("fails", retries=1)
    await psql_if_rows("DELETE FROM outbox")  # that of the producer, which has no loop here
    async with run_worker(retry_base_seconds=3000, retry_cap_seconds=3600) as running:
        await until_true(lambda: running.counts.retried == 1 and len(running._outcomes) == 0)
        await psql_if_rows("UPDATE outbox SET at = now() + interval '1 h'")  # the sweep leaves it alone
        await until(partial(_no_marks, psql_if_rows), seconds=5)
        assert (await queue.depths()).scheduled == 1


async def _no_marks(psql) -> bool:
    return await psql("SELECT * FROM outbox") == []


async def test_jobs_at_their_last_chance_run_one_at_a_time_and_hold_up_nobody_else(run_worker, queue: Queue, registry):
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
        with trio.fail_after(5):
            await other_ran.wait()
        await until_true(lambda: len(running) == 1)
        await trio.sleep(0.2)
        assert most == 1
        [noted] = await queue._command("SMEMBERS", queue.keys.suspect_starts((await worker_.leases.wait()).id))
        assert int(noted), "its start is noted, so that it can be blamed"
        release.set()
        await finished(worker_, 3)
        assert most == 1
        assert worker_.consumers._last_chances == 0


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
