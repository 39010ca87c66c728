"""Clients for a Redis URL: of one server, a Sentinel set or a Cluster.

All three look alike to a queue, whose keys are in one slot: there is one master, and each new connection goes to where
it is at the moment. So the clients are redis-py's plain ones, with MULTI, INFO and scripts as usual. Its RedisCluster
is not used: it sends a command again whose connection broke, so that an RPUSH may be there twice, and asks any node for
INFO; its pools for Sentinel and Cluster raise an error where all connections are in use.
"""

from typing import Any

from msgspec import Struct
from redis import asyncio as redis_asyncio
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.crc import key_slot

from workqueue.core import redis_url
from workqueue.core.errors import InvalidSettings
from workqueue.core.queue.following import MasterConnection, MasterTlsConnection
from workqueue.core.queue.master import Address, ClusterMaster, Master, SentinelMaster

CONNECT_SECONDS = 2.0  #: to a master that may have moved: a host that is gone never answers, and the next try asks anew


class Target(Struct, frozen=True):
    """Where a URL leads to."""

    options: dict[str, Any]  #: of redis-py's connections, as far as the URL has them
    unix: bool
    tls: bool
    master: Master
    discovery_options: dict[str, Any]  #: for Sentinels and Cluster seeds, where they differ from the master's


def target(url: str, queue_name: str) -> Target:
    """Where the queue of that name is. Clients of one target share what they learn; they must be of one thread.

    Raises InvalidSettings where `url` cannot be read (core/settings.py has refused it before).
    """
    try:
        parts = redis_url.take_apart(url)
        options: dict[str, Any] = dict(parse_url(parts.plain))
    except (TypeError, ValueError) as error:  # the text of redis-py's may show a piece of a password
        raise InvalidSettings([f"REDIS_URL=***: cannot be used ({type(error).__name__})"]) from None
    nodes = tuple(Address(host, port) for host, port in parts.nodes)
    master, discovery = Master(), {}
    if parts.topology == "sentinel":
        master = SentinelMaster(nodes, parts.service)
        discovery = {"username": parts.sentinel_username, "password": parts.sentinel_password, "db": 0}
    elif parts.topology == "cluster":
        master, discovery = ClusterMaster(nodes, key_slot(queue_name.encode())), {"db": 0}
    return Target(options, parts.unix, parts.tls, master, discovery)


def client(at: Target, connections: int, *, seconds: float, read_seconds: float) -> "redis_asyncio.Redis":
    """For asyncio, with so many connections. `seconds`: for a connect, and for a connection that is free."""
    kind: Any = redis_asyncio.UnixDomainSocketConnection
    options = connection_options(at, seconds, read_seconds)
    if not at.unix:
        kind = MasterTlsConnection if at.tls else MasterConnection
        options |= {"master": at.master, "discovery_options": at.discovery_options}
    pool = redis_asyncio.BlockingConnectionPool(
        **{
            "max_connections": connections,
            "timeout": seconds,
            # redis-py would send an RPUSH again whose reply was lost, and the task would be there twice.
            "retry": Retry(NoBackoff(), 0),
            **options,
            "connection_class": kind,
        }
    )
    return redis_asyncio.Redis.from_pool(pool)


def connection_options(at: Target, seconds: float, read_seconds: float) -> dict[str, Any]:
    """Of a connection of redis-py. An option of the URL wins, as with redis-py."""
    follows = bool(at.master.discovery_command)
    ours = {
        "socket_timeout": read_seconds,
        "socket_connect_timeout": min(seconds, CONNECT_SECONDS) if follows else seconds,
        "protocol": 2,
        # No CLIENT SETINFO: redis-py throws its answers away, and a server in protected mode gives one answer only.
        "driver_info": None,
    }
    return ours | at.options
