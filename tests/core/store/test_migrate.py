"""Migrations: from nothing, from each earlier number, by many at once."""

import subprocess
import sys
from datetime import timedelta
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import trio

from tests.cli.support import environ
from tests.support.rows import open_psql
from tests.support.wait import until
from workqueue.core.errors import StoreUnavailable
from workqueue.core.store import migrate
from workqueue.core.store.migrate import Migration, migrations
from workqueue.services.local.process import free_port

MODULE = sys.modules[migrate.__module__]  # the package gives its name to the function
NUMBERS = [migration.number for migration in migrations()]
COLUMNS = """
SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns
WHERE table_schema = $1 ORDER BY table_name, column_name
"""
INDEXES = "SELECT replace(indexdef, $1 || '.', '') AS definition FROM pg_indexes WHERE schemaname = $1 ORDER BY 1"


def test_the_numbers_have_no_gap():
    assert list(range(1, len(NUMBERS) + 1)) == NUMBERS


async def test_from_nothing_and_from_each_earlier_number_the_tables_are_the_same(bridge, postgres_dsn, database_schema):
    schemas = []
    for start in [0, *NUMBERS]:
        schema = f"{database_schema[:40]}_{start}"
        if start:
            await migrate(bridge, postgres_dsn, schema, up_to=start)
        done = await migrate(bridge, postgres_dsn, schema)
        assert len(done) == len(NUMBERS) - start
        assert await migrate(bridge, postgres_dsn, schema) == []
        async with open_psql(bridge, postgres_dsn, schema) as psql:
            columns = [tuple(row) for row in await psql(COLUMNS, schema)]
            indexes = [row["definition"] for row in await psql(INDEXES, schema)]
        schemas.append((columns, indexes))
    assert all(schema == schemas[0] for schema in schemas)
    assert len(schemas[0][0]) > 50


async def test_no_index_names_a_column_of_the_hot_path(psql, database_schema):
    # pending -> processing -> completed changes these: an index on one of them costs a factor of 1.5 of the drain.
    hot = {"state", "token", "worker", "started_at", "finished_at", "result", "updated_at"}
    for row in await psql(INDEXES, database_schema):
        definition = row["definition"]
        if " ON jobs " in definition and "USING brin" not in definition:
            words = set(definition.replace("(", " ").replace(")", " ").replace(",", " ").split())
            assert not words & hot, definition


async def test_what_waits_again_is_requeued_and_run_at_is_a_due_time_alone(bridge, postgres_dsn, database_schema):
    await migrate(bridge, postgres_dsn, database_schema, up_to=2)
    async with open_psql(bridge, postgres_dsn, database_schema) as psql:
        await psql(
            "INSERT INTO jobs (id, queue, type, payload, retries, state, token, run_at)"
            " SELECT gen_random_uuid(), 'q', type, '{}', 0, state, CASE WHEN claimed THEN gen_random_uuid() END, run_at"
            " FROM (VALUES ('first', 'pending', false, NULL), ('again', 'pending', true, NULL),"
            " ('later', 'pending', true, now() + interval '1 h'), ('running', 'processing', true, NULL),"
            " ('done', 'completed', true, NULL)) AS given (type, state, claimed, run_at)"
        )
        await migrate(bridge, postgres_dsn, database_schema)
        rows = await psql("SELECT type, run_at - created_at AS delay, requeued FROM jobs")
    hour = timedelta(hours=1)
    assert {row["type"]: (row["delay"], row["requeued"]) for row in rows} == {
        "first": (None, False), "again": (None, True), "later": (hour, True), "running": (None, False),
        "done": (None, False),
    }  # fmt: skip


async def test_the_third_lets_a_claim_that_has_begun_end_and_goes_on(bridge, postgres_dsn, database_schema):
    await migrate(bridge, postgres_dsn, database_schema, up_to=2)
    async with open_psql(bridge, postgres_dsn, database_schema) as psql, trio.open_nursery() as nursery:
        insert = "INSERT INTO jobs (id, queue, type, payload, retries, state) VALUES ($1, 'q', 'x', '{}', 0, 'pending')"
        await psql(insert, uuid4())
        await psql("BEGIN")
        await psql("SELECT * FROM jobs FOR UPDATE")
        nursery.start_soon(migrate, bridge, postgres_dsn, database_schema)

        async def waits() -> bool:
            waiting = "SELECT count(*) FROM pg_locks WHERE relation = 'jobs'::regclass AND NOT granted"
            return bool(await psql.value(waiting))

        await until(waits)
        await psql("SET LOCAL lock_timeout = '5s'")
        await psql("UPDATE jobs SET state = 'processing', token = gen_random_uuid()")
        await psql("COMMIT")


def test_ten_processes_at_once(postgres_dsn, database_schema):
    variables = environ(DATABASE_URL=postgres_dsn, DATABASE_SCHEMA=database_schema)
    command = [sys.executable, "-m", "workqueue.services.cli", "migrate"]
    processes = [
        subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(10)
    ]
    said = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0] * 10, said
    assert sum(out.count("migrated: 0001_initial") for out, _ in said) == 1


async def test_a_role_that_owns_the_schema_needs_no_right_to_make_one(bridge, postgres_dsn, database_schema):
    role = f"r_{database_schema}"[:60]
    async with open_psql(bridge, postgres_dsn, "public") as psql:
        await psql(f"CREATE ROLE {role} LOGIN PASSWORD 'pw'")
        await psql(f"CREATE SCHEMA {database_schema} AUTHORIZATION {role}")
    address = urlsplit(postgres_dsn)
    dsn = f"postgresql://{role}:pw@{address.hostname}:{address.port}{address.path}"
    assert len(await migrate(bridge, dsn, database_schema)) == len(NUMBERS)
    with pytest.raises(StoreUnavailable, match="permission denied"):
        await migrate(bridge, dsn, f"{database_schema[:50]}_other")


async def test_a_migration_that_fails_leaves_nothing(bridge, postgres_dsn, database_schema, monkeypatch):
    broken = migrations()[0].text + "; SELECT 1 / 0"
    monkeypatch.setattr(MODULE, "migrations", lambda: [Migration(1, "broken", broken)])
    with pytest.raises(StoreUnavailable, match="division by zero"):
        await migrate(bridge, postgres_dsn, database_schema)
    async with open_psql(bridge, postgres_dsn, database_schema) as psql:
        assert await psql("SELECT 1 FROM pg_namespace WHERE nspname = $1", database_schema) == []
    monkeypatch.undo()
    assert len(await migrate(bridge, postgres_dsn, database_schema)) == len(NUMBERS)


async def test_a_lock_that_is_held_for_too_long_is_reported(bridge, postgres_dsn, database_schema, monkeypatch):
    monkeypatch.setattr(MODULE, "LOCK_SECONDS", 1)
    async with open_psql(bridge, postgres_dsn, "public") as psql:
        await psql("BEGIN")
        key = "hashtextextended('workqueue.migrate.' || $1, 0)"
        await psql(f"SELECT pg_advisory_xact_lock({key})", database_schema)
        with pytest.raises(StoreUnavailable, match=r"lock timeout.*0001_initial"):
            await migrate(bridge, postgres_dsn, database_schema)
        await psql("ROLLBACK")
    assert len(await migrate(bridge, postgres_dsn, database_schema)) == len(NUMBERS)


async def test_a_schema_that_is_newer_is_left_as_it_is(bridge, psql, postgres_dsn, database_schema):
    await psql("INSERT INTO migrations (number, name) VALUES (9999, 'of the future')")
    assert await migrate(bridge, postgres_dsn, database_schema) == []


async def test_a_database_that_is_away_is_an_outage(bridge):
    with pytest.raises(StoreUnavailable, match="0001_initial"):
        await migrate(bridge, f"postgresql://u:p@127.0.0.1:{free_port()}/d", "workqueue")


async def test_tables_that_are_missing_are_said_with_the_remedy(bridge, store, psql, database_schema):
    await store.check()
    await psql(f'DROP SCHEMA "{database_schema}" CASCADE')
    with pytest.raises(StoreUnavailable, match="workqueue migrate"):
        await store.check()
    with pytest.raises(StoreUnavailable, match="workqueue migrate"):
        await store.take_outbox("q", age_seconds=1, limit=1)
