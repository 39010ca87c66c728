"""Looking at rows, and breaking them, from outside: a connection of its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from workqueue.core.bridge import Bridge


class Psql:
    """A psql session. Everything runs in one session, so a transaction can be left open."""

    def __init__(self, bridge: Bridge, connection: Any, schema: str) -> None:
        self._bridge = bridge
        self._schema = schema
        self._connection = connection

    async def __call__(self, statement: str, *arguments: object) -> list[Any]:
        statement = statement.replace("{schema}", self._schema)
        rows: list[Any] = await self._bridge.run(self._connection.fetch, statement, *arguments)
        return rows

    async def value(self, statement: str, *arguments: object) -> Any:
        return (await self(statement, *arguments))[0][0]


@asynccontextmanager
async def open_psql(bridge: Bridge, dsn: str, schema: str) -> AsyncIterator[Psql]:
    async def connect() -> Any:
        return await asyncpg.connect(dsn, server_settings={"search_path": schema})

    connection = await bridge.run(connect)
    try:
        yield Psql(bridge, connection, schema)
    finally:

        async def close() -> None:
            connection.terminate()

        await bridge.run(close)
