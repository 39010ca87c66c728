"""Clients for a Redis URL, whatever stands behind it: one server, a Sentinel set or a Cluster.

All three look alike to a queue, whose keys are in one slot: there is one master, and each new connection goes to where
it is by then. So the clients are redis-py's plain ones, with MULTI, INFO and scripts as ever. Its RedisCluster is not
used: it sends a command again whose connection broke, so that an RPUSH may be there twice, and asks any node for INFO;
its pools for Sentinel and Cluster raise where all connections are in use.
"""

from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

import redis
from msgspec import Struct
from redis import asyncio as redis_asyncio
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import RedisError
from redis.retry import Retry

from workqueue.core.errors import InvalidSettings
from workqueue.core.queue.following import (
    BlockingFollowingConnection,
    BlockingFollowingTlsConnection,
    FollowingConnection,
    FollowingTlsConnection,
)
from workqueue.core.queue.master import Address, ClusterMaster, Master, SentinelMaster

CONNECT_SECONDS = 2.0  #: to a master that may have moved: a host that is gone never answers, and the next try asks anew
DEFAULT_PORTS = {"sentinel": 26379, "cluster": 6379}


class Target(Struct, frozen=True):
    """What a URL leads to."""

    options: dict[str, Any]  #: of redis-py's connections, as far as the URL has them
    unix: bool
    tls: bool
    master: Master
    asking: dict[str, Any]  #: options that differ for whoever is asked where the master is


def check_url(url: str) -> None:
    """Raise InvalidSettings where no connection can be made from `url`, whatever runs there. Connects to nothing.

    core/settings.py has looked at its form; this reads the files of certificates as well.
    """
    try:
        connection: Any = client(target(url, ""), 1, seconds=1, read_seconds=1).connection_pool.make_connection()
        if (context := getattr(connection, "ssl_context", None)) is not None:
            context.get()
    except OSError as error:  # of ssl and of files, without their names
        raise InvalidSettings([f"REDIS_URL=***: its ssl options cannot be used: {error.strerror or error}"]) from None
    except (TypeError, ValueError, RedisError) as error:  # what redis-py says may show a piece of a password
        raise InvalidSettings([f"REDIS_URL=***: cannot be used ({type(error).__name__})"]) from None


def target(url: str, queue_name: str) -> Target:
    """Where the queue of that name is. Clients of one target share what they learn; they must be of one thread.

    Raises ValueError where `url` cannot be read.
    """
    parts = urlsplit(url)
    scheme, _, topology = parts.scheme.partition("+")
    if not topology:
        return Target(dict(parse_url(url)), scheme == "unix", scheme == "rediss", Master(), {})
    credentials, at, hosts = parts.netloc.rpartition("@")
    nodes = tuple(_address(host, DEFAULT_PORTS[topology]) for host in hosts.split(","))
    service, _, database = parts.path.strip("/").partition("/")
    query = dict(parse_qsl(parts.query))
    master: Master
    if topology == "sentinel":
        master = SentinelMaster(nodes, unquote(service))
        asking = {"username": query.pop("sentinel_username", None), "password": query.pop("sentinel_password", None)}
    else:
        master, asking, database = ClusterMaster(nodes, key_slot(queue_name.encode())), {}, ""
    plain = urlunsplit((scheme, f"{credentials}{at}{nodes[0]}", database, urlencode(query), ""))
    return Target(dict(parse_url(plain)), False, scheme == "rediss", master, asking | {"db": 0})


def client(at: Target, connections: int, *, seconds: float, read_seconds: float) -> "redis_asyncio.Redis":
    """For asyncio, with so many connections. `seconds`: for a connect, and for a connection that is free."""
    kind: Any = redis_asyncio.UnixDomainSocketConnection
    if not at.unix:
        kind = FollowingTlsConnection if at.tls else FollowingConnection
    pool = redis_asyncio.BlockingConnectionPool(
        **{
            "max_connections": connections,
            "timeout": seconds,
            # redis-py would send an RPUSH again whose reply was lost, and the task would be there twice.
            "retry": AsyncRetry(NoBackoff(), 0),
            **_options(at, seconds, read_seconds),
            "connection_class": kind,
        }
    )
    return redis_asyncio.Redis.from_pool(pool)


def blocking_client(at: Target, *, seconds: float) -> "redis.Redis":
    """For a thread. No connect, no question and no answer takes longer than `seconds`."""
    kind: Any = redis.UnixDomainSocketConnection
    if not at.unix:
        kind = BlockingFollowingTlsConnection if at.tls else BlockingFollowingConnection
    options = {"retry": Retry(NoBackoff(), 0), **_options(at, seconds, seconds), "connection_class": kind}
    return redis.Redis.from_pool(redis.ConnectionPool(**options))


def _options(at: Target, seconds: float, read_seconds: float) -> dict[str, Any]:
    """What the URL says wins, as with redis-py."""
    follows = bool(at.master.question)
    ours = {
        "socket_timeout": read_seconds,
        "socket_connect_timeout": min(seconds, CONNECT_SECONDS) if follows else seconds,
        "protocol": 2,
        # No CLIENT SETINFO: redis-py throws its answers away, and a server in protected mode gives one answer only.
        "driver_info": None,
    }
    return ours | at.options | ({} if at.unix else {"master": at.master, "asking": at.asking})


def _address(text: str, default_port: int) -> Address:
    parts = urlsplit(f"//{text}")
    return Address(unquote(parts.hostname or ""), parts.port or default_port)
