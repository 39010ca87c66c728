"""Both engines: the way of a job through the steps that they make, and what they share."""

from random import Random
from uuid import UUID, uuid4

import pytest

from tests.support.invariants import check_nothing_left
from tests.support.steps import registered
from workqueue.core.engine import Engine, RowEngine, TaskEngine, WorkerParts, engine_of, open_engine
from workqueue.core.errors import JobsNotStored
from workqueue.core.job import RunOutcome
from workqueue.core.limits import NONE
from workqueue.core.outcome import Complete, Fail
from workqueue.core.policies import Backoff
from workqueue.core.schedules import make_schedule
from workqueue.core.settings import Keep, load_settings
from workqueue.core.steps.dropped import Dropped
from workqueue.core.steps.lease import Lease
from workqueue.core.steps.settle import Ending
from workqueue.core.steps.submit_once import keyed
from workqueue.core.steps.until_answered import UntilAnswered
from workqueue.core.wire import Submission


@pytest.fixture
def engine(queue, rows) -> Engine:
    return engine_of(queue, rows)


@pytest.fixture
def lease(redis_url, queue_name) -> Lease:
    return registered(redis_url, queue_name)


def worker() -> WorkerParts:
    return WorkerParts("w", Backoff(), Random(1), Dropped())


async def test_the_rows_decide_which_engine_it_is(queue, rows):
    engine = engine_of(queue, rows)
    assert isinstance(engine, TaskEngine if rows is None else RowEngine)
    assert engine.keeps_rows == (rows is not None)
    if rows is None:
        for of_rows in (engine.rows, engine.limit_acts):
            with pytest.raises(JobsNotStored, match="DATABASE_URL"):
                of_rows()
    else:
        assert engine.rows() is rows
        assert await engine.limit_acts().read() == NONE


async def test_a_job_goes_from_submit_to_its_end_and_leaves_nothing(engine, queue, rows, psql_if_rows, lease):
    await engine.look_for_loss()
    await engine.submit.run_batch([Submission("x", b"{}")] * 2)
    claim, settle = engine.claim(worker(), UntilAnswered()), engine.settle(worker(), UntilAnswered())
    done, failed = await claim.run_once(lease, 5)
    await settle.run_batch([Ending(done, Complete(b"1"), 0.1), Ending(failed, Fail("E", RunOutcome.FAILED), 0.1)])
    await engine.clear()
    await queue.end(lease.id)
    assert await queue.retire(lease.id)
    await check_nothing_left(queue, psql_if_rows, dead=rows is None)
    if rows is not None:
        assert (await rows.get(done.job_id)).state == "completed"


async def test_what_a_dead_worker_held_is_recovered(engine, queue, lease, redis_url, queue_name):
    await engine.submit.run_batch([Submission("x", b"{}")] * 2)
    held = await engine.claim(worker(), UntilAnswered()).run_once(lease, 5)
    assert await queue.fence(lease.id, (await queue.lease_scores())[lease.id])
    await engine.recover(worker(), UntilAnswered(), max_recoveries=3).run_once(lease.id)
    again = await engine.claim(worker(), UntilAnswered()).run_once(registered(redis_url, queue_name), 5)
    assert [item.job_id for item in again] == [item.job_id for item in held]
    assert {item.counters.recoveries for item in again} == {1}


async def test_a_key_makes_one_job(engine, queue):
    once = engine.submit_once(ttl_seconds=60)
    item = keyed(Submission("x", b"{}"), "k", b"body")
    answers = await once.run_batch([item]), await once.run_batch([item])
    assert (await queue.depths()).ready == 1
    if engine.keeps_rows:
        assert answers[0] == answers[1]
        assert isinstance(answers[0][0], UUID)


async def test_orphans_are_owners_without_a_lease(engine, queue, redis, lease):
    await engine.submit.run_batch([Submission("x", b"{}")])
    await engine.claim(worker(), UntilAnswered()).run_once(lease, 1)
    orphans = engine.orphans(term_seconds=-1)
    assert await orphans.run_once() == []
    await redis("DEL", queue.keys.leases)
    if engine.keeps_rows:
        await redis("DEL", queue.keys.workers)  # the rows alone know the owner
    assert await orphans.run_once() == [lease.id]


async def test_rows_ask_for_upkeep_and_tasks_for_permits_alone(engine, rows):
    upkeep = engine.upkeep(Keep(completed=60, failed=None))
    names = {
        "outbox",
        "jobs far off",
        "idempotency keys",
        "unique keys",
        "piggyback",
        "loss",
        "retention",
        "deleted jobs",
        "actions",
        "ended actions",
        "audit",
        "old statistics",
        "schedules",
        "permits",
    }
    assert {each.name for each in upkeep} == ({"permits"} if rows is None else names)
    for each in upkeep:
        assert not await each.run_once(), f"{each.name}: there is nothing to do"
    assert await engine.rows_fault() is None


async def test_schedules_of_the_code_are_kept_where_the_jobs_are(engine, rows, redis):
    schedule = make_schedule("s", {"every": 60, "type": "x"})
    steps = engine.declare([schedule])
    assert [step.name for step in steps] == ["schedules" if rows is None else "declared schedules"]
    for step in steps:
        assert not await step.run_once()
    if rows is None:
        assert await redis("ZCARD", engine.queue.keys.schedules) == 1
        assert engine.declare([]) == []
    else:
        assert [row.schedule for row in (await rows.schedules.get(engine.queue.name, ["s"])).values()] == [schedule]


@pytest.mark.parametrize("database", [False, True], ids=["redis only", "postgres"])
async def test_settings_open_an_engine(bridge, redis_url, postgres_dsn, store, database_schema, database):
    environ = {"REDIS_URL": redis_url, "QUEUE_NAME": "of-the-settings", "DATABASE_SCHEMA": database_schema}
    if database:
        environ["DATABASE_URL"] = postgres_dsn
    async with open_engine(bridge, load_settings(environ)) as engine:
        assert (engine.queue.name, engine.keeps_rows) == ("of-the-settings", database)
    async with open_engine(bridge, load_settings(environ), f"test:{uuid4().hex}") as engine:
        [answer] = await engine.submit.run_batch([Submission("x", b"{}")])
        assert isinstance(answer, UUID)
        if database:
            assert (await engine.rows().get_status([answer]))[answer].queue == engine.queue.name
        assert (await engine.queue.depths()).ready == 1
