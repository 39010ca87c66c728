"""Whose rows the jobs of a queue have: noted once, asked for ever."""

from tests.support.steps import make_installation
from workqueue.core.steps.installation import Installation
from workqueue.core.store import migrate, open_store


async def look(queue, store) -> Installation:
    found = make_installation(queue, store)
    await found.run_once()
    return found


async def test_the_first_process_with_rows_records_its_database_and_one_without_is_refused(redis, queue, store):
    assert (await look(queue, None)).may_work, "Redis only: nothing is noted, and nothing is asked for"
    assert (await look(queue, store)).may_work
    noted = await redis("GET", queue.keys.rows)
    assert noted.decode() == str(await store.installation())
    refused = await look(queue, None)
    assert not refused.may_work
    assert refused.refusal is not None
    assert "DATABASE_URL is not set: set it" in refused.refusal
    assert queue.name in refused.refusal
    assert queue.keys.rows in refused.refusal
    assert (await look(queue, store)).may_work, "and so may each process that has it, for ever"


async def test_a_process_with_another_database_is_refused_and_both_ids_are_named(
    redis, bridge, queue, store, postgres_dsn, database_schema
):
    await look(queue, store)
    schema = f"other_{database_schema}"[:60]
    await migrate(bridge, postgres_dsn, schema)
    async with open_store(bridge, postgres_dsn, schema) as other:
        refused = await look(queue, other)
        assert not refused.may_work
        assert refused.refusal is not None
        for name in (str(await store.installation()), str(await other.installation()), "DATABASE_SCHEMA"):
            assert name in refused.refusal
        await redis("DEL", queue.keys.rows)
        await refused.run_once()
        assert refused.may_work, "it was given up: the next one that has a database notes its own"
        assert not (await look(queue, store)).may_work


async def test_a_redis_that_lost_its_data_refuses_no_process_and_admits_none_anew(redis, queue, store):
    here = await look(queue, store)
    without = await look(queue, None)
    running = make_installation(queue, None)
    await redis("DEL", queue.keys.rows)
    await running.run_once()
    assert running.may_work, "nothing is known: a Redis-only installation is none of ours"
    await without.run_once()
    assert not without.may_work, "it was told once: until the others have noted it again, it takes nothing"
    await here.run_once()
    assert here.may_work
    await running.run_once()
    assert not running.may_work


async def test_a_restored_backup_is_the_same_database(bridge, queue, store, psql, postgres_dsn, database_schema):
    await look(queue, store)
    schema = f"backup_{database_schema}"[:60]
    await migrate(bridge, postgres_dsn, schema)
    await psql(f"UPDATE {schema}.installation SET id = (SELECT id FROM {database_schema}.installation)")
    async with open_store(bridge, postgres_dsn, schema) as restored:
        assert (await look(queue, restored)).may_work


async def test_what_stands_in_the_key_may_be_anything(redis, queue, store):
    await redis("SET", queue.keys.rows, b"\xff\0")
    assert not (await look(queue, store)).may_work
    assert not (await look(queue, None)).may_work


async def test_before_the_first_answer_nothing_may_be_done(queue):
    assert not make_installation(queue, None).may_work


async def test_each_installation_has_an_id_of_its_own_and_an_older_one_gets_it(bridge, postgres_dsn, database_schema):
    ids = set()
    for number in (3, None):
        schema = f"x{number or 0}_{database_schema}"[:60]
        if number:
            await migrate(bridge, postgres_dsn, schema, up_to=number)
        await migrate(bridge, postgres_dsn, schema)
        async with open_store(bridge, postgres_dsn, schema) as store:
            ids.add(await store.installation())
            assert await store.installation() in ids, "and keeps it"
    assert len(ids) == 2
