"""Retention deletes what ended long ago, and nothing else."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest
import trio
from uuid_utils.compat import uuid7

from tests.core.store.test_jobs import claim, finish
from tests.core.store.test_jobs import insert as insert_in
from workqueue.core.job import Artifact, JobState, RunOutcome
from workqueue.core.options import DEFAULTS
from workqueue.core.settings import Keep
from workqueue.core.steps import retention
from workqueue.core.steps.retention import FULL_PASS_SECONDS, Retention
from workqueue.core.store import Finish, NewJob

Q = "q"
DAY = 86_400.0


async def ended(store, state: JobState, count: int = 1) -> list[UUID]:
    ids, token = await insert_in(store, count), uuid4()
    await claim(store, ids, token)
    outcome = RunOutcome(state)
    finishes = [
        Finish(job_id, token, state, outcome, 0.1, "1", None, None, (Artifact("a", "text/plain", b"x"),))
        if state is JobState.COMPLETED
        else Finish(job_id, token, state, outcome, 0.1, None, "E", "T")
        for job_id in ids
    ]
    assert await finish(store, finishes) == set(ids)
    return ids


async def grow_older(psql, days: float) -> None:
    age = timedelta(days=days)
    await psql("UPDATE jobs SET created_at = created_at - $1::interval, finished_at = finished_at - $1::interval", age)


async def left(psql) -> set[UUID]:
    return {row["id"] for row in await psql("SELECT id FROM jobs")}


async def go_through(step: Retention) -> None:
    while await step.run_once():
        pass


async def test_what_ended_long_ago_goes_with_all_that_belongs_to_it(store, psql):
    [completed], [failed] = await ended(store, JobState.COMPLETED), await ended(store, JobState.FAILED)
    assert await psql.value("SELECT count(*) FROM runs") == await psql.value("SELECT count(*) FROM artifacts") == 1
    await grow_older(psql, 8)
    step = Retention(store, Q, Keep(7 * DAY, 30 * DAY))
    await go_through(step)
    assert await left(psql) == {failed}
    await grow_older(psql, 23)
    await go_through(step)
    assert await left(psql) == set()
    assert await psql.value("SELECT count(*) FROM runs") == await psql.value("SELECT count(*) FROM artifacts") == 0
    assert step.deleted == 2
    assert completed != failed


async def test_what_has_not_ended_or_ended_lately_stays_however_old_it_is(store, psql):
    waiting, running = await insert_in(store), await insert_in(store)
    await claim(store, running, uuid4())
    await grow_older(psql, 100)
    late = await ended(store, JobState.COMPLETED)
    await psql("UPDATE jobs SET created_at = created_at - interval '100 days' WHERE id = $1", late[0])
    await go_through(Retention(store, Q, Keep(DAY, DAY)))
    assert await left(psql) == {*waiting, *running, *late}


@pytest.mark.parametrize("keep", [Keep(None, None), Keep(None, DAY), Keep(DAY, None)])
async def test_what_is_kept_for_ever_stays(store, psql, keep):
    completed, failed = await ended(store, JobState.COMPLETED), await ended(store, JobState.FAILED)
    await grow_older(psql, 1000)
    await go_through(Retention(store, Q, keep))
    kept = [*(completed if keep.completed is None else []), *(failed if keep.failed is None else [])]
    assert await left(psql) == set(kept)


async def test_a_job_whose_idempotency_key_is_valid_stays_until_it_is_not(store, psql):
    """Or a repeat under the key would run a second job."""
    job, token = NewJob(uuid7(), "x", "{}", DEFAULTS), uuid4()
    await store.insert_once(uuid7(), Q, [job], [(b"k", b"b")], [], ttl_seconds=DAY)
    await claim(store, [job.id], token)
    await finish(store, [Finish(job.id, token, JobState.COMPLETED, RunOutcome.COMPLETED, 0.1, "1")])
    await grow_older(psql, 8)
    step = Retention(store, Q, Keep(DAY, DAY))
    await go_through(step)
    assert await left(psql) == {job.id}
    await psql("UPDATE idempotency SET expires_at = now()")
    await go_through(Retention(store, Q, Keep(DAY, DAY)))
    assert await left(psql) == set()
    assert await psql("SELECT * FROM idempotency") == []


async def test_many_are_deleted_in_pieces_and_what_is_kept_among_them_is_looked_at_once(store, psql, monkeypatch):
    monkeypatch.setattr(retention, "LOOK_MAX", 10)
    completed, failed = await ended(store, JobState.COMPLETED, 35), await ended(store, JobState.FAILED, 15)
    await grow_older(psql, 8)
    looked: list[int] = []
    delete_ended = store.delete_ended

    async def counted(*arguments: object, **options: object) -> object:
        done = await delete_ended(*arguments, **options)
        looked.append(done.looked)
        return done

    monkeypatch.setattr(store, "delete_ended", counted)
    step = Retention(store, Q, Keep(DAY, None))
    await go_through(step)
    assert await left(psql) == set(failed)
    assert sum(looked) == 50
    looked.clear()
    await go_through(step)
    assert looked == [0], "they are behind the place of the pass"
    step._passes[0].begun_at = trio.current_time() - FULL_PASS_SECONDS
    await go_through(step)
    assert sum(looked) == 15
    assert len(completed) == 35


async def test_a_row_that_is_locked_is_left_to_the_next_pass(store, psql):
    first, second = await ended(store, JobState.COMPLETED, 2)
    await grow_older(psql, 8)
    await psql("BEGIN")
    await psql("SELECT * FROM jobs WHERE id = $1 FOR UPDATE", first)
    with trio.fail_after(5):
        await go_through(Retention(store, Q, Keep(DAY, DAY)))
    assert await left(psql) == {first}
    await psql("COMMIT")
    await go_through(Retention(store, Q, Keep(DAY, DAY)))
    assert await left(psql) == set()
    assert second != first


async def test_of_several_workers_one_works_and_rows_of_other_queues_are_not_ours(store, psql):
    await ended(store, JobState.COMPLETED, 50)
    await grow_older(psql, 8)
    await go_through(Retention(store, "another", Keep(DAY, DAY)))
    assert len(await left(psql)) == 50
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(go_through, Retention(store, Q, Keep(DAY, DAY)))
    assert await left(psql) == set()
