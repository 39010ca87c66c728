"""NOTIFY: Postgres tells that a job was enqueued by SQL (migrations/0015_enqueue.sql)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio

from workqueue.core.bridge import Bridge
from workqueue.core.errors import StoreUnavailable
from workqueue.core.store.connecting import CONNECT_SECONDS, Connection, connect, target
from workqueue.core.store.outages import outage

CHANNEL = "workqueue"
RECEIVE_SECONDS = 1.0  #: of one wait


class Notifications:
    """What is told of one schema."""

    def __init__(self, bridge: Bridge, dsn: str, schema: str) -> None:
        self._bridge = bridge
        self._dsn = dsn
        self._schema = schema

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[Callable[[], Awaitable[bool]]]:
        """Listen, on a connection of its own, until the block ends.

        The function returns True where something was told since its last call, False where nothing was within
        RECEIVE_SECONDS. Both raise StoreUnavailable; what was told meanwhile is lost. Behind a pooler that gives each
        transaction another session nothing is told.
        """
        told, closed = asyncio.Event(), asyncio.Event()

        def hear(_connection: object, _pid: int, _channel: str, payload: object) -> None:
            if payload == f'"{self._schema}"':  # as the statements name it
                told.set()

        def ended(_connection: object) -> None:
            closed.set()
            told.set()

        async def begin() -> Connection:
            connection = await connect(target(self._dsn))
            try:
                connection.add_termination_listener(ended)
                async with asyncio.timeout(CONNECT_SECONDS):
                    await connection.add_listener(CHANNEL, hear)
            except BaseException:
                connection.terminate()
                raise
            return connection

        async def wait() -> bool:
            try:
                async with asyncio.timeout(RECEIVE_SECONDS):
                    await told.wait()
            except TimeoutError:
                return False
            told.clear()
            if closed.is_set():
                raise StoreUnavailable("Postgres: the connection that listens has ended")
            return True

        connection = await self._run(begin)
        try:
            yield lambda: self._run(wait)
        finally:
            connection.terminate()

    async def _run(self, unit: Callable[[], Awaitable[Any]]) -> Any:
        try:
            with trio.fail_after(2 * CONNECT_SECONDS + RECEIVE_SECONDS):
                return await self._bridge.run(unit)
        except trio.TooSlowError as error:
            raise StoreUnavailable("Postgres: no answer") from error
        except StoreUnavailable:
            raise
        except Exception as error:
            if (failure := outage(error)) is None:
                raise
            raise failure from error
