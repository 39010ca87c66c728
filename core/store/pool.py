"""Connections to Postgres: one statement, one transaction, one trip over the bridge.

A pooler may stand between, and give each transaction another session. So nothing is asked for at the start of a
connection but what each pooler lets pass (application_name), no statement relies on what another one has set, and each
names its schema: `{schema}` in its text. Of the limits,
- statements that wait for locked rows set lock_timeout for themselves (`set_config(..., true)`: no trip more);
- a connection that turns out to be ours alone sets all of them for its session, in the trip that finds this out: they
  are the last resort for what a process leaves behind that was killed in the middle;
- behind a pooler the role may have them (docs/deployment.md), and ours in time, with a request to cancel, hold anyway.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, TypeAlias, TypeVar

import asyncpg
import trio

from workqueue.core.bridge import Bridge
from workqueue.core.errors import StoreBusy, StoreRefused, StoreUnavailable, WorkQueueError
from workqueue.core.store import sql
from workqueue.core.store.connecting import Connection, connect, target
from workqueue.core.store.outages import is_passing, outage

T = TypeVar("T")
Borrowed: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"

STATEMENT_SECONDS = 5.0  #: a statement without an answer by then has failed; it is not known whether it took effect
RELEASE_SECONDS = 1.0  #: how long Postgres may take to confirm that it broke off a statement; then we hang up
CONNECTIONS_MAX = 8
SCHEMA = "{schema}"
COMPLAINT_SECONDS = 15.0  #: for so long it is remembered what Postgres said to a statement that it would not run


class Pool:
    """Runs statements on a pool that connects when it is first needed, and again after an outage.

    Mutable state: the texts of statements with the schema in its place, each made when it is first run; and what
    Postgres has complained about, by statement.
    """

    def __init__(self, bridge: Bridge, pool: "asyncpg.Pool[asyncpg.Record]", schema: str) -> None:
        self.schema = schema
        self._bridge = bridge
        self._pool = pool
        self._texts: dict[str, str] = {}
        self._complaints: dict[str, tuple[float, str]] = {}

    @property
    def complaint(self) -> str | None:
        """What Postgres said lately to a statement that it has not run since, though it answers."""
        now = trio.current_time()
        self._complaints = {key: said for key, said in self._complaints.items() if now - said[0] < COMPLAINT_SECONDS}
        return next((text for _, text in self._complaints.values()), None)

    def text(self, statement: str) -> str:
        """`statement` with our schema in its place."""
        text = self._texts.get(statement)
        if text is None:
            text = self._texts[statement] = in_schema(statement, self.schema)
        return text

    async def fetch(
        self, statement: str, *arguments: object, seconds: float = STATEMENT_SECONDS, refusable: bool = False
    ) -> list[asyncpg.Record]:
        """Run one statement, a transaction of its own, and return its rows.

        Raises StoreUnavailable (it is not known whether it took effect) or StoreBusy (it did not, repeat it); where it
        is `refusable` (a caller is ready for it) StoreRefused (it did not: a value cannot be stored). Cancelled: it is
        not known either.
        """
        text = self.text(statement)

        async def work(connection: Borrowed) -> list[asyncpg.Record]:
            rows: list[asyncpg.Record] = await connection.fetch(text, *arguments, timeout=seconds)
            return rows

        return await self._borrow(work, seconds, refusable, statement)

    async def fetch_planned(
        self, statement: str, *arguments: object, seconds: float = STATEMENT_SECONDS
    ) -> list[asyncpg.Record]:
        """The same, planned for these very arguments, which takes a round trip more.

        After some runs Postgres plans a statement once for all arguments; with a filter that may be absent, that plan
        is a hundred times slower for some of them.
        """
        text = self.text(statement)

        async def work(connection: Borrowed) -> list[asyncpg.Record]:
            prepared = await connection.prepare(text, timeout=seconds)
            rows: list[asyncpg.Record] = await prepared.fetch(*arguments, timeout=seconds)
            return rows

        return await self._borrow(work, seconds, False, statement)

    async def _borrow(
        self, work: Callable[[Borrowed], Awaitable[T]], seconds: float, refusable: bool, statement: str
    ) -> T:
        async def unit() -> T:  # asyncio from here on: borrow, work and give back are one piece
            async with asyncio.timeout(seconds):  # asyncpg's own limit starts a task (before Python 3.12)
                connection = await self._pool.acquire()
            try:
                answer = await work(connection)
            except asyncio.CancelledError:
                with suppress(
                    TimeoutError, OSError, asyncpg.PostgresError
                ):  # a server that does not answer must not turn it into another error
                    await self._pool.release(connection, timeout=RELEASE_SECONDS)
                raise
            except BaseException as error:
                if isinstance(error, asyncpg.InternalClientError):
                    connection.terminate()  # its server said goodbye while it lay in the pool: not for the next one
                await self._pool.release(connection, timeout=RELEASE_SECONDS)
                raise
            await self._pool.release(connection, timeout=RELEASE_SECONDS)
            return answer

        return await self._heard(statement, partial(self.run, unit, seconds, refusable=refusable))

    async def fetch_slowly(self, statement: str, *arguments: object, seconds: float) -> list[asyncpg.Record]:
        """The same for a statement that may look at every row: the server lets it take `seconds` as well.

        In a transaction of three trips, which a process that freezes in between does not hold open for long.
        Cancelled or without an answer: the server may go on with it to its end.
        """
        text = self.text(statement)

        async def unit() -> list[asyncpg.Record]:
            connection = await self._pool.acquire(timeout=STATEMENT_SECONDS)
            is_done = False
            try:
                await connection.execute(sql.BEGIN_SLOWLY % int(seconds), timeout=STATEMENT_SECONDS)
                rows: list[asyncpg.Record] = await connection.fetch(text, *arguments, timeout=seconds)
                await connection.execute("COMMIT", timeout=STATEMENT_SECONDS)
                is_done = True
            finally:
                if not is_done:
                    connection.terminate()
                await self._pool.release(connection, timeout=RELEASE_SECONDS)
            return rows

        return await self._heard(statement, partial(self.run, unit, seconds + 2 * STATEMENT_SECONDS))

    async def _heard(self, statement: str, run: Callable[[], Awaitable[T]]) -> T:
        """Remember what Postgres complains about while it answers; an outage is told by the watch."""
        try:
            answer = await run()
        except StoreBusy:
            raise
        except StoreUnavailable as error:
            if isinstance(error.__cause__, asyncpg.PostgresError) and not is_passing(error.__cause__):
                self._complaints[statement] = (trio.current_time(), str(error))
            raise
        if self._complaints:
            self._complaints.pop(statement, None)
        return answer

    async def run(self, unit: Callable[[], Awaitable[T]], seconds: float, *, refusable: bool = False) -> T:
        """Run an asyncio unit of database work, bounded, its errors translated."""
        with trio.move_on_after(seconds + 1):  # asyncpg's own limits come first; they close the connection properly
            try:
                return await self._bridge.run(unit)
            except WorkQueueError:
                raise
            except Exception as error:
                failure = outage(error)
                if failure is None:
                    raise
                if isinstance(failure, StoreRefused) and not refusable:
                    failure = StoreUnavailable(str(failure))
                raise failure from error
        raise StoreUnavailable(f"Postgres: no answer within {seconds:g} s")


def in_schema(statement: str, schema: str) -> str:
    """`statement` with the name of the schema in its place."""
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", schema):
        raise ValueError(f"{schema!r} is no name of a schema")
    return str(statement).replace(SCHEMA, f'"{schema}"')


@asynccontextmanager
async def open_pool(
    bridge: Bridge, dsn: str, schema: str, *, connections: int = CONNECTIONS_MAX
) -> AsyncIterator[Pool]:
    """A pool for the tables in `schema`. Opening it needs no server; closed within 3 s at the end.

    Raises InvalidSettings for a URL that cannot be read.
    """

    at = target(dsn)

    async def connecting(*_: Any, **__: Any) -> Connection:  # what the pool says as well: its loop, and the class
        return await connect(at)

    async def create() -> "asyncpg.Pool[asyncpg.Record]":
        connects: Any = connecting
        pool: asyncpg.Pool[asyncpg.Record] = await asyncpg.create_pool(
            min_size=0, max_size=connections, connection_class=Connection, connect=connects
        )
        return pool

    pool = await bridge.run(create)

    async def close() -> None:
        pool.terminate()  # a unit that still works is beyond our time; a statement is a transaction of its own

    try:
        yield Pool(bridge, pool, schema)
    finally:
        with trio.move_on_after(3, shield=True):
            await bridge.run(close)
