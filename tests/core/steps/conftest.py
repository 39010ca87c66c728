from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest

from tests.core.steps.support import MAX
from tests.support.proxy import Proxy, through
from tests.support.steps import Steps, make_recover, registered
from tests.support.wait import IMPATIENT
from workqueue.core.bridge import Bridge
from workqueue.core.queue import Queue, open_queue
from workqueue.core.steps.lease import Lease
from workqueue.core.steps.recover import Recover
from workqueue.core.store import JobStore, open_store


@pytest.fixture
def lease(redis_url: str, queue_name: str) -> Lease:
    return registered(redis_url, queue_name)


@pytest.fixture
def other(redis_url: str, queue_name: str) -> Lease:
    """Another worker's."""
    return registered(redis_url, queue_name)


@pytest.fixture
def registered_lease(redis_url: str, queue_name: str) -> Callable[[], Lease]:
    """Takes another lease with each call."""
    return partial(registered, redis_url, queue_name)


@pytest.fixture
async def redis_proxy(nursery, redis_port: int) -> Proxy:
    proxy = Proxy(redis_port)
    await nursery.start(proxy.run)
    return proxy


@pytest.fixture
async def postgres_proxy(nursery, postgres) -> Proxy:
    proxy = Proxy(postgres.port)
    await nursery.start(proxy.run)
    return proxy


@pytest.fixture
async def far_queue(bridge, redis_proxy, redis_url, queue_name) -> AsyncIterator[Queue]:
    """The queue behind the proxy."""
    async with open_queue(bridge, through(redis_url, redis_proxy), queue_name, command_seconds=IMPATIENT) as queue:
        yield queue


@pytest.fixture
async def far_store(bridge, postgres_proxy, postgres_dsn, database_schema, store) -> AsyncIterator[JobStore]:
    """The rows behind the proxy."""
    async with open_store(bridge, through(postgres_dsn, postgres_proxy), database_schema) as far:
        yield far


@pytest.fixture
def steps(queue, store) -> Steps:
    return Steps(queue, store)


@pytest.fixture
def far_steps(far_queue, far_store) -> Steps:
    """The same behind the proxies."""
    return Steps(far_queue, far_store)


class Trips:
    """How often the bridge was crossed since the fixture was made."""

    count = 0


@pytest.fixture
def trips(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> Trips:
    counted = Trips()
    run = Bridge.run

    async def counting(self: Bridge, unit: Any, *arguments: Any) -> Any:
        counted.count += 1
        return await run(self, unit, *arguments)

    monkeypatch.setattr(Bridge, "run", counting)
    return counted


@pytest.fixture
def parts(queue: Queue, rows: JobStore | None) -> Steps:
    return Steps(queue, rows)


@pytest.fixture
def recover(queue: Queue, rows: JobStore | None) -> Recover:
    return make_recover(queue, rows, max_recoveries=MAX)
