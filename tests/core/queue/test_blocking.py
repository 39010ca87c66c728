"""The lease thread's connection: made anew after a failure, and before a command would be lost to a closed one."""

from pathlib import Path
from uuid import uuid4

import pytest
import trio

from tests.support.proxy import Proxy, through
from workqueue.core.errors import QueueUnavailable
from workqueue.core.queue import Keys, LeaseConnection
from workqueue.services.local.valkey import run_valkey


async def test_a_server_that_was_started_anew_between_two_trips_costs_none_of_them(tmp_path: Path):
    lease = uuid4()
    async with run_valkey(tmp_path, sync="always") as server:
        connection = LeaseConnection(server.url, Keys("q"), seconds=5)
        await trio.to_thread.run_sync(connection.register, lease, b"{}")
    async with run_valkey(tmp_path, port=server.port):
        assert await trio.to_thread.run_sync(connection.renew, lease, b"{}"), "no QueueUnavailable, and no loss"
        connection.close()


async def test_an_answer_that_comes_too_late_is_never_taken_for_that_of_the_next_command(
    nursery, redis_url, redis_port, queue_name, queue
):
    proxy = Proxy(redis_port)
    await nursery.start(proxy.run)
    connection = LeaseConnection(through(redis_url, proxy), Keys(queue_name), seconds=1)
    mine, lost = uuid4(), uuid4()
    await trio.to_thread.run_sync(connection.register, mine, b"{}")
    before = proxy.connections
    proxy.delay_seconds = 1.3
    with pytest.raises(QueueUnavailable):
        await trio.to_thread.run_sync(connection.renew, mine, b"{}")
    proxy.delay_seconds = 0
    assert not await trio.to_thread.run_sync(connection.renew, lost, b"{}"), "the late answer was that it lives"
    assert proxy.connections == before + 1
    assert await trio.to_thread.run_sync(connection.renew, mine, b"{}")
    assert proxy.connections == before + 1, "a connection that works is kept"
    connection.close()
