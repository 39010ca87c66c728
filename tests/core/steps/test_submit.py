import contextlib
from uuid import UUID

import pytest
import trio
from uuid_utils.compat import uuid7

from tests.support.invariants import check_rows, tasks_in_redis
from tests.support.replaced import replaced
from tests.support.steps import make_submit
from tests.support.wait import until
from workqueue.core.errors import EnqueueFailed, PersistFailed, StoreBusy, StoreUnavailable
from workqueue.core.job import RunOutcome
from workqueue.core.options import JobOptions
from workqueue.core.outcome import Retry
from workqueue.core.steps.outbox import OutboxRelay
from workqueue.core.steps.settle import Ending
from workqueue.core.steps.submit import SubmitRows
from workqueue.core.wire import Submission, decode_task

TEN = [Submission("x", b'{"n":%d}' % number, JobOptions(3)) for number in range(10)]


async def test_a_batch_becomes_rows_an_outbox_entry_and_tasks_and_the_next_batch_takes_the_outbox_entry(
    redis, steps, queue, psql
):
    ids = await steps.submit.run_batch(TEN)
    assert all(isinstance(job_id, UUID) for job_id in ids)
    tasks = [decode_task(line) for line in await redis.list(queue.name)]
    assert [(task.job_id, task.payload, task.options.retries) for task in tasks] == [
        (job_id, submission.payload, 3) for job_id, submission in zip(ids, TEN, strict=True)
    ]
    assert await psql.value("SELECT count(*) FROM outbox") == 1
    await steps.submit.run_batch(TEN)
    assert await psql.value("SELECT count(*) FROM outbox") == 1
    await check_rows(queue, psql)


async def test_without_postgres_each_task_has_an_id_all_the_same(queue):
    from workqueue.core.steps.piggyback import Piggyback

    ids = await make_submit(queue, None, Piggyback()).run_batch(TEN)
    assert await tasks_in_redis(queue) == set(ids)


async def test_an_insert_that_was_not_answered_is_refused_and_swept(far_steps, postgres_proxy, queue, store, psql):
    # 116 of 119 cancelled inserts had committed. Then the row is there, and its entry: it will run, as 500 allows.
    await far_steps.submit.run_batch(TEN[:1])
    postgres_proxy.swallow_replies()
    [answer] = await far_steps.submit.run_batch(TEN[1:2])
    assert isinstance(answer, PersistFailed)
    assert await psql.value("SELECT count(*) FROM jobs WHERE state = 'pending'") == 2
    await check_rows(queue, psql)
    await psql("UPDATE outbox SET at = now() - interval '6 s'")
    await OutboxRelay(queue, store).run_once()
    assert len(await tasks_in_redis(queue)) == 2
    assert await psql("SELECT * FROM outbox") == []


async def test_a_push_that_never_arrived_is_refused_and_will_not_run(far_steps, redis_proxy, queue, psql):
    await far_steps.submit.run_batch(TEN[:1])
    redis_proxy.go_away()
    [answer] = await far_steps.submit.run_batch(TEN[1:2])
    assert isinstance(answer, EnqueueFailed)
    assert await psql.value("SELECT count(*) FROM jobs WHERE state = 'cancelled'") == 1
    assert len(await tasks_in_redis(queue)) == 1


async def test_a_push_whose_answer_was_lost_is_refused_and_its_task_is_dropped_at_the_claim(
    far_steps, redis_proxy, steps, lease, queue, psql
):
    await far_steps.submit.run_batch(TEN[:1])
    [first] = await steps.claim.run_once(lease, 10)
    redis_proxy.swallow_replies()
    [answer] = await far_steps.submit.run_batch(TEN[1:2])
    assert isinstance(answer, EnqueueFailed)
    assert len(await tasks_in_redis(queue)) == 2, "it is there"
    assert await steps.claim.run_once(lease, 10) == [], "and does not run"
    assert steps.claim.counts.duplicates == 1
    assert lease.tasks == {first.number: first}


@pytest.mark.parametrize("how", ["runs", "has failed once"])
async def test_a_push_whose_answer_was_lost_and_whose_task_was_claimed_is_accepted(
    far_steps, redis_proxy, steps, lease, queue, psql, how
):
    # The job runs already, or has failed once, before the producer looks: 500 "it will not run" would be a lie.
    await far_steps.submit.run_batch(TEN[:1])
    redis_proxy.swallow_replies()
    answers: list[object] = []

    async def submit() -> None:
        answers.extend(await far_steps.submit.run_batch(TEN[1:2]))

    async with trio.open_nursery() as producer:
        producer.start_soon(submit)
        await redis_proxy.replies_swallowed.wait()

        async def claimed() -> bool:
            return len(await steps.claim.run_once(lease, 10)) > 0 and len(lease.tasks) == 2

        await until(claimed)
        held = max(lease.tasks.values(), key=lambda held: held.number)
        if how == "has failed once":
            await steps.settle.run_batch([Ending(held, Retry("E", RunOutcome.FAILED), 0.1)])
    assert answers == [held.job_id]
    states = {"runs": "processing", "has failed once": "pending"}
    assert await psql.value("SELECT state FROM jobs WHERE id = $1", held.job_id) == states[how]
    await check_rows(queue, psql)


async def test_postgres_dies_between_the_push_and_its_refusal(far_steps, redis_proxy, postgres_proxy, psql, queue):
    await far_steps.submit.run_batch(TEN[:1])
    redis_proxy.swallow_requests()
    answers: list[object] = []

    async def submit() -> None:
        answers.extend(await far_steps.submit.run_batch(TEN[1:2]))

    async with trio.open_nursery() as producer:
        producer.start_soon(submit)
        await redis_proxy.requests_swallowed.wait()
        postgres_proxy.go_away()
    assert isinstance(answers[0], EnqueueFailed)
    await check_rows(queue, psql)  # without an answer the outbox entry decides


@pytest.mark.parametrize(("busy", "state"), [(1, "cancelled"), (2, "pending")])
async def test_a_refusal_that_meets_a_locked_row_is_asked_for_once_more(
    far_steps, redis_proxy, queue, store, psql, busy, state
):
    """Postgres says that nothing was done. Locked for longer, the entry decides: 500 is the answer either way."""
    await far_steps.submit.run_batch(TEN[:1])
    await far_steps.piggyback.clear(store)
    refuse, asked = far_steps.submit._store.refuse, []

    async def held_up(*arguments):
        asked.append(arguments)
        if len(asked) <= busy:
            raise StoreBusy("Postgres: canceling statement due to lock timeout")
        return await refuse(*arguments)

    far_steps.submit._store.refuse = held_up
    redis_proxy.go_away()
    [answer] = await far_steps.submit.run_batch(TEN[1:2])
    assert isinstance(answer, EnqueueFailed)
    assert len(asked) == 2
    assert [row["state"] for row in await psql("SELECT state FROM jobs ORDER BY id")] == ["pending", state]
    assert len(await psql("SELECT * FROM outbox")) == (state == "pending")
    await check_rows(queue, psql)


async def test_one_bad_value_among_a_hundred_is_refused_alone(steps, queue, psql):
    # Nothing that read_submission lets through is bad; a row may have more rules than it knows one day.
    batch = [
        *TEN * 5,
        Submission("x", b'{"a":"\0"}', JobOptions(3)),
        *TEN * 4,
        Submission("x", b"{}", JobOptions(2**40)),
    ]
    answers = await steps.submit.run_batch(batch)
    assert [index for index, answer in enumerate(answers) if isinstance(answer, PersistFailed)] == [50, 91]
    accepted = {answer for answer in answers if isinstance(answer, UUID)}
    assert len(accepted) == 90
    assert await tasks_in_redis(queue) == accepted
    await check_rows(queue, psql)


async def test_a_batch_costs_one_trip_to_postgres_and_one_to_redis(steps, trips):
    await steps.submit.run_batch(TEN * 50)
    assert trips.count == 2
    await steps.submit.run_batch(TEN * 50)
    assert trips.count == 4, "the marks of the first ride along"


async def test_a_refused_push_whose_refusal_was_not_answered_is_asked_once_and_the_outbox_entry_decides(
    far_steps, far_queue, far_store, redis_proxy, postgres_proxy, queue, store, psql
):
    await far_steps.submit.run_batch(TEN[:1])
    with contextlib.suppress(StoreUnavailable):
        await far_steps.submit._store.refuse([], uuid7(), "prepared")
    redis_proxy.go_away()
    answers: list[object] = []
    real = far_store.refuse

    async def unanswered(*arguments):
        postgres_proxy.swallow_replies()
        producer.start_soon(go_away)
        return await real(*arguments)

    async def go_away() -> None:
        await postgres_proxy.replies_swallowed.wait()
        postgres_proxy.go_away()

    far = SubmitRows(far_queue, replaced(far_store, refuse=unanswered), far_steps.piggyback)

    async def submit() -> None:
        answers.extend(await far.run_batch(TEN[1:3]))

    async with trio.open_nursery() as producer:
        producer.start_soon(submit)
    assert all(isinstance(answer, EnqueueFailed) for answer in answers)
    await check_rows(queue, psql)
    await psql("UPDATE outbox SET at = now() - interval '6 s'")
    await OutboxRelay(queue, store).run_once()
    assert (
        await psql.value("SELECT count(*) FROM jobs WHERE state = 'pending'")
        + await psql.value("SELECT count(*) FROM jobs WHERE state = 'cancelled'")
        == 3
    )
    await check_rows(queue, psql)


async def test_the_outbox_entry_stays_where_neither_push_nor_refusal_was_answered(
    far_steps, redis_proxy, postgres_proxy, psql, queue, store
):
    await far_steps.submit.run_batch([Submission("x", b"{}")])
    redis_proxy.swallow_requests()

    async def submit() -> None:
        await far_steps.submit.run_batch([Submission("x", b"{}")])

    async with trio.open_nursery() as producer:
        producer.start_soon(submit)
        await redis_proxy.requests_swallowed.wait()
        postgres_proxy.go_away()
    await far_steps.piggyback.clear(store)  # as the next batch would
    await check_rows(queue, psql)
