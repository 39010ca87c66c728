"""Numbered migrations: each one transaction, under a lock, so that ten processes may start at once."""

import re
from collections.abc import Iterator, Sequence
from importlib.resources import files

from msgspec import Struct

from workqueue.core.bridge import Bridge
from workqueue.core.errors import StoreUnavailable
from workqueue.core.protocol import PROTOCOL
from workqueue.core.store import sql
from workqueue.core.store.connecting import Connection, connect, target
from workqueue.core.store.pool import Pool, in_schema, open_pool

LOCK_SECONDS = 10  #: how long one process waits for another's migration before it says so
MIGRATION_SECONDS = 600.0

#: `oldest`: the oldest protocol (core/protocol.py) that may work with the tables from this migration on.
_HISTORY = """
CREATE TABLE IF NOT EXISTS {schema}.migrations (
    number integer PRIMARY KEY, name text NOT NULL, at timestamptz NOT NULL DEFAULT now(), oldest integer
);
ALTER TABLE {schema}.migrations ADD COLUMN IF NOT EXISTS oldest integer
"""
_KNOWN = "SELECT to_regclass('{schema}.migrations') IS NOT NULL"
_APPLIED = "SELECT 1 FROM {schema}.migrations WHERE number = $1"
_APPLY = "INSERT INTO {schema}.migrations (number, name, oldest) VALUES ($1, $2, $3)"
_LIMITS = """
SET LOCAL statement_timeout = 0;
SET LOCAL lock_timeout = '%ds';
SET LOCAL idle_in_transaction_session_timeout = '10s'
"""
_THERE = """
SELECT relname, relkind::text FROM pg_class
WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1) AND relname = ANY ($2) ORDER BY relname
"""
#: Letters of pg_class.
KINDS = {
    "c": "type", "f": "foreign table", "i": "index", "m": "materialized view", "p": "partitioned table", "r": "table",
    "S": "sequence", "v": "view",
}  # fmt: skip


class Migration(Struct, frozen=True):
    """One file of migrations/: NNNN_name.sql. A line `-- oldest protocol: N` says what it breaks."""

    number: int
    name: str
    text: str

    @property
    def oldest(self) -> int:
        match = re.search(r"^-- oldest protocol: (\d+)$", self.text, re.MULTILINE)
        return int(match[1]) if match else 1

    @property
    def creates(self) -> list[str]:
        """The names that it gives to tables."""
        return re.findall(r"^CREATE TABLE \{schema\}\.(\w+)", self.text, re.MULTILINE)


def migrations() -> list[Migration]:
    """All that this version knows, in order."""
    return sorted(_read(), key=lambda migration: migration.number)


def _read() -> Iterator[Migration]:
    for file in files("workqueue.core.store").joinpath("migrations").iterdir():
        if match := re.fullmatch(r"(\d{4})_(\w+)\.sql", file.name):
            yield Migration(int(match[1]), match[2], file.read_text("utf-8"))


async def migrate(bridge: Bridge, dsn: str, schema: str, *, up_to: int | None = None) -> list[str]:
    """Bring `schema` to the newest version (or to number `up_to`); returns the names of what was done now.

    A schema that is newer than we are is left as it is. Raises StoreUnavailable when Postgres is not there, when we
    are too old for the tables, or when another process has held the lock for LOCK_SECONDS. Cancelled: each migration
    is done whole or not at all.
    """
    wanted = [migration for migration in migrations() if up_to is None or migration.number <= up_to]
    async with open_pool(bridge, dsn, schema, connections=1) as pool:
        done = await _apply(pool, dsn, schema, wanted)
        [row] = await pool.fetch(sql.OLDEST_PROTOCOL)
        check_oldest(row["oldest"])
    return done


async def _apply(pool: Pool, dsn: str, schema: str, wanted: Sequence[Migration]) -> list[str]:
    """All of them over one connection: one each would be most of the time that a start takes."""
    done: list[str] = []
    at = wanted[0]

    async def unit() -> None:
        nonlocal at
        connection = await connect(target(dsn))
        try:
            for at in wanted:
                # Before the transaction: in it, the look would keep a lock on the table while we wait for the other
                # one, and the process that has that one wants to change the table.
                if await _is_applied(connection, pool, at):
                    continue
                async with connection.transaction():
                    if await _apply_one(connection, pool, schema, at):
                        done.append(f"{at.number:04d}_{at.name}")
        finally:
            connection.terminate()

    try:
        await pool.run(unit, MIGRATION_SECONDS)
    except StoreUnavailable as error:
        raise StoreUnavailable(f"{error} (migration {at.number:04d}_{at.name})") from error
    return done


async def _apply_one(connection: Connection, pool: Pool, schema: str, migration: Migration) -> bool:
    """In a transaction of its own. False: another process has done it."""
    # The limits are those of the transaction: they go with it, whatever becomes of this process.
    await connection.execute(_LIMITS % LOCK_SECONDS)
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('workqueue.migrate.' || $1, 0))", schema)
    if not await connection.fetchval("SELECT 1 FROM pg_namespace WHERE nspname = $1", schema):
        # Asked first: Postgres wants the right to create one even where it is there already.
        await connection.execute(in_schema("CREATE SCHEMA IF NOT EXISTS {schema}", schema))
    await connection.execute(pool.text(_HISTORY))
    # Asked of the table itself: that locks it, and only then does Postgres drop what it remembers of the catalogue from
    # before our wait (to_regclass still said that there is no such table).
    if await connection.fetchval(pool.text(_APPLIED), migration.number):
        return False  # it did so while we waited
    for name, kind in await connection.fetch(_THERE, schema, migration.creates):
        raise StoreUnavailable(
            f"Postgres: the schema {schema} has a {KINDS.get(kind, 'relation')} named {name} that is none "
            "of ours: rename it, or set DATABASE_SCHEMA to a schema for our tables alone"
        )
    await connection.execute(pool.text(migration.text))
    await connection.execute(pool.text(_APPLY), migration.number, migration.name, migration.oldest)
    return True


async def _is_applied(connection: Connection, pool: Pool, migration: Migration) -> bool:
    if not await connection.fetchval(pool.text(_KNOWN)):
        return False
    return bool(await connection.fetchval(pool.text(_APPLIED), migration.number))


def check_oldest(oldest: int) -> None:
    """Raise StoreUnavailable where the tables were changed in a way that this release would harm or misread."""
    if oldest > PROTOCOL:
        raise StoreUnavailable(
            f"Postgres: these tables need protocol {oldest} or newer, and this release speaks {PROTOCOL}: update it"
        )
