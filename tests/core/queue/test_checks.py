"""What makes a Redis unfit for a queue, and what an operator is told."""

from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from tests.support.redis_cli import open_redis_cli
from workqueue.core.errors import QueueUnavailable
from workqueue.core.queue import LeaseConnection, open_queue
from workqueue.services.local.valkey import run_valkey


@asynccontextmanager
async def own_server(folder: Path, bridge):
    """A queue on a server of the test's own, whose configuration may be changed."""
    async with run_valkey(folder, durable=False) as server, open_queue(bridge, server.url, "q") as queue:
        lease_connection = LeaseConnection(server.url, queue.keys, seconds=3)
        async with open_redis_cli(server.url) as redis:
            with closing(lease_connection):
                yield redis, queue, lease_connection


async def test_what_would_lose_tasks_is_said(bridge, tmp_path):
    async with own_server(tmp_path, bridge) as (redis, queue, _connection):
        await queue.check()
        await redis("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        with pytest.raises(QueueUnavailable, match="maxmemory-policy is allkeys-lru"):
            await queue.check()
        await redis("CONFIG", "SET", "maxmemory-policy", "noeviction")
        await redis("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(QueueUnavailable, match="read-only replica"):
            await queue.check()
        with pytest.raises(QueueUnavailable, match="read only replica"):
            await queue.push([b"x"])
