"""Acts of a person against everything else that happens to a job: the row has one outcome, and Redis follows."""

from uuid import UUID, uuid4

import pytest
import trio

from tests.core.steps.support import fence, ready, relay_now, states, take
from tests.support.invariants import check_rows
from tests.support.steps import make_recover
from tests.support.wait import until
from workqueue.core.control import read_message
from workqueue.core.job import JobState, RunOutcome
from workqueue.core.options import JobOptions
from workqueue.core.outcome import Cancel, Complete, Fail, GiveBack, Retry, Verdict
from workqueue.core.queue import Queue
from workqueue.core.steps.acts import Acts
from workqueue.core.steps.settle import Ending
from workqueue.core.store import Acted, JobStore
from workqueue.core.wire import Submission, Task

FAILED = Fail("E: x", RunOutcome.FAILED, "trace")
ENDED_BADLY: list[Fail | Cancel] = [FAILED, Cancel("cancelled")]
HOUR = "UPDATE jobs SET run_at = now() + interval '1 hour'"


@pytest.fixture
def acts(steps, queue: Queue, store: JobStore) -> Acts:
    return Acts(queue, store, steps.piggyback)


async def submit(steps, count: int = 1, retries: int = 2) -> list[UUID]:
    return list(await steps.submit.run_batch([Submission("x", b"{}", JobOptions(retries))] * count))


async def run_once(steps, lease, verdict: Verdict) -> UUID:
    """A job that has had one run, which ended so."""
    [job_id] = await submit(steps)
    [claimed] = await take(steps, lease, 1)
    await steps.settle.run_batch([Ending(claimed, verdict, 0.5)])
    return job_id


async def forget(psql, store: JobStore, queue: Queue) -> None:
    """As the retention does with what ended long ago."""
    await psql("UPDATE jobs SET created_at = '2020-01-01Z', finished_at = '2020-01-01Z'")
    for state in (JobState.COMPLETED, JobState.FAILED):
        await store.delete_ended(queue.name, state, keep_seconds=60, after=None, limit=100)


async def promote_all(redis, queue: Queue) -> None:
    """The time of everything that is scheduled has come."""
    for task in await redis("ZRANGE", queue.keys.scheduled, 0, -1):
        await redis("ZADD", queue.keys.scheduled, 0, task)
    await queue.promote()


async def row(psql, job_id: UUID) -> dict[str, object]:
    return dict((await psql("SELECT * FROM jobs WHERE id = $1", job_id))[0])


# --- cancel


async def test_a_job_that_waits_is_cancelled_at_once_and_its_task_is_dropped(
    acts, steps, queue, store, psql, lease, redis
):
    [job_id, other] = await submit(steps, 2)
    assert await acts.cancel([job_id]) == {job_id: Acted(JobState.CANCELLED, changed=True)}
    assert [claimed.job_id for claimed in await take(steps, lease, 10)] == [other]
    assert await ready(redis, queue) == []
    assert (await row(psql, job_id))["finished_at"] is not None
    assert await store.runs(job_id) == [], "it never ran"


async def test_a_cancelled_job_is_not_pushed_by_the_relay(acts, steps, queue, store, psql, redis):
    [job_id] = await submit(steps)
    await acts.cancel([job_id])
    await redis("DEL", queue.name)
    await psql("INSERT INTO outbox (batch, queue, ids) VALUES ($1, $2, $3)", uuid4(), queue.name, [job_id])
    await relay_now(queue, store, psql)
    assert await ready(redis, queue) == []


async def test_a_job_that_runs_is_asked_to_end_and_its_workers_are_told(acts, steps, queue, store, psql, lease):
    [job_id] = await submit(steps)
    [claimed] = await take(steps, lease, 1)
    asked = {job_id: Acted(JobState.PROCESSING, changed=True, token=claimed.token)}
    async with queue.listen() as receive:
        assert await acts.cancel([job_id]) == asked
        message = None
        with trio.fail_after(10):
            while message is None:
                message = await receive()
    assert read_message(message).cancel == [(claimed.token, job_id)], "the run, and not the job"
    assert await store.cancelled([job_id]) == [(claimed.token, job_id)]
    assert await acts.cancel([job_id]) == asked, "it may be repeated"


@pytest.mark.parametrize(
    ("verdict", "state", "outcome"),
    [
        (Cancel("cancelled"), "cancelled", "cancelled"),
        (Complete(b"1"), "completed", None),
        (Fail("E: x", RunOutcome.FAILED), "cancelled", "failed"),
        (Retry("E: x", RunOutcome.FAILED), "cancelled", "failed"),
        (GiveBack(interrupted=True), "cancelled", "interrupted"),
    ],
)
async def test_however_its_run_ends_a_cancelled_job_does_not_run_again(
    acts, steps, queue, store, psql, lease, verdict: Verdict, state: str, outcome: str | None
):
    [job_id] = await submit(steps)
    [claimed] = await take(steps, lease, 1)
    await acts.cancel([job_id])
    await steps.settle.run_batch([Ending(claimed, verdict, 0.5)])
    assert (await row(psql, job_id))["state"] == state
    assert [run.outcome for run in await store.runs(job_id)] == ([outcome] if outcome else [])
    assert await take(steps, lease, 1) == []
    await steps.piggyback.clear(store)
    await check_rows(queue, psql)


async def test_a_cancelled_job_whose_worker_dies_ends_cancelled(acts, steps, queue, store, psql, lease, other):
    [job_id] = await submit(steps)
    await take(steps, lease, 1)
    await acts.cancel([job_id])
    await fence(queue, lease)
    await make_recover(queue, store, max_recoveries=3).run_once(lease.id)
    assert (await row(psql, job_id))["state"] == "cancelled"
    assert await take(steps, other, 1) == []
    await check_rows(queue, psql)


async def test_a_job_that_has_ended_is_not_cancelled(acts, steps, psql, lease):
    job_id = await run_once(steps, lease, Complete(b"1"))
    assert await acts.cancel([job_id]) == {job_id: Acted(JobState.COMPLETED, changed=False)}
    assert (await row(psql, job_id))["state"] == "completed"


async def test_unknown_ids_and_those_of_another_queue_are_missing_in_the_answer(acts, steps, psql):
    [job_id] = await submit(steps)
    await psql("UPDATE jobs SET queue = 'another'")
    for act in (acts.cancel, acts.retry, acts.run_now, acts.delete):
        assert await act([job_id, uuid4()]) == {}
    assert await states(psql) == {"pending": 1}


async def test_without_redis_the_row_is_cancelled_all_the_same(far_steps, redis_proxy, far_store, far_queue, lease):
    [job_id] = await submit(far_steps)
    [claimed] = await take(far_steps, lease, 1)
    redis_proxy.go_away()
    acted = await Acts(far_queue, far_store, far_steps.piggyback).cancel([job_id])
    assert acted == {job_id: Acted(JobState.PROCESSING, changed=True, token=claimed.token)}


async def test_an_act_that_has_waited_for_the_row_tells_its_newest_state(acts, steps, psql, lease):
    [job_id] = await submit(steps)
    await take(steps, lease, 1)
    answers: list[dict[UUID, Acted]] = []

    async def note(act) -> None:
        answers.append(await act([job_id]))

    async def is_waited_for() -> bool:
        waiting = "SELECT count(DISTINCT pid) FROM pg_locks WHERE locktype = 'tuple' AND relation = 'jobs'::regclass"
        return bool(await psql.value(waiting) == 3)

    async with trio.open_nursery() as nursery:
        await psql("BEGIN")
        await psql("UPDATE jobs SET state = 'completed' WHERE id = $1", job_id)
        for act in (acts.cancel, acts.retry, acts.run_now):
            nursery.start_soon(note, act)
        await until(is_waited_for)
        await psql("COMMIT")
    assert answers == [{job_id: Acted(JobState.COMPLETED, changed=False)}] * 3


# --- retry


@pytest.mark.parametrize("verdict", ENDED_BADLY)
async def test_a_retried_job_begins_anew_and_keeps_its_runs(
    acts, steps, queue, store, psql, lease, redis, verdict: Fail | Cancel
):
    job_id = await run_once(steps, lease, verdict)
    assert await acts.retry([job_id]) == {job_id: Acted(JobState.PENDING, changed=True)}
    assert len(await ready(redis, queue)) == 1, "it is pushed at once"
    found = await row(psql, job_id)
    assert [found[name] for name in ("attempts", "recoveries", "interruptions", "error_message", "cancel_at")] == [
        0, 0, 0, None, None,
    ]  # fmt: skip
    [claimed] = await take(steps, lease, 1)
    assert claimed.counters.run == 1
    await steps.settle.run_batch([Ending(claimed, Fail("E: again", RunOutcome.FAILED), 0.5)])
    assert [(run.number, run.error) for run in await store.runs(job_id)] == [(1, verdict.error), (2, "E: again")]
    await acts.retry([job_id])
    [claimed] = await take(steps, lease, 1)
    await steps.settle.run_batch([Ending(claimed, Complete(b"1"), 0.5)])
    assert (await row(psql, job_id))["state"] == "completed"
    await steps.piggyback.clear(store)
    await check_rows(queue, psql)


async def test_a_cancelled_job_that_never_ran_can_be_retried(acts, steps, queue, psql, lease):
    [job_id] = await submit(steps)
    await acts.cancel([job_id])
    await acts.retry([job_id])
    claimed = await take(steps, lease, 10)
    assert [each.job_id for each in claimed] == [job_id], "its old task and its new one are one job"


@pytest.mark.parametrize("state", ["pending", "processing", "completed"])
async def test_only_what_failed_or_was_cancelled_is_retried(acts, steps, psql, lease, state: str):
    if state == "completed":
        job_id = await run_once(steps, lease, Complete(b"1"))
    else:
        [job_id] = await submit(steps)
        if state == "processing":
            await take(steps, lease, 1)
    before = await row(psql, job_id)
    assert await acts.retry([job_id]) == {job_id: Acted(JobState(state), changed=False)}
    assert await row(psql, job_id) == before


async def test_a_late_outcome_of_the_run_before_is_refused_after_a_retry(acts, steps, queue, store, psql, lease, other):
    """Its lease was lost, its job failed in the recovery and was retried; then it comes to its end."""
    [job_id] = await submit(steps)
    [old] = await take(steps, lease, 1)
    await fence(queue, lease)
    await make_recover(queue, store, max_recoveries=1).run_once(lease.id)
    await acts.retry([job_id])
    [new] = await take(steps, other, 1)
    await steps.settle.run_batch([Ending(old, Complete(b'"late"'), 0.5)])
    assert (await row(psql, job_id))["state"] == "processing"
    await steps.settle.run_batch([Ending(new, Complete(b'"new"'), 0.5)])
    assert (await row(psql, job_id))["result"] == '"new"'


async def test_without_redis_a_retried_job_is_pushed_by_the_relay(
    far_steps, redis_proxy, far_store, far_queue, steps, queue, store, psql, lease, redis
):
    job_id = await run_once(far_steps, lease, FAILED)
    redis_proxy.go_away()
    await Acts(far_queue, far_store, far_steps.piggyback).retry([job_id])
    assert await ready(redis, queue) == []
    assert await psql.value("SELECT count(*) FROM outbox WHERE $1 = ANY (ids)", job_id) >= 1
    await relay_now(queue, store, psql)
    assert [task["job_id"] for task in await ready(redis, queue)] == [str(job_id)]


async def test_a_retry_whose_answer_was_lost_leaves_its_outbox_entry(
    far_steps, postgres_proxy, far_store, far_queue, psql, lease
):
    job_id = await run_once(far_steps, lease, FAILED)
    await far_steps.piggyback.clear(far_store)
    acts = Acts(far_queue, far_store, far_steps.piggyback)
    await acts.retry([uuid4()])  # the statement is prepared now: else that alone would have no answer
    async with trio.open_nursery() as nursery:
        postgres_proxy.swallow_replies()
        nursery.start_soon(acts.retry, [job_id])
        with trio.fail_after(10):
            while (await row(psql, job_id))["state"] != "pending":
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert await psql.value("SELECT count(*) FROM outbox WHERE $1 = ANY (ids)", job_id) == 1


async def test_the_runs_of_a_job_that_was_cancelled_while_it_ran_and_retried_all_stay(acts, steps, store, lease):
    """No counter counts a cancelled run, and the next one must not get its number."""
    [job_id] = await submit(steps)
    for error in ("one", "two"):
        [claimed] = await take(steps, lease, 1)
        await acts.cancel([job_id])
        await steps.settle.run_batch([Ending(claimed, Cancel(error), 0.5)])
        await acts.retry([job_id])
    [claimed] = await take(steps, lease, 1)
    await steps.settle.run_batch([Ending(claimed, Fail("three", RunOutcome.FAILED), 0.5)])
    assert [(run.number, run.error) for run in await store.runs(job_id)] == [(1, "one"), (2, "two"), (3, "three")]


async def test_a_job_that_was_retried_by_hand_is_not_refused_by_its_producer(acts, steps, store, psql):
    """Its push was not answered; before the producer gives up, a person cancels the job and retries it."""
    [job_id] = await submit(steps)
    await acts.cancel([job_id])
    await acts.retry([job_id])
    assert await store.refuse([job_id], uuid4(), "E") == set()
    assert await states(psql) == {"pending": 1}


async def test_a_job_that_ran_and_was_cancelled_then_is_not_refused_by_its_producer(acts, steps, store, lease):
    """Its push had arrived, and only the answer was lost: `not enqueued` would make the client send it again."""
    ran, never_ran = await submit(steps, 2)
    [claimed] = await take(steps, lease, 1)
    assert claimed.job_id == ran
    await acts.cancel([ran, never_ran])
    await steps.settle.run_batch([Ending(claimed, Cancel("cancelled"), 0.5)])
    assert await store.refuse([ran, never_ran], uuid4(), "E") == {never_ran}


# --- run now


async def test_what_waits_for_its_retry_runs_now_and_once(acts, steps, queue, store, psql, lease, redis):
    job_id = await run_once(steps, lease, Retry("E: x", RunOutcome.FAILED))
    await psql(HOUR)
    assert await acts.run_now([job_id]) == {job_id: Acted(JobState.PENDING, changed=True)}
    [claimed] = await take(steps, lease, 10)
    assert claimed.counters.attempts == 1, "it goes on where it was"
    await redis("ZADD", queue.keys.scheduled, 0, (await redis("ZRANGE", queue.keys.scheduled, 0, 0))[0])
    await queue.promote()
    assert await take(steps, lease, 10) == [], "the task that was scheduled is a copy"
    await steps.settle.run_batch([Ending(claimed, Complete(b"1"), 0.5)])
    assert await states(psql) == {"completed": 1}


async def test_the_copy_that_run_now_leaves_does_not_run_when_the_row_is_gone(
    acts, steps, queue, store, psql, lease, redis
):
    job_id = await run_once(steps, lease, Retry("E: x", RunOutcome.FAILED))
    await psql(HOUR)
    await acts.run_now([job_id])
    [claimed] = await take(steps, lease, 10)
    await steps.settle.run_batch([Ending(claimed, Complete(b"1"), 0.5)])
    await forget(psql, store, queue)
    assert await psql("SELECT * FROM jobs") == []
    await promote_all(redis, queue)
    assert await take(steps, lease, 10) == []
    assert await psql("SELECT * FROM jobs") == []


async def test_what_was_cancelled_while_it_waited_does_not_run_when_the_row_is_gone(
    acts, steps, queue, store, psql, lease, redis
):
    """Neither what waited for its retry (its time may come years later), nor what lay in a long list."""
    job_id = await run_once(steps, lease, Retry("E: x", RunOutcome.FAILED))
    await psql(HOUR)
    [other] = await submit(steps)
    await acts.cancel([job_id, other])
    assert await psql.value("SELECT at > now() + interval '50 minutes' FROM deleted WHERE id = $1", job_id)
    await forget(psql, store, queue)
    assert await psql("SELECT * FROM jobs") == []
    assert await psql.value("SELECT at > now() + interval '50 minutes' FROM deleted WHERE id = $1", job_id)
    await promote_all(redis, queue)
    assert await take(steps, lease, 10) == []
    assert await psql("SELECT * FROM jobs") == []


async def test_without_redis_what_is_run_now_is_pushed_by_the_relay(
    far_steps, redis_proxy, far_store, far_queue, queue, store, psql, lease, redis
):
    job_id = await run_once(far_steps, lease, Retry("E: x", RunOutcome.FAILED))
    await psql(HOUR)
    await far_steps.piggyback.clear(far_store)
    redis_proxy.go_away()
    await Acts(far_queue, far_store, far_steps.piggyback).run_now([job_id])
    assert await ready(redis, queue) == []
    await relay_now(queue, store, psql)
    assert [task["job_id"] for task in await ready(redis, queue)] == [str(job_id)]


async def test_what_waits_for_no_time_is_not_run_now(acts, steps, psql):
    [job_id] = await submit(steps)
    assert await acts.run_now([job_id]) == {job_id: Acted(JobState.PENDING, changed=False)}


# --- delete


@pytest.mark.parametrize("verdict", [*ENDED_BADLY, Complete(b"1")])
async def test_a_deleted_job_is_gone_with_its_runs(acts, steps, psql, lease, verdict: Verdict):
    job_id = await run_once(steps, lease, verdict)
    assert (await acts.delete([job_id]))[job_id].changed
    assert await psql("SELECT * FROM jobs") == []
    assert await psql("SELECT * FROM runs") == []
    assert await acts.delete([job_id]) == {}


async def test_the_task_of_a_deleted_job_does_not_become_a_job(acts, steps, queue, psql, lease, redis):
    """It was cancelled while it waited, so its task still lies in Redis: without a row it would be an external one."""
    [job_id] = await submit(steps)
    await acts.cancel([job_id])
    await acts.delete([job_id])
    assert len(await ready(redis, queue)) == 1
    assert await take(steps, lease, 10) == []
    assert await ready(redis, queue) == []
    assert await queue.numbers(lease.id) == set()
    assert await psql("SELECT * FROM jobs") == []


@pytest.mark.parametrize("is_running", [False, True])
async def test_only_what_has_ended_is_deleted(acts, steps, psql, lease, is_running: bool):
    [job_id] = await submit(steps)
    if is_running:
        await take(steps, lease, 1)
    assert not (await acts.delete([job_id]))[job_id].changed
    assert len(await psql("SELECT * FROM jobs")) == 1


async def test_a_late_claim_of_an_external_task_makes_no_row_for_a_deleted_job(acts, steps, queue, store, psql, lease):
    """The statement that was to make its row had no answer, was repeated, and arrives when all is over."""
    job_id = await run_once(steps, lease, Complete(b"1"))
    await acts.delete([job_id])
    task = Task("x", b"{}", JobOptions(2), job_id=job_id)
    assert await store.adopt([(job_id, task)], uuid4(), queue=queue.name, owner=lease.id, worker="w") == set()
    assert await psql("SELECT * FROM jobs") == []


async def test_nor_when_it_comes_at_the_very_moment_of_the_deletion(acts, steps, queue, store, psql, lease):
    """Its snapshot is older than the deletion, which it waits for where both want the same id."""
    job_id = await run_once(steps, lease, Complete(b"1"))
    made: list[set[int]] = []

    async def adopt() -> None:
        task = Task("x", b"{}", JobOptions(2), job_id=job_id)
        made.append(await store.adopt([(job_id, task)], uuid4(), queue=queue.name, owner=lease.id, worker="w"))

    async def has_come() -> bool:
        return bool(made or await psql.value("SELECT count(*) FROM pg_locks WHERE NOT granted"))

    async with trio.open_nursery() as nursery:
        await psql("BEGIN")
        await psql("INSERT INTO deleted (id, queue) VALUES ($1, $2)", job_id, queue.name)
        await psql("DELETE FROM jobs")
        nursery.start_soon(adopt)
        await until(has_come)
        await psql("COMMIT")
    assert made == [set()]
    assert await psql("SELECT * FROM jobs") == []
