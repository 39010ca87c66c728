"""A worker that loses its lease while jobs run: under the next one it may get the very same jobs."""

from functools import partial

import pytest
import trio

from tests.support.invariants import check_rows
from tests.support.wait import until_true
from tests.worker.conftest import finished
from workqueue.core.errors import QueueUnavailable
from workqueue.core.handlers import Registry
from workqueue.core.steps.lease import Lease
from workqueue.services.worker.lease_thread import LeaseThread
from workqueue.services.worker.leases import Leases


async def test_a_job_that_comes_back_while_its_old_run_still_ends_harms_nobody(
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


class Connection:
    """Answers as Redis does to a worker that was frozen beyond its lease."""

    def __init__(self) -> None:
        self.renewals = [True, False]
        self.registered = 0

    def register(self, lease, published: bytes) -> None:
        self.registered += 1

    def renew(self, lease, published: bytes) -> bool:
        if not self.renewals:
            raise QueueUnavailable("later")
        return self.renewals.pop(0)


async def test_a_lost_lease_is_stale_although_the_next_one_is_there_before_the_loop_hears_of_it():
    """The loop of a worker that wakes from a freeze may get to a consumer first: it must not start the old job."""
    lost: list[Lease] = []
    thread = LeaseThread(Connection, term_seconds=10, took=lost.append, lost=lost.append, look=lambda: None)  # type: ignore[arg-type]
    connection, token = Connection(), trio.lowlevel.current_trio_token()
    old, _ = thread._trip(connection, None, token)  # type: ignore[arg-type]
    assert old is not None
    assert thread.is_fresh(old)
    assert thread._trip(connection, old, token)[0] is old  # type: ignore[arg-type]
    assert thread._trip(connection, old, token)[0] is None  # type: ignore[arg-type]
    new, _ = thread._trip(connection, None, token)  # type: ignore[arg-type]
    assert new is not None
    assert not old.lost, "the loop has not run yet"
    assert thread.is_fresh(new)
    assert not thread.is_fresh(old)
    await until_true(partial(lost.__contains__, new))


async def test_a_registration_that_had_no_answer_is_not_repeated_under_the_same_id():
    """It may arrive when that lease is long retired, and would revive it: each send has an id of its own."""
    ids = []

    class Silent(Connection):
        def register(self, lease, published: bytes) -> None:
            ids.append(lease)
            raise QueueUnavailable("no answer")

    thread = LeaseThread(Silent, term_seconds=10, took=print, lost=print, look=lambda: None)  # type: ignore[arg-type]
    connection, token = Silent(), trio.lowlevel.current_trio_token()
    for _ in range(3):
        assert thread._trip(connection, None, token)[0] is None  # type: ignore[arg-type]
    assert len(set(ids)) == 3


async def test_a_renewal_counts_from_its_sending_and_a_slow_one_not_at_all():
    """Stopped between the answer and its reading, a worker would take a lease for fresh that others have fenced."""
    now = [1000.0]

    class Slow(Connection):
        seconds = 0.0

        def register(self, lease, published: bytes) -> None:
            now[0] += self.seconds

        def renew(self, lease, published: bytes) -> bool:
            now[0] += self.seconds
            return True

    thread = LeaseThread(Slow, term_seconds=10, took=print, lost=print, look=lambda: None, clock=lambda: now[0])  # type: ignore[arg-type]
    connection, token = Slow(), trio.lowlevel.current_trio_token()
    connection.seconds = 1.9
    lease, _ = thread._trip(connection, None, token)  # type: ignore[arg-type]
    assert lease is not None
    steady = thread.steady_since()
    now[0] += 4.0
    assert thread.is_fresh(lease)
    now[0] += 0.2
    assert not thread.is_fresh(lease), "6.1 s after the sending, 4.2 s after the answer"
    connection.seconds = 2.1  # slower than a fifth of a term
    thread._trip(connection, lease, token)  # type: ignore[arg-type]
    assert not thread.is_fresh(lease)
    assert thread.steady_since() == float("inf"), "the gap is too long by now"
    connection.seconds = 0.1
    thread._trip(connection, lease, token)  # type: ignore[arg-type]
    assert thread.is_fresh(lease)
    assert thread.steady_since() > steady, "we were away: whoever watches others begins anew"


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
