from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest
import trio

from tests.producer.serving import serving
from tests.support.proxy import Proxy
from workqueue.core.queue import Queue
from workqueue.services.local.valkey import Server


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests in which no server goes away. Client and producer share one loop here: where a busy machine holds it up
    for two seconds, the watch would take Redis for away, and refuse what the test expects to be accepted."""
    monkeypatch.setattr("workqueue.services.health.ANSWER_SECONDS", 60.0)


@pytest.fixture
def environ(redis_url: str, postgres_dsn: str, queue_name: str, database_schema: str) -> dict[str, str]:
    return {
        "REDIS_URL": redis_url,
        "DATABASE_URL": postgres_dsn,
        "DATABASE_SCHEMA": database_schema,
        "QUEUE_NAME": queue_name,
    }


@pytest.fixture
async def redis_proxy(redis_port: int, nursery: trio.Nursery) -> Proxy:
    """In front of Redis, for a producer whose REDIS_URL leads through it."""
    proxy = Proxy(redis_port)
    await nursery.start(proxy.run)
    return proxy


@pytest.fixture
async def postgres_proxy(postgres: Server, nursery: trio.Nursery) -> Proxy:
    """In front of Postgres, for a producer whose DATABASE_URL leads through it."""
    proxy = Proxy(postgres.port)
    await nursery.start(proxy.run)
    return proxy


@pytest.fixture
async def client(store: object, environ: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    """A producer with Postgres (`store` has migrated it)."""
    async with serving(environ) as client:
        yield client


@pytest.fixture
async def redis_only(redis_url: str, queue_name: str) -> AsyncIterator[httpx.AsyncClient]:
    """A producer without DATABASE_URL."""
    async with serving({"REDIS_URL": redis_url, "QUEUE_NAME": queue_name}) as client:
        yield client


@pytest.fixture
def tasks(queue: Queue) -> Callable[[], Awaitable[list[bytes]]]:
    """What lies in the ready list, as an external program would see it."""

    async def read() -> list[bytes]:
        found: list[bytes] = await queue._command("LRANGE", queue.name, 0, -1)
        return found

    return read
