"""A producer on a socket, a worker step by step, and the client in each of its colours."""

import pytest
import trio

from tests.client.colours import COLOURS, opened
from tests.producer.serving import serving
from tests.support.proxy import Proxy
from tests.support.steps import Steps, registered


@pytest.fixture
def environ(redis_url, postgres_dsn, queue_name, database_schema):
    return {
        "REDIS_URL": redis_url,
        "DATABASE_URL": postgres_dsn,
        "DATABASE_SCHEMA": database_schema,
        "QUEUE_NAME": queue_name,
    }


@pytest.fixture
async def url(store, environ, monkeypatch):
    monkeypatch.setattr("workqueue.services.health.ANSWER_SECONDS", 60.0)
    async with serving(environ) as producer:
        yield str(producer.base_url)


@pytest.fixture
async def redis_only(redis_url, queue_name):
    async with serving({"REDIS_URL": redis_url, "QUEUE_NAME": queue_name}) as producer:
        yield str(producer.base_url)


@pytest.fixture
async def proxy(url, nursery: trio.Nursery) -> Proxy:
    """In front of the producer."""
    proxy = Proxy(int(url.rpartition(":")[2]))
    await nursery.start(proxy.run)
    return proxy


@pytest.fixture(params=COLOURS)
def colour(request):
    return request.param


@pytest.fixture
async def client(colour, url):
    async with opened(colour, url) as client:
        yield client


@pytest.fixture
async def far(colour, proxy):
    """A client behind the proxy, with a short deadline."""
    async with opened(colour, f"http://127.0.0.1:{proxy.port}", timeout=2) as client:
        yield client


@pytest.fixture
def steps(queue, store):
    return Steps(queue, store)


@pytest.fixture
def lease(redis_url, queue_name):
    return registered(redis_url, queue_name)
