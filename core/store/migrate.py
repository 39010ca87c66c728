"""Numbered migrations: each one transaction, under a lock, so that ten processes may start at once."""

import re
from collections.abc import Iterator
from importlib.resources import files

import asyncpg
from msgspec import Struct

from core.bridge import Bridge
from core.errors import StoreUnavailable
from core.protocol import PROTOCOL
from core.store.pool import SERVER_SETTINGS, STATEMENT_SECONDS, Pool, open_pool

LOCK_SECONDS = 10  #: how long one process waits for another's migration before it says so
MIGRATION_SECONDS = 600.0

#: `oldest`: the oldest protocol (core/protocol.py) that may work with the tables from this migration on.
_HISTORY = """
CREATE TABLE IF NOT EXISTS migrations (
    number integer PRIMARY KEY, name text NOT NULL, at timestamptz NOT NULL DEFAULT now(), oldest integer
);
ALTER TABLE migrations ADD COLUMN IF NOT EXISTS oldest integer
"""
#: A subselect; the column is younger than the table.
TABLES_OLDEST = "(SELECT coalesce(max((to_jsonb(m) ->> 'oldest')::int), 0) FROM migrations m)"
_APPLIED = "SELECT 1 FROM migrations WHERE number = $1"


class Migration(Struct, frozen=True):
    """One file of migrations/: NNNN_name.sql. A line `-- oldest protocol: N` says what it breaks."""

    number: int
    name: str
    text: str

    @property
    def oldest(self) -> int:
        match = re.search(r"^-- oldest protocol: (\d+)$", self.text, re.MULTILINE)
        return int(match[1]) if match else 1


def migrations() -> list[Migration]:
    """All that this version knows, in order."""
    return sorted(_read(), key=lambda migration: migration.number)


def _read() -> Iterator[Migration]:
    for file in files("core.store").joinpath("migrations").iterdir():
        if match := re.fullmatch(r"(\d{4})_(\w+)\.sql", file.name):
            yield Migration(int(match[1]), match[2], file.read_text("utf-8"))


async def migrate(bridge: Bridge, dsn: str, schema: str, *, up_to: int | None = None) -> list[str]:
    """Bring `schema` to the newest version (or to number `up_to`); returns the names of what was done now.

    A schema that is newer than we are is left as it is. Raises StoreUnavailable when Postgres is not there, when we
    are too old for the tables, or when another process has held the lock for LOCK_SECONDS. Cancelled: each migration
    is done whole or not at all.
    """
    done: list[str] = []
    async with open_pool(bridge, dsn, schema, connections=1) as pool:
        for migration in migrations():
            if up_to is not None and migration.number > up_to:
                break
            if await _apply(pool, dsn, schema, migration):
                done.append(f"{migration.number:04d}_{migration.name}")
        [row] = await pool.fetch(f"SELECT {TABLES_OLDEST} AS oldest")
        check_oldest(row["oldest"])
    return done


async def _apply(pool: Pool, dsn: str, schema: str, migration: Migration) -> bool:
    async def unit() -> bool:
        connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(
            dsn,
            timeout=STATEMENT_SECONDS,
            server_settings=SERVER_SETTINGS | {"search_path": schema, "statement_timeout": "0"},
        )
        try:
            # Before the transaction: in it, the look would keep a lock on the table while we wait for the other one,
            # and whoever has that one wants to change the table.
            if await _is_applied(connection, schema, migration):
                return False
            async with connection.transaction():
                # Of the transaction: it goes with it, whatever becomes of this process.
                await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
                await connection.execute(
                    "SELECT pg_advisory_xact_lock(hashtextextended('workqueue.migrate.' || $1, 0))", schema
                )
                if not await connection.fetchval("SELECT 1 FROM pg_namespace WHERE nspname = $1", schema):
                    # Asked first: Postgres wants the right to create one even where it is there already.
                    await connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
                await connection.execute(_HISTORY)
                # Asked of the table itself: that locks it, and only then does Postgres drop what it remembers of the
                # catalogue from before our wait (to_regclass still said that there is no such table).
                if await connection.fetchval(_APPLIED, migration.number):
                    return False  # somebody else did it while we waited
                await connection.execute(migration.text)
                await connection.execute(
                    "INSERT INTO migrations (number, name, oldest) VALUES ($1, $2, $3)",
                    migration.number, migration.name, migration.oldest,
                )  # fmt: skip
                return True
        finally:
            connection.terminate()

    try:
        return await pool.run(unit, MIGRATION_SECONDS)
    except StoreUnavailable as error:
        raise StoreUnavailable(f"{error} (migration {migration.number:04d}_{migration.name})") from error


async def _is_applied(connection: "asyncpg.Connection[asyncpg.Record]", schema: str, migration: Migration) -> bool:
    if await connection.fetchval("SELECT to_regclass($1)", f'"{schema}".migrations') is None:
        return False
    return bool(await connection.fetchval(_APPLIED, migration.number))


def check_oldest(oldest: int) -> None:
    """Raise StoreUnavailable where the tables were changed in a way that this release would harm or misread."""
    if oldest > PROTOCOL:
        raise StoreUnavailable(
            f"Postgres: these tables need protocol {oldest} or newer, and this release speaks {PROTOCOL}: update it"
        )
