"""Looking at keys, and meddling with them, from outside: a client of its own, as another program has."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry


class RedisCli:
    """Commands by hand: `await redis("LRANGE", queue.name, 0, -1)`. Raises what redis-py raises; repeats none."""

    def __init__(self, client: "Redis") -> None:
        self._client = client

    async def __call__(self, *command: Any) -> Any:
        return await trio.to_thread.run_sync(self._client.execute_command, *command)

    async def list(self, key: str) -> list[bytes]:
        """A whole list, from its head."""
        found: list[bytes] = await self("LRANGE", key, 0, -1)
        return found


@asynccontextmanager
async def open_redis_cli(url: str) -> AsyncIterator[RedisCli]:
    with Redis.from_url(url, protocol=2, retry=Retry(NoBackoff(), 0)) as client:
        yield RedisCli(client)
