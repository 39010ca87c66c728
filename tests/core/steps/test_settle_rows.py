"""Verdicts and the rows of their jobs."""

from uuid import uuid4

import pytest
import trio

from tests.core.steps.support import states, take
from tests.support.invariants import check_rows, tasks_in_redis
from tests.support.wait import until
from workqueue.core.job import Artifact, JobState, RunOutcome
from workqueue.core.options import JobOptions
from workqueue.core.outcome import Complete, Fail, GiveBack, Retry, Verdict
from workqueue.core.steps.settle import Ending
from workqueue.core.store import Finish, Requeue
from workqueue.core.store.jobs import Counter
from workqueue.core.wire import Submission, decode_task

HUNDRED = [Submission("x", b"{}", JobOptions(2)) for _ in range(100)]


async def test_ends_are_written_and_the_flight_is_empty(steps, queue, store, psql, lease):
    await steps.submit.run_batch(HUNDRED)
    held = await take(steps, lease, 100)
    verdicts = [Complete(b'{"a":1}')] * 60 + [Fail("E: x", RunOutcome.FAILED, "trace")] * 40
    await steps.settle.run_batch([Ending(item, verdict, 0.5) for item, verdict in zip(held, verdicts, strict=True)])
    assert await states(psql) == {"completed": 60, "failed": 40}
    assert await queue.numbers(lease.id) == set()
    assert not lease.tasks
    assert not lease.is_claimed(held[0].key)
    await steps.piggyback.clear(store)
    assert await psql("SELECT * FROM claimed") == []
    assert await psql("SELECT * FROM outbox") == []


async def test_retries_and_jobs_that_go_back_are_in_the_outbox_until_redis_has_them(
    redis, steps, queue, store, psql, lease
):
    await steps.submit.run_batch(HUNDRED[:3])
    retried, interrupted, unstarted = await take(steps, lease, 3)
    await steps.settle.run_batch(
        [
            Ending(retried, Retry("E: x", RunOutcome.FAILED, "trace"), 0.5),
            Ending(interrupted, GiveBack(interrupted=True), 0.5),
            Ending(unstarted, GiveBack(interrupted=False)),
        ]
    )
    await check_rows(queue, psql)
    ready = [decode_task(line) for line in await redis.list(queue.name)]
    assert [(task.job_id, task.counters.interruptions) for task in ready] == [
        (interrupted.job_id, 1),
        (unstarted.job_id, 0),
    ]
    [waiting] = await redis("ZRANGE", queue.keys.scheduled, 0, -1)
    assert (decode_task(waiting).job_id, decode_task(waiting).counters.attempts) == (retried.job_id, 1)
    await steps.piggyback.clear(store)
    assert await psql("SELECT * FROM outbox") == []


async def _prepare(store) -> None:
    """asyncpg prepares a statement in a trip of its own: let the next send be the statement itself."""
    await store.finish([Finish(uuid4(), uuid4(), JobState.COMPLETED, RunOutcome.COMPLETED, 0.0)])
    await store.requeue(uuid4(), "q", [Requeue(uuid4(), uuid4(), Counter.NONE, 0)])


@pytest.mark.parametrize("server", ["postgres", "redis"])
@pytest.mark.parametrize("kind", ["finish", "retry", "give back"])
async def test_an_answer_that_was_cut_is_asked_for_again(
    far_steps, far_store, redis_proxy, postgres_proxy, queue, psql, lease, server, kind
):
    await _prepare(far_store)
    await far_steps.submit.run_batch(HUNDRED[:5])
    held = await take(far_steps, lease, 5)
    verdicts: dict[str, Verdict] = {
        "finish": Complete(b"1"),
        "retry": Retry("E", RunOutcome.FAILED),
        "give back": GiveBack(interrupted=True),
    }
    proxy = postgres_proxy if server == "postgres" else redis_proxy
    proxy.swallow_replies()
    async with trio.open_nursery() as worker:
        worker.start_soon(far_steps.settle.run_batch, [Ending(item, verdicts[kind], 0.1) for item in held])
        await proxy.replies_swallowed.wait()
        proxy.heal()
    assert await queue.numbers(lease.id) == set()
    assert not lease.tasks
    await check_rows(queue, psql)
    rows = await psql("SELECT state, attempts, interruptions FROM jobs")
    expected = {"finish": ("completed", 0, 0), "retry": ("pending", 1, 0), "give back": ("pending", 0, 1)}[kind]
    assert {tuple(row) for row in rows} == {expected}, "counted once"
    if kind != "finish":
        assert len(await tasks_in_redis(queue)) == 5


async def test_a_locked_row_is_settled_when_it_is_free_and_the_others_at_once(steps, queue, psql, lease):
    await steps.submit.run_batch(HUNDRED)
    held = await take(steps, lease, 100)
    await psql("BEGIN")
    await psql("SELECT * FROM jobs WHERE id = $1 FOR UPDATE", held[50].job_id)

    async def ninety_nine() -> bool:
        return await queue.numbers(lease.id) == {held[50].number}

    async with trio.open_nursery() as worker:
        worker.start_soon(steps.settle.run_batch, [Ending(item, Complete(b"1"), 0.1) for item in held])
        await until(ninety_nine)
        await psql("ROLLBACK")
    assert await states(psql) == {"completed": 100}
    assert await queue.numbers(lease.id) == set()


async def test_an_outcome_that_cannot_be_stored_becomes_a_failure_that_can(steps, psql, lease):
    await steps.submit.run_batch(HUNDRED)
    held = await take(steps, lease, 100)
    batch = [Ending(item, Complete(b"1"), 0.1) for item in held]
    batch[33] = Ending(held[33], Complete(b"1", [Artifact("x", "text/\0plain", b"")]), 0.1)
    await steps.settle.run_batch(batch)
    assert await states(psql) == {"completed": 99, "failed": 1}
    assert "could not be stored" in await psql.value("SELECT error_message FROM jobs WHERE state = 'failed'")


async def test_an_error_text_with_nul_harms_no_job(steps, psql, lease):
    await steps.submit.run_batch(HUNDRED)
    held = await take(steps, lease, 100)
    batch = [Ending(item, Complete(b"1"), 0.1) for item in held]
    batch[10] = Ending(held[10], Fail("E: \0 \ud800", RunOutcome.FAILED, "\0" * 100), 0.1)
    batch[20] = Ending(held[20], Retry("E: \0", RunOutcome.FAILED, "\0"), 0.1)
    await steps.settle.run_batch(batch)
    assert await states(psql) == {"completed": 98, "failed": 1, "pending": 1}


async def test_an_outcome_that_comes_too_late_is_refused(steps, queue, store, psql, lease):
    # The job was taken from us, and it runs elsewhere.
    await steps.submit.run_batch(HUNDRED[:2])
    held = await take(steps, lease, 2)
    await psql("UPDATE jobs SET token = gen_random_uuid()")
    await steps.settle.run_batch(
        [Ending(held[0], Complete(b"1"), 1), Ending(held[1], Retry("E", RunOutcome.FAILED), 1)]
    )
    assert await states(psql) == {"processing": 2}
    assert not lease.tasks


async def test_an_outcome_of_a_job_that_waits_again_gives_its_task_back(steps, queue, psql, lease):
    await steps.submit.run_batch(HUNDRED[:1])
    [held] = await take(steps, lease, 1)
    await psql("UPDATE jobs SET state = 'pending'")
    await steps.settle.run_batch([Ending(held, Complete(b"1"), 1)])
    assert (await queue.depths()).ready == 1


EURO = "E: 5 \N{EURO SIGN}"


async def refuse(psql, condition: str) -> None:
    """A database that refuses a text, as one with another encoding would."""
    await psql(f"ALTER TABLE jobs ADD CONSTRAINT refused CHECK ({condition}) NOT VALID")


@pytest.mark.parametrize("verdict", [Retry(EURO, RunOutcome.FAILED, "trace"), Fail(EURO, RunOutcome.FAILED, "trace")])
async def test_an_error_that_postgres_refuses_harms_neither_its_job_nor_the_others(
    steps, queue, store, psql, lease, verdict
):
    await steps.submit.run_batch(HUNDRED[:20])
    held = await take(steps, lease, 20)
    await refuse(psql, "error_message NOT LIKE '%\N{EURO SIGN}%'")
    back = [Ending(item, GiveBack(interrupted=True), 0.5) for item in held[:5]]
    plain = [Ending(item, type(verdict)("E: plain", "failed", "trace"), 0.5) for item in held[5:10]]
    ends = [Ending(item, Complete(b"1"), 0.5) for item in held[10:19]]
    await steps.settle.run_batch([*back, *plain, Ending(held[19], verdict, 0.5), *ends])
    assert await psql.value("SELECT count(*) FROM jobs WHERE state = 'completed'") == 9
    assert await psql.value("SELECT count(*) FROM jobs WHERE interruptions = 1 AND state = 'pending'") == 5
    assert await psql.value("SELECT count(*) FROM jobs WHERE error_message = 'E: plain' AND attempts = 1") == 5
    [row] = await psql("SELECT state, attempts, error_message FROM jobs WHERE id = $1", held[19].job_id)
    assert (row["state"], row["attempts"]) == ("pending" if isinstance(verdict, Retry) else "failed", 1)
    assert "could not be stored" in row["error_message"]
    assert not lease.tasks
    await check_rows(queue, psql)


@pytest.mark.parametrize("verdict", [Retry("E: x", RunOutcome.FAILED), Fail("E: x", RunOutcome.FAILED)])
async def test_an_outcome_of_which_nothing_can_be_stored_stays_claimed_and_the_others_go_on(
    steps, queue, psql, lease, verdict
):
    await steps.submit.run_batch(HUNDRED[:3])
    held = await take(steps, lease, 3)
    await refuse(psql, "error_message IS NULL")
    with trio.fail_after(10):
        await steps.settle.run_batch(
            [
                Ending(held[0], verdict, 0.5),
                Ending(held[1], GiveBack(interrupted=False)),
                Ending(held[2], Complete(b"1"), 1),
            ]
        )
    rows = {row["id"]: row["state"] for row in await psql("SELECT id, state FROM jobs")}
    assert rows == {held[0].job_id: "processing", held[1].job_id: "pending", held[2].job_id: "completed"}
    assert list(lease.tasks.values()) == [held[0]], "the audit must not run it again and again"
    assert await steps.claim.audit(lease) == 0
    await check_rows(queue, psql)
