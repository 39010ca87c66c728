"""kill -9 between any two trips of a claim or a settle: no job is lost, none doubled, each run is counted once."""

from functools import partial
from random import Random
from uuid import UUID, uuid4

import pytest
import trio

from tests.core.steps.support import fence, relay_now
from tests.support.invariants import check_rows
from tests.support.mortal import Killed, interleaved, mortal
from tests.support.rows import Psql
from tests.support.steps import Steps, make_claim, make_recover, make_settle
from workqueue.core.job import RunOutcome
from workqueue.core.options import JobOptions
from workqueue.core.outcome import Complete, Fail, GiveBack, Retry, Verdict
from workqueue.core.policies import Backoff
from workqueue.core.queue import Queue
from workqueue.core.steps.lease import ClaimedTask, Lease
from workqueue.core.steps.piggyback import Piggyback
from workqueue.core.steps.settle import Ending
from workqueue.core.store import JobStore
from workqueue.core.wire import Submission

CROSSINGS_MAX = 15


async def bury_the_dead(queue: Queue, store: JobStore | None, psql: Psql | None, lease: Lease) -> None:
    """What the other workers do: fence the lease, recover it, relay the outbox."""
    await queue.fence(lease.id, (await queue.lease_scores())[lease.id])
    await make_recover(queue, store, max_recoveries=3).run_once(lease.id)
    if store is not None:
        assert psql is not None
        await relay_now(queue, store, psql)


async def claim_all(parts: Steps, queue: Queue, lease: Lease, *, looks: int = 3) -> list[ClaimedTask]:
    """Everything that can be claimed, retries that come soon included."""
    held: list[ClaimedTask] = []
    for _ in range(looks):
        await queue.promote()
        held += await parts.claim.run_once(lease, 100)
        await trio.sleep(0.015)
    return held


@pytest.mark.parametrize("after", [False, True], ids=["before a trip", "after a trip"])
async def test_a_worker_may_die_at_each_step_of_a_claim(bridge, queue, rows, psql_if_rows, registered_lease, after):
    """Its own job, an external task with an id, one that gets its id in the claim, one that gets it later: killed after
    the ids are there, after a row was made, ..."""
    parts = Steps(queue, rows)
    for crossings in range(CROSSINGS_MAX):
        [own] = await parts.submit.run_batch([Submission("x", b"{}", JobOptions(2))])
        external = uuid4()
        nameless = [b'{"type":"x"}', b'{"type":"x","job_id":null}']
        await queue.push([*nameless, b'{"type":"x","job_id":"%b"}' % str(external).encode()])
        lease, other = registered_lease(), registered_lease()
        died = False
        try:
            dying = mortal(bridge, queue, rows, crossings, after=after)
            await make_claim(*dying, Piggyback(), "w").run_once(lease, 10)
        except Killed:
            died = True
        await bury_the_dead(queue, rows, psql_if_rows, lease)
        held = await claim_all(parts, queue, other, looks=1)
        ids = {item.job_id for item in held}
        assert len(held) == 4, f"killed at crossing {crossings}"
        assert len(ids) == 4, f"killed at crossing {crossings}"
        assert {own, external} < ids
        if psql_if_rows is not None:
            await check_rows(queue, psql_if_rows)
            processing = await psql_if_rows("SELECT id FROM jobs WHERE state = 'processing'")
            assert {row["id"] for row in processing} == ids, "and no row was made twice"
            assert await psql_if_rows("SELECT FROM jobs WHERE state = 'pending'") == []
        await parts.settle.run_batch([Ending(item, Complete(b"1"), 0.1) for item in held])
        assert (await queue.depths()).ready == 0
        if not died:
            assert crossings >= (6 if rows else 2), "it did die at some steps"
            return
    raise AssertionError("a claim takes fewer trips than this")


@pytest.mark.parametrize("after", [False, True], ids=["before a trip", "after a trip"])
@pytest.mark.parametrize(
    "verdict",
    [Complete(b"1"), Fail("E: x", RunOutcome.FAILED), Retry("E: x", RunOutcome.FAILED), GiveBack(interrupted=True)],
    ids=["complete", "bury", "retry", "give back"],
)
async def test_a_worker_may_die_at_each_step_of_a_settle(
    bridge, queue, rows, psql_if_rows, registered_lease, verdict: Verdict, after
):
    """Between Postgres and Redis above all: what the row says has happened, has, once."""
    parts = Steps(queue, rows)
    for crossings in range(CROSSINGS_MAX):
        submitted = await parts.submit.run_batch([Submission("x", b"{}", JobOptions(2))] * 3)
        ids = {job_id for job_id in submitted if isinstance(job_id, UUID)}
        lease, other = registered_lease(), registered_lease()
        held = await parts.claim.run_once(lease, 3)
        dead_before = (await queue.depths()).dead
        died = False
        try:
            dying = mortal(bridge, queue, rows, crossings, after=after)
            policy = Backoff(base=0.01, cap=0.02)
            settle = make_settle(*dying, Piggyback(), policy, Random(1))
            await settle.run_batch([Ending(item, verdict, 0.1) for item in held])
        except Killed:
            died = True
        await bury_the_dead(queue, rows, psql_if_rows, lease)
        again = await claim_all(parts, queue, other)
        assert len({item.job_id for item in again}) == len(again)
        counted = {item.counters.attempts + item.counters.recoveries + item.counters.interruptions for item in again}
        if isinstance(verdict, Complete | Fail):
            if psql_if_rows is not None:
                ended = await psql_if_rows("SELECT id FROM jobs WHERE state <> 'processing' AND id = ANY ($1)", ids)
                assert {item.job_id for item in again} == ids - {row["id"] for row in ended}
            elif isinstance(verdict, Fail):
                assert len(again) + (await queue.depths()).dead - dead_before == 3
            assert counted <= {1}
            assert again == [] or crossings == 0, "its end is written by the first trip"
        else:
            assert {item.job_id for item in again} == ids, f"killed at crossing {crossings}"
            assert counted == {1}, "as a failure, a give-back, or a death: once"
        if psql_if_rows is not None:
            await check_rows(queue, psql_if_rows)
        await parts.settle.run_batch([Ending(item, Complete(b"1"), 0.1) for item in again])
        if not died:
            return
    raise AssertionError("a settle takes fewer trips than this")


@pytest.mark.parametrize("interrupted", ["the retry", "the recovery"])
async def test_a_retry_and_the_recovery_of_its_lease_count_one_run_in_whatever_order_their_trips_are(
    bridge, queue, rows, psql_if_rows, registered_lease, interrupted
):
    """A worker that is thought dead schedules the retry while another one takes the job: one of them does."""
    parts = Steps(queue, rows)
    outcomes = []
    for crossings in range(CROSSINGS_MAX):
        [job_id] = await parts.submit.run_batch([Submission("x", b"{}", JobOptions(2))])
        lease, other = registered_lease(), registered_lease()
        [held] = await parts.claim.run_once(lease, 1)
        await fence(queue, lease)
        batch = [Ending(held, Retry("E", RunOutcome.FAILED), 0.1)]
        if interrupted == "the retry":
            recover = partial(make_recover(queue, rows, max_recoveries=3).run_once, lease.id)
            between, slow_queue, slow_rows = interleaved(bridge, queue, rows, crossings, recover)
            await Steps(slow_queue, slow_rows).settle.run_batch(batch)
        else:
            between, slow_queue, slow_rows = interleaved(
                bridge, queue, rows, crossings, partial(parts.settle.run_batch, batch)
            )
            await make_recover(slow_queue, slow_rows, max_recoveries=3).run_once(lease.id)
        if not between.has_run:
            break
        [again] = await claim_all(parts, queue, other)
        assert again.job_id == job_id
        assert rows is not None or parts.claim.counts.duplicates == 0, "without rows another worker would run it too"
        outcomes.append((again.counters.attempts, again.counters.recoveries))
        if psql_if_rows is not None:
            await check_rows(queue, psql_if_rows)
        await parts.settle.run_batch([Ending(again, Complete(b"1"), 0.1)])
    else:
        raise AssertionError("neither takes so many trips")
    assert set(outcomes) <= {(1, 0), (0, 1)}, "(attempts, recoveries): one run"
    assert outcomes[0] == ((0, 1) if interrupted == "the retry" else (1, 0)), "the first one counts it"


async def test_a_worker_that_comes_back_under_its_old_name_is_another_one(queue, rows, psql_if_rows, registered_lease):
    """The same host, pid and name, as in a container that was restarted: only the lease says who is who."""
    before, after = registered_lease(), registered_lease()
    old, new = Steps(queue, rows), Steps(queue, rows)  # both call themselves "w"
    [job_id] = await old.submit.run_batch([Submission("x", b"{}", JobOptions(2))])
    [zombie] = await old.claim.run_once(before, 1)
    assert await new.claim.audit(after) == 0, "what the old one holds is not the new one's to give back"
    assert await new.claim.run_once(after, 1) == []
    await bury_the_dead(queue, rows, psql_if_rows, before)
    [held] = await new.claim.run_once(after, 1)
    assert (held.job_id, held.counters.recoveries) == (job_id, 1)
    await old.settle.run_batch([Ending(zombie, Complete(b'"old"'), 0.1)])
    assert await queue.numbers(after.id) == {held.number}, "the old one's ack reaches its own flight alone"
    await new.settle.run_batch([Ending(held, Complete(b'"new"'), 0.1)])
    if rows is not None:
        row = await rows.get(job_id)
        assert row is not None
        assert row.result == '"new"'
