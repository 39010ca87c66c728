"""Statements that arrive long after their sender gave up, rows that are locked, runs that end side by side.

Found by comparing the steps with the protocol's model (tests/protocol_model), where chance plays the same.
"""

from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
import trio

from tests.core.steps.support import fence, submitted
from tests.support.invariants import check_rows, tasks_in_redis
from tests.support.steps import Steps, make_recover
from tests.support.wait import until
from workqueue.core.errors import StoreUnavailable
from workqueue.core.job import RunOutcome
from workqueue.core.outcome import Complete, GiveBack, Retry, Verdict
from workqueue.core.steps.outbox import OutboxRelay
from workqueue.core.steps.redis_loss import RedisLoss
from workqueue.core.steps.settle import Ending


class Late:
    """A store one of whose statements has no answer the first time; `arrive` executes it, as late as one likes."""

    def __init__(self, store: object, name: str) -> None:
        self._store = store
        self._name = name
        self._sent: partial[Any] | None = None

    def __getattr__(self, name: str) -> Any:
        return self._hang if name == self._name and self._sent is None else getattr(self._store, name)

    async def _hang(self, *arguments: Any, **options: Any) -> None:
        self._sent = partial(getattr(self._store, self._name), *arguments, **options)
        raise StoreUnavailable("no answer")

    async def arrive(self) -> Any:
        assert self._sent is not None
        return await self._sent()


async def test_a_claim_that_arrives_when_its_job_waits_for_a_retry_is_not_forgotten(steps, queue, store, psql, lease):
    # Its repeat was answered, the job ran and failed; now the first send takes the row. Had its claim been reckoned
    # settled, a statement that is late as well would delete it, and the row would be processing for ever.
    [job_id] = await submitted(steps, 1)
    steps.claim._claims._store = late = Late(store, "claim")
    [held] = await steps.claim.run_once(lease, 1)
    with steps.piggyback.outbox() as batches, steps.piggyback.claims() as tokens:
        pass  # on their way
    await steps.settle.run_batch([Ending(held, Retry("E", RunOutcome.FAILED), 0.1)])
    await psql("UPDATE jobs SET run_at = NULL")
    assert await late.arrive() != {}
    await store.delete_outbox(batches, tokens)
    await check_rows(queue, psql)
    assert await steps.claim.audit(lease) == 1
    assert (await store.get(job_id)).state == "pending"
    await steps.claim.audit(lease)  # sees that nothing is left of that claim
    await steps.piggyback.clear(store)
    assert await psql("SELECT * FROM claimed") == []
    await check_rows(queue, psql)


async def test_a_recovery_that_arrives_late_adds_nothing_to_the_outbox_entry_that_goes(
    steps, queue, store, psql, lease, other
):
    # All of it after Postgres stood still: the repeat of the recovery, a claim of the dead worker, the first recovery.
    first, second = await submitted(steps, 2)
    await steps.piggyback.clear(store)
    await steps.claim.run_once(lease, 1)
    raw = await queue.claim(lease.id, start=lease.next_number, count=1)
    await fence(queue, lease)
    late: Any = Late(store, "recover")
    real = store.delete_outbox

    async def dropped_last(batches, done=()) -> None:
        # The second task went back to the list, its row is taken by the dead worker's claim, so its task is a copy.
        claim = partial(store.claim, queue=queue.name, owner=lease.id, worker="w", earlier=[], done_claims=[])
        assert await claim([second], uuid4())
        [held] = await steps.claim.run_once(other, 10)
        assert held.job_id == first
        assert await late.arrive() == {second: "pending"}
        await real(batches, done)

    late.delete_outbox = dropped_last
    assert len(raw) == 1
    await make_recover(queue, late, max_recoveries=3).run_once(lease.id)
    assert (await store.get(second)).state == "pending"
    await check_rows(queue, psql)


async def test_a_job_that_is_given_back_after_the_relay_took_its_earlier_outbox_entry_keeps_its_new_one(
    redis, steps, queue, store, psql, lease
):
    # Two go back, one of them locked for long; the flight is gone with Redis's data, so the entry is all there is.
    ids = await submitted(steps, 2)
    held = await steps.claim.run_once(lease, 2)
    await redis("DEL", queue.keys.flight(lease.id))
    await steps.piggyback.clear(store)
    await psql("BEGIN")
    await psql("SELECT * FROM jobs WHERE id = $1 FOR UPDATE", ids[1])

    async def released(job_id: UUID) -> bool:
        return (await store.get(job_id)).state == "pending"

    async with trio.open_nursery() as worker:
        worker.start_soon(steps.settle.run_batch, [Ending(item, GiveBack(interrupted=True), 0.1) for item in held])
        await until(partial(released, ids[0]))
        taken = await store.take_outbox(queue.name, age_seconds=-1, limit=20)
        await psql("COMMIT")
        await until(partial(released, ids[1]))
        await store.delete_outbox([batch for batch, _, _ in taken])
    assert len(taken) == 1
    marked = {job_id for row in await psql("SELECT ids FROM outbox") for job_id in row["ids"]}
    assert marked == {ids[1]}


async def test_the_relay_keeps_an_outbox_entry_whose_row_is_locked(redis, steps, queue, store, psql):
    # It pushes the job all the same. But it cannot write down when: lost a moment later, the loss would not be seen.
    ids = await submitted(steps, 2)
    await redis("DEL", queue.name)
    await psql("UPDATE jobs SET updated_at = now() - interval '1 hour'")
    await psql("UPDATE outbox SET at = 'epoch'")
    await psql("BEGIN")
    await psql("SELECT * FROM jobs WHERE id = $1 FOR UPDATE", ids[1])
    await OutboxRelay(queue, store).run_once()
    assert await tasks_in_redis(queue) == set(ids)
    await psql("ROLLBACK")
    await redis("DEL", queue.name)
    await psql(
        "INSERT INTO redis_checkpoints (queue, server_run_id, position_ms, at) VALUES ($1, 'another', 1, 'epoch')",
        queue.name,
    )
    known = await store.read_checkpoint(queue.name)
    assert await queue.set_checkpoint(None, known.now_ms)
    await RedisLoss(queue, store).run_once()
    await psql("UPDATE outbox SET at = 'epoch'")
    await OutboxRelay(queue, store).run_once()
    assert await tasks_in_redis(queue) == set(ids)
    assert await psql("SELECT * FROM outbox") == []


@pytest.mark.parametrize("first", ["the old run", "the new run"])
async def test_two_runs_of_one_job_that_end_in_one_batch_are_both_settled(queue, lease, other, rows, first):
    # Its lease was lost, the job went back and came to us again under the next one, while its old run was ending.
    steps = Steps(queue, rows)
    await submitted(steps, 3)
    old = await steps.claim.run_once(lease, 3)
    await fence(queue, lease)
    await make_recover(queue, rows, max_recoveries=3).run_once(lease.id)
    new = await steps.claim.run_once(other, 3)
    assert [item.job_id for item in old] == [item.job_id for item in new]
    interrupted = [Ending(item, GiveBack(interrupted=True), 0.1) for item in old]
    verdicts: list[Verdict] = [Complete(b"1"), Retry("E", RunOutcome.FAILED), GiveBack(interrupted=True)]
    ended = [Ending(item, verdict, 0.1) for item, verdict in zip(new, verdicts, strict=True)]
    await steps.settle.run_batch(interrupted + ended if first == "the old run" else ended + interrupted)
    assert not lease.tasks
    assert not other.tasks
    assert await queue.numbers(other.id) == set()
    assert await tasks_in_redis(queue) == {item.job_id for item in new[1:]}
    if rows is not None:
        states = [((row := await rows.get(item.job_id)).state, row.attempts, row.interruptions) for item in new]
        assert states == [("completed", 0, 0), ("pending", 1, 0), ("pending", 0, 1)]
