"""SELECT workqueue.enqueue(...): jobs from SQL, inside of the caller's own transaction."""

import json
from datetime import UTC, datetime, timedelta
from statistics import median

import asyncpg
import pytest
import trio

from tests.support.invariants import check_rows, tasks_in_redis
from tests.support.wait import until
from workqueue.core.engine import RowEngine
from workqueue.core.ids import made_at
from workqueue.core.steps.notified import Notified
from workqueue.core.steps.outbox import OutboxRelay
from workqueue.core.wire import decode_task

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
    for arguments in ("delay => 60", "delay => 86400", "run_at => now() + interval '2 days'", "run_at => '2001-01-01'"):
        await enqueue(f"'x', {arguments}")
    rows = await psql("SELECT is_far, round(extract(epoch FROM run_at - now()))::int AS late FROM jobs ORDER BY id")
    assert [(row["is_far"], row["late"]) for row in rows] == [
        (False, 60), (True, 86_400), (True, 172_800), (False, None),
    ]  # fmt: skip
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
