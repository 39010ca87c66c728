"""SELECT workqueue.enqueue(...): jobs from SQL, inside of the caller's own transaction."""

import json
from datetime import UTC, datetime, timedelta
from statistics import median

import asyncpg
import pytest
import trio

from tests.support.invariants import check_rows, tasks_in_redis
from tests.support.steps import make_submit_unique
from tests.support.wait import until
from workqueue.core.engine import RowEngine
from workqueue.core.ids import made_at
from workqueue.core.options import JobOptions
from workqueue.core.steps.notified import Notified
from workqueue.core.steps.outbox import OutboxRelay
from workqueue.core.steps.submit_unique import Duplicate
from workqueue.core.wire import Submission, decode_task

REFUSED = {
    "type => NULL": "type is required",
    "type => ''": "type is required",
    "type => repeat('x', 201)": "type is not valid: it has more than 200 characters",
    "type => 'x', payload => '[]'": "payload is not valid: it must be an object",
    "type => 'x', payload => '3'": "payload is not valid: it must be an object",
    "type => 'x', retries => -1": "retries cannot be negative",
    "type => 'x', retries => 1000001": "retries is not valid: at most 1000000",
    "type => 'x', queue => 'a b'": "queue is not valid",
    "type => 'x', queue => ''": "queue is not valid",
    "type => 'x', delay => -1": "delay is not valid",
    "type => 'x', delay => 315360001": "delay is not valid",
    "type => 'x', delay => 'nan'": "delay is not valid",
    "type => 'x', delay => 1, run_at => now()": "delay and run_at exclude each other",
    "type => 'x', run_at => 'infinity'": "run_at is not valid",
    "type => 'x', expires_in => 0": "expires_in is not valid",
    "type => 'x', expires_in => 'nan'": "expires_in is not valid",
    "type => 'x', timeout => 0": "timeout is not valid",
    "type => 'x', timeout => 'infinity'": "timeout is not valid",
    "type => 'x', unique_key => ''": "unique_key is not valid",
    "type => 'x', unique_key => repeat('x', 256)": "unique_key is not valid",
    "type => 'x', \"group\" => ''": "group is not valid",
    "type => 'x', \"group\" => repeat('g', 201)": "group is not valid",
    "type => 'x', unique_key => 'k', unique_until => 'soon'": "unique_until is not valid",
    "type => 'x', unique_key => 'k', unique_until => '0'": "unique_until is not valid",
    "type => 'x', unique_key => 'k', unique_until => '-1'": "unique_until is not valid",
    "type => 'x', unique_key => 'k', on_duplicate => 'drop'": "on_duplicate is not valid",
}


@pytest.fixture
def enqueue(psql, database_schema, queue):
    async def enqueue(arguments: str):
        return await psql.value(f'SELECT "{database_schema}".enqueue({arguments}, queue_name => $1)', queue.name)

    return enqueue


async def test_a_job_has_what_was_chosen(enqueue, psql, queue, store, redis):
    job = await enqueue(
        """'x', '{"a": 1.0, "b":"\\u0000"}', retries => 3, queue => 'mail', expires_in => 60, timeout => 2.5"""
    )
    [row] = await psql("SELECT * FROM jobs")
    assert (row["id"], row["queue"], row["type"], row["state"]) == (job, queue.name, "x", "pending")
    assert (row["payload"], row["retries"], row["in_queue"], row["timeout"]) == (
        '{"a": 1.0, "b":"\\u0000"}', 3, "mail", 2.5,
    )  # fmt: skip
    assert timedelta(seconds=50) < row["start_by"] - datetime.now(UTC) < timedelta(seconds=61)
    assert (row["run_at"], row["is_far"]) == (None, False)
    made = made_at(job)
    assert made is not None
    assert abs(made - datetime.now(UTC).timestamp()) < 30
    await check_rows(queue, psql)
    await OutboxRelay(queue, store).run_once()
    [task] = await redis.list(queue.keys.ready_of("mail"))
    assert (decode_task(task).job_id, decode_task(task).options.timeout) == (job, 2.5)
    await check_rows(queue, psql)


async def test_without_anything_but_a_type(enqueue, psql):
    await enqueue("'x'")
    await enqueue("'y', NULL, NULL, NULL")
    assert [tuple(row) for row in await psql("SELECT payload, retries, in_queue FROM jobs ORDER BY id")] == [
        ("{}", 0, "default")
    ] * 2


async def test_when_it_is_due(enqueue, psql, queue, store, redis):
    late = "SELECT is_far, round(extract(epoch FROM run_at - now()))::int FROM jobs WHERE id = $1"
    for arguments, expected in {
        "delay => 60": (False, 60),
        "delay => 86400": (True, 86_400),
        "run_at => now() + interval '2 days'": (True, 172_800),
        "run_at => '2001-01-01'": (False, None),
    }.items():
        [row] = await psql(late, await enqueue(f"'x', {arguments}"))
        assert tuple(row) == expected
    await OutboxRelay(queue, store).run_once()
    assert (await redis("ZCARD", queue.keys.scheduled), await redis("LLEN", queue.name)) == (1, 1)
    await check_rows(queue, psql)


@pytest.mark.parametrize("arguments", REFUSED)
async def test_what_no_job_can_have_is_refused_in_one_sentence(enqueue, psql, arguments):
    with pytest.raises(asyncpg.PostgresError) as refused:
        await enqueue(arguments)
    assert (str(refused.value), refused.value.sqlstate) == (REFUSED[arguments], "22023")
    assert await psql("SELECT * FROM jobs") == []


async def test_the_installation_is_found_where_there_is_one(psql, database_schema, queue):
    async def chosen() -> str:
        job = await psql.value(f"SELECT \"{database_schema}\".enqueue('x')")
        return await psql.value("SELECT queue FROM jobs WHERE id = $1", job)

    assert await chosen() == "workqueue:jobs"
    await psql("INSERT INTO redis_checkpoints (queue) VALUES ('ours')")
    assert await chosen() == "ours"
    await psql("INSERT INTO redis_checkpoints (queue) VALUES ('others')")
    assert await chosen() == "workqueue:jobs"


async def test_committed_it_is_in_redis_within_a_moment_and_rolled_back_never(
    enqueue, psql, queue, store, nursery: trio.Nursery
):
    for _ in range(3):  # several hear it, and one pushes
        nursery.start_soon(Notified(queue, store).run)
    await trio.sleep(0.5)
    took: list[float] = []
    for number in range(1, 21):
        began = trio.current_time()
        await enqueue("'x'")

        async def is_there(number: int = number) -> bool:
            return (await queue.depths()).ready == number

        await until(is_there)
        took.append(trio.current_time() - began)
    assert median(took) < 0.2  # without a notification: seconds
    await psql("BEGIN")
    await enqueue("'x'")
    await psql("ROLLBACK")
    await trio.sleep(0.3)
    assert (await queue.depths()).ready == 20
    assert await psql.value("SELECT count(*) FROM jobs") == 20
    assert await psql("SELECT * FROM outbox") == []


async def test_what_was_told_during_an_outage_is_found_after_it(
    enqueue, queue, far_store, postgres_proxy, nursery: trio.Nursery
):
    nursery.start_soon(Notified(queue, far_store).run)
    await trio.sleep(0.5)
    postgres_proxy.go_away()
    job = await enqueue("'x'")
    await trio.sleep(0.2)
    postgres_proxy.heal()

    async def is_there() -> bool:
        return await tasks_in_redis(queue) == {job}

    await until(is_there)


async def test_an_engine_pushes_it(enqueue, queue, store, nursery: trio.Nursery):
    nursery.start_soon(RowEngine(queue, store).push_notified)
    await enqueue("""'x', '{"n": 1}'""")

    async def is_there() -> bool:
        return (await queue.depths()).ready == 1

    await until(is_there)
    [[task]] = [piece async for piece in queue.tasks()]
    assert json.loads(task)["payload"] == {"n": 1}


# --- unique keys


async def test_a_duplicate_gets_the_id_of_the_first_and_the_key_is_judged_as_elsewhere(enqueue, psql, store, queue):
    step = make_submit_unique(queue, store)
    first = await enqueue("'x', unique_key => 'k'")
    assert await enqueue("'x', unique_key => 'k'") == first
    assert await psql.value("SELECT joined FROM jobs")
    options = JobOptions(unique_key="k")
    assert await step.run_batch([Submission("x", b"{}", options)]) == [Duplicate(first)]
    await psql("UPDATE jobs SET state = 'completed'")
    [second] = await step.run_batch([Submission("x", b"{}", options)])
    assert await enqueue("'x', unique_key => 'k'") == second
    await psql("UPDATE jobs SET state = 'completed'")
    third = await enqueue("'x', unique_key => 'k', unique_until => '60'")
    assert third not in (first, second)
    await psql("DELETE FROM jobs")
    assert await enqueue("'x', unique_key => 'k'") == third
    await psql("UPDATE unique_keys SET free_at = 'epoch'")
    fourth = await enqueue("'x', unique_key => 'k', unique_until => 'started'")
    await psql("UPDATE jobs SET requeued = true")
    fifth = await enqueue("'x', unique_key => 'k', unique_until => 'started'")
    assert fifth not in (third, fourth)
    [row] = await psql("SELECT unique_key, unique_until, on_duplicate FROM jobs WHERE id = $1", fifth)
    assert dict(row) == {"unique_key": "k", "unique_until": "started", "on_duplicate": None}


async def test_sql_replaces_what_waits(enqueue, psql, store, queue, redis, steps, lease):
    first = await enqueue("""'x', '{"n":1}', unique_key => 'k', delay => 1800""")
    await OutboxRelay(queue, store).run_once()
    again = """'x', '{"n":2}', unique_key => 'k', on_duplicate => 'replace', retries => 3"""
    assert await enqueue(again) == first
    await OutboxRelay(queue, store).run_once()
    [claimed] = await steps.claim.run_once(lease, 10)
    assert (claimed.job_id, claimed.task.payload, claimed.task.options.retries) == (first, b'{"n":2}', 3)
    assert await psql.value("SELECT at > now() + interval '20 min' FROM deleted WHERE id = $1", first)
    assert await enqueue(again) == first
    assert await psql.value("SELECT payload FROM jobs") == '{"n":2}'
    await check_rows(queue, psql)


async def test_another_type_is_not_replaced_by_sql(enqueue, psql):
    await enqueue("""'x', '{"n":1}', unique_key => 'k'""")
    await enqueue("""'y', '{"n":2}', unique_key => 'k', on_duplicate => 'replace'""")
    assert [row["payload"] for row in await psql("SELECT payload FROM jobs")] == ['{"n":1}']


async def test_what_is_rolled_back_has_never_had_the_key(enqueue, psql, store, queue):
    await psql("BEGIN")
    await enqueue("'x', unique_key => 'k'")
    await psql("ROLLBACK")
    [job_id] = await make_submit_unique(queue, store).run_batch([Submission("x", b"{}", JobOptions(unique_key="k"))])
    assert await psql.value("SELECT id FROM jobs") == job_id


async def test_sql_and_producers_that_race_make_one_job_a_key(enqueue, psql, store, queue):
    answers: list[object] = []

    async def submit() -> None:
        step = make_submit_unique(queue, store)
        for _ in range(20):
            [answer] = await step.run_batch([Submission("x", b"{}", JobOptions(unique_key="k"))])
            answers.append(answer.job_id if isinstance(answer, Duplicate) else answer)

    async def select() -> None:
        for _ in range(20):
            answers.append(await enqueue("'x', unique_key => 'k'"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(submit)
        nursery.start_soon(submit)
        nursery.start_soon(select)
    assert set(answers) == {await psql.value("SELECT id FROM jobs")}
