"""The connection of the lease thread."""

from uuid import uuid4

import pytest
import trio

from tests.support.proxy import Proxy, through
from workqueue.core.errors import QueueUnavailable
from workqueue.core.queue import Keys, LeaseConnection


@pytest.mark.parametrize("how", ["hangs", "is gone"])
def test_a_lease_connection_gives_up_in_its_time(portal, redis_url, redis_port, queue_name, how):
    # It is used from a thread of its own, which must not hang with Redis.
    proxy = Proxy(redis_port)

    async def start() -> None:
        await portal._nursery.start(proxy.run)

    portal.call(start)
    connection = LeaseConnection(through(redis_url, proxy), Keys(queue_name), seconds=0.3)
    lease = uuid4()
    connection.register(lease, b"{}")
    trio.from_thread.run_sync(proxy.black_hole if how == "hangs" else proxy.go_away, trio_token=portal.token)
    for _ in range(2):
        with pytest.raises(QueueUnavailable):
            connection.renew(lease, b"{}")
    trio.from_thread.run_sync(proxy.heal, trio_token=portal.token)

    def renewed() -> bool:
        try:
            return connection.renew(lease, b"{}")
        except QueueUnavailable:
            return False

    assert any(renewed() for _ in range(20))
    connection.close()


@pytest.fixture
def connection(redis_url, queue_name):
    connection = LeaseConnection(redis_url, Keys(queue_name), seconds=3)
    yield connection
    connection.close()


@pytest.fixture
def lease(connection):
    lease = uuid4()
    connection.register(lease, b"{}")
    return lease


async def test_a_lease_lives_until_it_ends_and_is_retired_only_when_empty(redis, queue, connection, lease):
    assert connection.renew(lease, b'{"name":"w"}')
    workers = await queue.workers()
    assert list(workers) == [lease]
    assert workers[lease][0] == b'{"name":"w"}'
    assert workers[lease][1] < 5
    await queue.push([b"1"])
    await queue.claim(lease, start=1, count=1)
    assert not await queue.retire(lease), "it lives"
    await queue.end(lease)
    assert not connection.renew(lease, b"{}")
    assert await queue.workers() == {}
    assert not await queue.retire(lease), "it holds a task"
    await queue.ack(lease, [1])
    assert await queue.retire(lease)
    assert await queue.retire(lease)
    assert await redis("KEYS", f"{{{queue.name}}}*") == []


async def test_a_renewal_brings_what_was_asked_of_this_worker(redis, queue, connection, lease):
    assert connection.renew(lease, b"{}")
    assert connection.asked == ""
    await queue.ask_worker(uuid4(), "stop")
    await queue.ask_worker(lease, "quiet")
    assert connection.renew(lease, b"{}")
    assert connection.asked == "quiet"
    await redis("DEL", queue.keys.asked(lease))
    assert connection.renew(lease, b"{}")
    assert connection.asked == ""
    await queue.ask_worker(lease, "quiet")
    await queue.end(lease)
    assert not connection.renew(lease, b"{}"), "a lease that is lost is lost, whatever was asked"


async def test_scripts_that_a_server_has_forgotten_are_sent_again(redis, queue, lease, connection):
    await queue.push([b"1"])
    await redis("SCRIPT", "FLUSH")
    assert await queue.claim(lease, start=1, count=1) == {1: b"1"}
    await redis("SCRIPT", "FLUSH")
    assert connection.renew(lease, b"{}")
