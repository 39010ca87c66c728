"""Connections to Postgres: one statement, one transaction, one trip over the bridge."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias, TypeVar

import asyncpg
import trio

from core.bridge import Bridge
from core.errors import StoreUnavailable
from core.store.outages import outage

T = TypeVar("T")
Borrowed: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"

STATEMENT_SECONDS = 5.0  #: a statement without an answer by then has failed; nobody knows whether it took effect
RELEASE_SECONDS = 1.0  #: how long Postgres may take to confirm that it broke off a statement; then we hang up
CONNECTIONS_MAX = 8
SERVER_SETTINGS = {
    "application_name": "workqueue",
    "statement_timeout": "10s",
    "lock_timeout": "2s",
    "idle_in_transaction_session_timeout": "10s",
    "jit": "off",
}


class Connection(asyncpg.Connection):  # not generic at run time
    """A connection that carries no state from one user to the next, so giving it back costs no round trip."""

    def get_reset_query(self) -> str:
        return ""


class Pool:
    """Runs statements on a pool that connects when it is first needed, and again after an outage."""

    def __init__(self, bridge: Bridge, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._bridge = bridge
        self._pool = pool

    async def fetch(
        self, statement: str, *arguments: object, seconds: float = STATEMENT_SECONDS
    ) -> list[asyncpg.Record]:
        """Run one statement, a transaction of its own, and return its rows.

        Raises StoreUnavailable (nobody knows whether it took effect), StoreBusy (it did not, repeat it) or
        StoreRefused (it did not: a value cannot be stored). Cancelled: nobody knows either.
        """

        async def work(connection: Borrowed) -> list[asyncpg.Record]:
            rows: list[asyncpg.Record] = await connection.fetch(statement, *arguments, timeout=seconds)
            return rows

        return await self._borrow(work, seconds)

    async def fetch_planned(
        self, statement: str, *arguments: object, seconds: float = STATEMENT_SECONDS
    ) -> list[asyncpg.Record]:
        """The same, planned for these very arguments, which takes a round trip more.

        After some runs Postgres plans a statement once for all arguments; with a filter that may be absent, that plan
        is a hundred times slower for some of them.
        """

        async def work(connection: Borrowed) -> list[asyncpg.Record]:
            prepared = await connection.prepare(statement, timeout=seconds)
            rows: list[asyncpg.Record] = await prepared.fetch(*arguments, timeout=seconds)
            return rows

        return await self._borrow(work, seconds)

    async def _borrow(self, work: Callable[[Borrowed], Awaitable[T]], seconds: float) -> T:
        async def unit() -> T:  # asyncio from here on: borrow, work and give back are one piece
            async with asyncio.timeout(seconds):  # asyncpg's own limit starts a task (before Python 3.12)
                connection = await self._pool.acquire()
            try:
                return await work(connection)
            except asyncpg.InternalClientError:
                connection.terminate()  # its server said goodbye while it lay in the pool: not for the next one
                raise
            finally:
                await self._pool.release(connection, timeout=RELEASE_SECONDS)

        return await self.run(unit, seconds)

    async def fetch_slowly(self, statement: str, *arguments: object, seconds: float) -> list[asyncpg.Record]:
        """The same for a statement that may look at every row: the server lets it take `seconds` as well.

        Cancelled or without an answer: the server may go on with it to its end.
        """

        async def unit() -> list[asyncpg.Record]:
            connection = await self._pool.acquire(timeout=STATEMENT_SECONDS)
            is_as_before = False
            try:
                await connection.execute(f"SET statement_timeout = '{int(seconds)}s'", timeout=STATEMENT_SECONDS)
                rows: list[asyncpg.Record] = await connection.fetch(statement, *arguments, timeout=seconds)
                await connection.execute("RESET statement_timeout", timeout=STATEMENT_SECONDS)
                is_as_before = True
            finally:
                if not is_as_before:
                    connection.terminate()
                await self._pool.release(connection, timeout=RELEASE_SECONDS)
            return rows

        return await self.run(unit, seconds + 2 * STATEMENT_SECONDS)

    async def run(self, unit: Callable[[], Awaitable[T]], seconds: float) -> T:
        """Run an asyncio unit of database work, bounded, its errors translated."""
        with trio.move_on_after(seconds + 1):  # asyncpg's own limits come first; they close the connection properly
            try:
                return await self._bridge.run(unit)
            except Exception as error:
                if (failure := outage(error)) is not None:
                    raise failure from error
                raise
        raise StoreUnavailable(f"Postgres: no answer within {seconds:g} s")


@asynccontextmanager
async def open_pool(
    bridge: Bridge, dsn: str, schema: str, *, connections: int = CONNECTIONS_MAX
) -> AsyncIterator[Pool]:
    """A pool for the tables in `schema`. Opening it needs no server; closed within 3 s at the end."""

    async def create() -> "asyncpg.Pool[asyncpg.Record]":
        pool: asyncpg.Pool[asyncpg.Record] = await asyncpg.create_pool(
            dsn,
            min_size=0,
            max_size=connections,
            timeout=STATEMENT_SECONDS,
            connection_class=Connection,
            server_settings=SERVER_SETTINGS | {"search_path": schema},
        )
        return pool

    pool = await bridge.run(create)

    async def close() -> None:
        pool.terminate()  # whoever still works is beyond our time; a statement is a transaction of its own

    try:
        yield Pool(bridge, pool)
    finally:
        with trio.move_on_after(3, shield=True):
            await bridge.run(close)
