import json
from functools import partial
from uuid import uuid4

import pytest
import trio

from tests.core.steps.support import dead
from tests.support.invariants import check_rows
from tests.support.replaced import replaced
from tests.support.steps import Steps, make_recover
from tests.support.wait import until
from workqueue.core.errors import LeaseLost, QueueUnavailable
from workqueue.core.wire import Submission

FIVE = [Submission("x", b'{"n":%d}' % number) for number in range(5)]


async def test_what_was_submitted_is_claimed_in_order_and_processing(steps, queue, psql, lease):
    ids = await steps.submit.run_batch(FIVE)
    held = await steps.claim.run_once(lease, 3)
    assert [item.job_id for item in held] == ids[:3]
    assert set(lease.tasks) == {1, 2, 3}
    rows = await psql("SELECT id FROM jobs WHERE state = 'processing'")
    assert {row["id"] for row in rows} == set(ids[:3])
    await check_rows(queue, psql)


async def test_a_batch_is_in_the_order_of_the_list_whatever_its_ids_are(redis, steps, queue, lease):
    # Own jobs, external tasks with ids that sort otherwise, and some without: first in, first out all the same.
    ids = await steps.submit.run_batch(FIVE)
    lines = await redis.list(queue.name)
    await redis("DEL", queue.name)
    for line in reversed(lines):
        await queue.push([line, b'{"type":"x","job_id":"%b"}' % str(uuid4()).encode(), b'{"type":"x"}'])
    held = await steps.claim.run_once(lease, 100)
    assert [item.number for item in held] == list(range(1, 16))
    assert [item.job_id for item in held][::3] == ids[::-1]


async def test_two_thousand_equal_tasks_are_two_thousand_jobs(steps, queue, psql, lease):
    await queue.push([b'{"type":"x"}'] * 2000)
    claimed = 0
    while claimed < 2000:
        claimed += len(await steps.claim.run_once(lease, 1000))
    assert await psql.value("SELECT count(*) FROM jobs") == 2000
    await check_rows(queue, psql)


async def test_an_element_that_is_no_task_is_buried_whole_and_its_neighbours_go_on(redis, steps, queue, lease):
    bad = [b"garbage", b"\xff\xfe", b'{"type":"x","retries":-1}', b'{"type":"x","job_id":"no"}', b'{"type":5}']
    await queue.push([*bad[:3], *[b'{"type":"x"}'] * 495, *bad[3:]])
    assert len(await steps.claim.run_once(lease, 500)) == 495
    entries = await dead(redis, queue)
    assert [entry.get("task") for entry in entries] == [None if b"\xff" in line else line.decode() for line in bad]
    assert entries[1]["task_base64"] == "//4="
    assert all(entry["reason"] and entry["at"] for entry in entries)
    assert steps.claim.counts.invalid == 5


async def test_a_claim_whose_answer_was_cut_is_repeated_and_loses_nothing(
    far_steps, redis_proxy, queue, lease, nursery
):
    await queue.push([b'{"type":"x"}'] * 3)
    await far_steps.claim._queue.depths()
    redis_proxy.swallow_replies()
    claimed: list[object] = []

    async def claim() -> None:
        claimed.extend(await far_steps.claim.run_once(lease, 3))

    async with trio.open_nursery() as worker:
        worker.start_soon(claim)
        await redis_proxy.replies_swallowed.wait()
        redis_proxy.heal()
    assert len(claimed) == 3
    assert (await queue.depths()).ready == 0
    assert set(lease.tasks) == {1, 2, 3}


async def test_the_audit_gives_back_what_a_lost_answer_left_in_the_flight(steps, queue, lease):
    await queue.push([b'{"type":"x"}'] * 3)
    await queue.claim(lease.id, start=1, count=2)  # its answer is lost
    lease.next_number = 3
    [held] = await steps.claim.run_once(lease, 1)
    assert await steps.claim.audit(lease) == 2
    assert await queue.numbers(lease.id) == {held.number}
    assert (await queue.depths()).ready == 2


async def test_the_audit_leaves_alone_what_is_held(steps, lease):
    await steps.submit.run_batch(FIVE)
    held = await steps.claim.run_once(lease, 5)
    assert await steps.claim.audit(lease) == 0
    assert set(lease.tasks) == {item.number for item in held}


async def test_a_task_that_was_taken_from_us_before_it_had_an_id_gets_no_row_from_us(
    steps, queue, store, psql, lease, monkeypatch
):
    # We stood still between claim and naming; the task is in the list again, and the next claim gives it an id.
    monkeypatch.setattr("workqueue.core.steps.claim.SPARE_IDS_MAX", 0)
    real = queue.assign_ids

    async def too_late(*arguments):
        await queue.fence(lease.id, (await queue.lease_scores())[lease.id])
        await make_recover(queue, store, max_recoveries=3).run_once(lease.id)
        return await real(*arguments)

    steps.claim._queue = replaced(queue, assign_ids=too_late)
    await queue.push([b'{"type":"x"}'])
    assert await steps.claim.run_once(lease, 1) == []
    assert await psql("SELECT * FROM jobs") == []
    assert (await queue.depths()).ready == 1


async def test_a_lost_lease_claims_nothing(steps, queue, lease):
    await queue.push([b'{"type":"x"}'])
    await queue.end(lease.id)
    with pytest.raises(LeaseLost):
        await steps.claim.run_once(lease, 1)


async def test_a_batch_of_own_jobs_costs_one_trip_to_redis_and_one_to_postgres(steps, lease, trips):
    await steps.submit.run_batch(FIVE * 20)
    before = trips.count
    assert len(await steps.claim.run_once(lease, 100)) == 100
    assert trips.count - before == 2


async def test_a_wait_without_an_answer_is_followed_by_the_same_claim_again(steps, queue, lease):
    """Its claim may have been done: what it took must not lie there until the audit."""
    found: list[int] = []
    starts: list[int] = []

    async def unanswered(lease_id, *, start, on_task_available=None, **options):
        starts.append(start)
        answer = await queue.claim(lease_id, start=start, on_task_available=on_task_available, **options)
        if on_task_available is not None:
            raise QueueUnavailable("its answer was lost")
        return answer

    steps.claim._queue = replaced(queue, claim=unanswered)
    await steps.submit.run_batch(FIVE)
    assert len(await steps.claim.run_once(lease, 9, lambda: found.append(1))) == 5
    assert starts == [1, 1]
    assert found, "a stop leaves alone what may have been taken"
    with pytest.raises(QueueUnavailable, match="lost"):  # or its caller would ask again at once, and again
        await steps.claim.run_once(lease, 9, lambda: found.append(1))


async def test_few_external_tasks_cost_a_trip_for_the_claim_and_one_for_their_rows(steps, queue, lease, trips, psql):
    await queue.push([b'{"type":"x","payload":{"n":1}}'] * 10)
    before = trips.count
    held = await steps.claim.run_once(lease, 20)
    assert trips.count - before == 2
    assert len({item.job_id for item in held}) == 10
    assert {row["id"] for row in await psql("SELECT id FROM jobs")} == {item.job_id for item in held}
    await check_rows(queue, psql)


async def test_external_tasks_cost_a_few_trips_more_however_many_they_are(steps, queue, lease, trips):
    await queue.push([b'{"type":"x"}'] * 500)
    before = trips.count
    assert len(await steps.claim.run_once(lease, 500)) == 500
    assert trips.count - before == 3, "claim, assign ids, adopt: no other worker can have made their rows"
    await queue.push([b'{"type":"x","job_id":"%b"}' % str(uuid4()).encode() for _ in range(500)])
    before = trips.count
    assert len(await steps.claim.run_once(lease, 500)) == 500
    assert trips.count - before == 4, "claim, claim rows, look, adopt"


async def test_redis_only_an_id_twice_in_one_worker_is_a_duplicate(queue, lease):
    steps = Steps(queue, None)
    job_id = str(uuid4()).encode()
    await queue.push([b'{"type":"x","job_id":"%b"}' % job_id] * 3 + [b'{"type":"x"}'])
    assert len(await steps.claim.run_once(lease, 2)) == 1
    assert [str(item.job_id).encode() == job_id for item in await steps.claim.run_once(lease, 2)] == [False]
    assert steps.claim.counts.duplicates == 2
    assert len(await queue.numbers(lease.id)) == 2


async def test_a_claim_after_a_cancelled_one_takes_nothing_away_from_it(far_steps, steps, redis_proxy, queue, lease):
    # Ten tasks went into the flight and the answer is lost; then the worker has room for three. Under the same
    # numbers, the three would take the places of others in the flight.
    tasks = [b'{"type":"x","payload":{"n":%d}}' % number for number in range(20)]
    await far_steps.claim.run_once(
        lease, 1
    )  # connected, and Redis knows the script: its first answer is that it does not
    await queue.push(tasks)
    redis_proxy.swallow_replies()
    async with trio.open_nursery() as worker:
        worker.start_soon(far_steps.claim.run_once, lease, 10)
        await redis_proxy.replies_swallowed.wait()
        worker.cancel_scope.cancel()
    claimed = [item for count in (3, 3, 9) for item in await steps.claim.run_once(lease, count)]
    assert await steps.claim.audit(lease) == 10
    while more := await steps.claim.run_once(lease, 9):
        claimed += more
    assert sorted(json.loads(item.task.payload)["n"] for item in claimed) == list(range(20))


async def test_a_cancelled_claim_leaves_everything_to_the_audit(far_steps, steps, postgres_proxy, queue, psql, lease):
    await far_steps.submit.run_batch(FIVE)
    postgres_proxy.swallow_replies()
    with trio.move_on_after(0.3):
        await far_steps.claim.run_once(lease, 5)
    postgres_proxy.heal()
    await until(partial(_audited, steps, lease, queue, psql))
    assert (await queue.depths()).ready == 5


async def _audited(steps, lease, queue, psql) -> bool:
    await steps.claim.audit(lease)
    return (
        not await queue.numbers(lease.id) and await psql.value("SELECT count(*) FROM jobs WHERE state = 'pending'") == 5
    )


async def test_a_fenced_lease_claims_nothing(steps, queue, lease):
    await queue.push([b'{"type":"x"}'])
    assert await queue.fence(lease.id, (await queue.lease_scores())[lease.id])
    with pytest.raises(LeaseLost):
        await steps.claim.run_once(lease, 1)
    assert (await queue.depths()).ready == 1
