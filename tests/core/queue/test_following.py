"""A queue on a Sentinel set and on a Cluster: its clients go to the master, and leave who is none."""

import signal
from functools import partial
from uuid import uuid4

import pytest
import trio

from tests.support.redis_cli import open_redis_cli
from tests.support.redis_sets import SERVICE
from tests.support.wait import until, until_true
from workqueue.core.errors import QueueUnavailable
from workqueue.core.queue import LeaseConnection, open_queue
from workqueue.services.local.valkey import run_valkey


@pytest.fixture
def redis_url(redis_set) -> str:
    return redis_set.url


on_sentinels = pytest.mark.parametrize("redis_set", ["sentinel"], indirect=True)
on_a_cluster = pytest.mark.parametrize("redis_set", ["cluster"], indirect=True)


async def answers(queue) -> bool:
    try:
        await queue.check()
    except QueueUnavailable:
        return False
    return True


async def test_every_client_goes_to_the_master_and_on_to_the_next_one(redis_set, queue):
    """A failover by hand, under way while tasks are pushed."""
    connection = LeaseConnection(redis_set.url, queue.keys, seconds=1)
    lease = uuid4()
    await trio.to_thread.run_sync(connection.register, lease, b"{}")
    await queue.check()
    assert set(await queue.workers()) == {lease}
    await queue.push([b"1", b"2"])
    assert await queue.claim(lease, start=1, count=9, on_task_available=nothing) == {1: b"1", 2: b"2"}
    assert (await queue.inspect(lease)).numbers == {1, 2}
    old = await redis_set.master(queue.name)
    assert await is_of(queue, old)

    refused = pushed = 0

    async def push() -> None:
        nonlocal refused, pushed
        while True:
            try:
                await queue.push([b"x"])
                pushed += 1
            except QueueUnavailable:
                refused += 1
            await trio.sleep(0.001)

    await redis_set.until_in_sync()
    async with trio.open_nursery() as pushing:
        pushing.start_soon(push)
        await until_true(lambda: pushed > 10)
        if redis_set.on_sentinels:
            await redis_set.watchers[0]("SENTINEL", "FAILOVER", SERVICE)
        else:
            await (await replica_of(redis_set, old))("CLUSTER", "FAILOVER")
        await until(partial(leads_no_more, redis_set, old, queue.name), seconds=20)
        seen = pushed
        await until_true(lambda: pushed > seen + 10)
        pushing.cancel_scope.cancel()
    if not redis_set.on_sentinels:  # a node that hands over says where its slot is now, and has done nothing
        assert not refused
        assert pushed <= (await queue.depths()).ready <= pushed + 1, "the answer to the last push may be lost"
    await until(partial(renewed, connection, lease))
    connection.close()
    assert await is_of(queue, await redis_set.master(queue.name)), "a script, which the new master did not know"
    began = trio.current_time()
    assert await queue.claim(lease, start=10, count=1, on_task_available=nothing)
    await queue.check()
    assert trio.current_time() - began < 30


def nothing() -> None:
    """Done between a wait and its claim."""


async def is_of(queue, node) -> bool:
    """Does the queue ask this node?"""
    run, _ = await queue.read_checkpoint()
    return f"run_id:{run}".encode() in await node("INFO", "server")


async def leads_no_more(redis_set, node, name) -> bool:
    return await redis_set.master(name) is not node and await node.says(b"role:slave", "INFO", "replication")


async def replica_of(redis_set, master):
    port = f"master_port:{master.port}".encode()
    [replica] = [node for node in redis_set.nodes if await node.says(port, "INFO", "replication")]
    return replica


async def renewed(connection, lease) -> bool:
    try:
        return await trio.to_thread.run_sync(connection.renew, lease, b"{}")
    except QueueUnavailable:
        return False


@on_a_cluster
async def test_the_nodes_of_the_url_may_be_gone_later(redis_set, bridge, queue_name):
    """A Cluster tells of its other nodes."""
    master = await redis_set.master(queue_name)
    named = next(node for node in redis_set.nodes[:3] if node is not master)
    only = f"{redis_set.url.rpartition('@')[0]}@127.0.0.1:{named.port}"
    async with open_queue(bridge, only, queue_name) as queue:
        await queue.push([b"1"])
        await named.kill()
        await bridge.run(queue._commands.connection_pool.disconnect)
        await queue.push([b"2"])


@on_sentinels
async def test_sentinels_that_hang_or_are_gone_are_passed_over(redis_set, bridge, queue_name):
    first, second, third = redis_set.watchers
    first.send(signal.SIGSTOP)
    await second.kill()
    try:
        async with open_queue(bridge, redis_set.url, queue_name) as queue:
            await queue.push([b"1"])
            master = queue._commands.connection_pool.connection_kwargs["master"]
            assert master.nodes[0].port == third.port, "the one that answered is asked first the next time"
            await bridge.run(queue._commands.connection_pool.disconnect)
            await queue.push([b"2"])
    finally:
        first.send(signal.SIGCONT)
    await third.kill()
    await first.kill()
    async with open_queue(bridge, redis_set.url, queue_name) as queue:
        with pytest.raises(QueueUnavailable, match="no node named a master") as failure:
            await queue.depths()
        assert all(str(node.port) in str(failure.value) for node in redis_set.watchers), "each is named"
        await third.revive()
        await until(partial(answers, queue))


@on_sentinels
async def test_a_sentinel_that_names_a_replica_is_not_believed(redis_set, queue, queue_name, bridge):
    old = await redis_set.master(queue_name)
    [other] = [node for node in redis_set.nodes if node is not old]
    await queue.push([b"1"])
    for watcher in redis_set.watchers:
        watcher.send(signal.SIGSTOP)  # or they would put it right
    try:
        await old("REPLICAOF", "127.0.0.1", other.port)
        with pytest.raises(QueueUnavailable, match=r"READONLY|read only"):
            await queue.push([b"2"])
    finally:
        for watcher in redis_set.watchers:
            watcher.send(signal.SIGCONT)
    with pytest.raises(QueueUnavailable, match="is no master, though"):
        await queue.push([b"3"])
    await until(partial(answers, queue), seconds=20)


@on_sentinels
async def test_what_is_wrong_with_a_set_is_said(redis_set, bridge, queue_name, redis_url):
    [port, *_] = [node.port for node in redis_set.watchers]
    for url, fault in {
        redis_url.replace(f"/{SERVICE}", "/others"): "knows no service 'others'",
        f"redis+sentinel://127.0.0.1:{redis_set.nodes[0].port}/jobs": "Authentication required",
        f"redis+cluster://127.0.0.1:{port}": "unknown command|cluster support disabled",
        redis_url.replace("word@", "wrong@"): "WRONGPASS|invalid username-password",
    }.items():
        async with open_queue(bridge, url, queue_name) as queue:
            with pytest.raises(QueueUnavailable, match=fault) as failure:
                await queue.depths()
        assert "word" not in str(failure.value).replace("password", "")

    # Sentinels may have a password of their own.
    for watcher in redis_set.watchers:
        await watcher("ACL", "SETUSER", "default", "resetpass", ">s&s")
    async with open_queue(bridge, redis_url, queue_name) as queue:
        with pytest.raises(QueueUnavailable, match="Authentication required"):
            await queue.depths()
    async with open_queue(bridge, f"{redis_url}?sentinel_password=s%26s", queue_name) as queue:
        await queue.check()


async def test_a_plain_connection_to_a_master_that_became_a_replica_is_not_kept(bridge, tmp_path, queue_name):
    """The name in the URL may lead to another server by now."""
    async with (
        run_valkey(tmp_path, durable=False) as server,
        open_queue(bridge, server.url, queue_name) as queue,
        open_redis_cli(server.url) as redis,
    ):
        connection = LeaseConnection(server.url, queue.keys, seconds=3)
        lease = uuid4()
        await trio.to_thread.run_sync(connection.register, lease, b"{}")

        async def client_id() -> int:
            return await queue._command("CLIENT", "ID")

        for ask, fault in ((partial(queue.push, [b"x"]), "read only"), (queue.check, "read-only replica")):
            before = await client_id()
            await redis("REPLICAOF", "127.0.0.1", 1)
            with pytest.raises(QueueUnavailable, match=fault):
                await ask()
            assert await client_id() > before, "the next one was made anew"
            if fault == "read only":
                with pytest.raises(QueueUnavailable, match=fault):
                    await trio.to_thread.run_sync(connection.renew, lease, b"{}")
            await redis("REPLICAOF", "NO", "ONE")
        assert await trio.to_thread.run_sync(connection.renew, lease, b"{}")
        connection.close()
