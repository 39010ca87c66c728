"""URLs of servers, sentinel sets and clusters, and the clients that are made from them."""

from typing import Any

import pytest
import redis.asyncio

from workqueue.core.queue.blocking import BlockingMasterConnection
from workqueue.core.queue.master import ClusterMaster
from workqueue.core.queue.urls import client, target


@pytest.mark.parametrize("scheme", ["redis", "redis+sentinel", "redis+cluster"])
def test_an_s_means_tls_for_the_nodes_that_are_asked_too(scheme):
    for s, plain in ("", redis.asyncio.Connection), ("s", redis.asyncio.SSLConnection):
        at = target(f"{scheme.replace('redis', 'redis' + s)}://h{'/jobs' if 'sentinel' in scheme else ''}", "q")
        connection: Any = client(at, 1, seconds=1, read_seconds=1).connection_pool.make_connection()
        assert connection._plain is plain
        assert isinstance(connection, plain)
        assert BlockingMasterConnection(at, seconds=1)._kind is (redis.SSLConnection if s else redis.Connection)


def test_a_url_is_taken_apart():
    sentinel = target(
        "rediss+sentinel://u:p%40w@a,b:2,[::1]:3/my%20jobs/4?sentinel_password=s%26s&ssl_cert_reqs=none", "q"
    )
    assert sentinel.tls
    assert sentinel.master.nodes == [("a", 26379), ("b", 2), ("::1", 3)]
    assert sentinel.master.discovery_command[-1] == "my jobs"
    assert (sentinel.options["username"], sentinel.options["password"], sentinel.options["db"]) == ("u", "p@w", 4)
    assert sentinel.discovery_options == {"username": None, "password": "s&s", "db": 0}
    assert sentinel.options["ssl_cert_reqs"] == "none"
    cluster = target("redis+cluster://:p@a,b:2", "foo")
    assert (cluster.master.nodes, cluster.tls, cluster.options["password"]) == ([("a", 6379), ("b", 2)], False, "p")
    assert isinstance(cluster.master, ClusterMaster)
    assert cluster.master._slot == 12182  # as CLUSTER KEYSLOT foo answers
