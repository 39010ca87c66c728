"""A worker that loses its lease while jobs run: under the next one it may get the very same jobs."""

import pytest
import trio

from tests.support.invariants import check_rows
from tests.support.wait import until_true
from tests.worker.conftest import finished
from workqueue.core.handlers import Registry
from workqueue.core.steps.lease import Lease
from workqueue.services.worker.leases import Leases


async def test_a_job_that_comes_back_while_its_old_run_still_ends_completes_once(
    run_worker, submit, queue, rows, registry: Registry, psql_if_rows
):
    """Its lease is fenced; the old run takes its time to be cancelled, and the same worker runs the job once more."""
    runs: list[int] = []
    old_may_end, new_may_end = trio.Event(), trio.Event()

    @registry.handler("slow to cancel")
    async def slow_to_cancel(job) -> object:
        runs.append(job.attempt)
        if len(runs) > 1:
            await new_may_end.wait()
            return "new"
        try:
            await trio.sleep_forever()
        finally:
            with trio.move_on_after(10, shield=True):
                await old_may_end.wait()

    async with run_worker(worker_concurrency=4) as worker:
        await submit("slow to cancel")
        await until_true(lambda: len(runs) == 1)
        lost = worker.leases.current
        assert await queue.fence(lost.id, (await queue.lease_scores())[lost.id])
        await until_true(lambda: len(runs) == 2)
        assert len(worker.consumers) == 2
        old_may_end.set()
        await until_true(lambda: len(worker.consumers) == 1 and not lost.tasks)
        new_may_end.set()
        await finished(worker, 1)
        assert worker.counts.done == 1
    if psql_if_rows is not None:
        assert await psql_if_rows.value("SELECT state FROM jobs") == "completed"
        await check_rows(queue, psql_if_rows)


async def test_nothing_starts_on_a_lease_that_was_not_renewed_lately(run_worker, submit, registry: Registry, rows):
    """It may run elsewhere already. Once it is renewed, what has been claimed meanwhile starts."""
    started: list[int] = []

    @registry.handler("x")
    async def x(job) -> None:
        started.append(job.attempt)

    async with run_worker() as worker:
        renewed = worker._lease_thread._clock
        worker._lease_thread._clock = lambda: renewed() + 1000  # as after a freeze
        await submit("x", 3)
        await until_true(lambda: worker.leases.current.tasks)
        await trio.sleep(0.3)
        assert started == []
        assert not worker.can_claim
        assert "no fresh lease" in (await worker.faults())["lease"]
        worker._lease_thread._clock = renewed
        await finished(worker, 3)
    assert started == [1, 1, 1]


@pytest.mark.parametrize("rows", ["postgres"], indirect=True)
async def test_what_a_claim_is_told_first_gets_a_new_lease_as_well(run_worker, submit, queue, registry: Registry):
    """Redis answers the claim `lost` and the renewals `ok`, in a failover to and fro: the thread must not go on."""

    @registry.handler("x")
    async def x(job) -> None:
        pass

    async with run_worker(worker_concurrency=1, lease_seconds=60) as worker:
        lost = worker.leases.current
        worker.leases.lose(lost)
        await until_true(lambda: worker.leases.current is not None)
        assert worker.leases.current is not lost
        await submit("x")
        await finished(worker, 1)


@pytest.mark.parametrize("rows", ["redis only"], indirect=True)
async def test_no_lease_is_taken_behind_the_last_one(run_worker, queue, monkeypatch, rows):
    # The thread that keeps leases is stopped before the last one is let go of; else it would take the next.
    end = queue.end

    async def slow(lease) -> None:
        await end(lease)
        await trio.sleep(0.6)

    monkeypatch.setattr(queue, "end", slow)
    for _ in range(3):
        async with run_worker(lease_seconds=1):
            pass
        assert await queue.lease_scores() == {}


async def test_a_loss_that_is_told_twice_is_one():
    lost: list[Lease] = []
    leases, lease = Leases(lost.append), Lease()
    leases.take(lease)
    leases.lose(lease)
    leases.lose(lease)
    assert leases.lost == [lease.id]
    assert lost == [lease]
