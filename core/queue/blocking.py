"""A connection to the master for a thread: the lease thread has one, and makes a trip each few seconds.

So it needs no pool and no connection that follows the master: after each failure a new one is made, to the address that
is asked for anew.
"""

import time
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.retry import Retry

from workqueue.core.queue.master import Address, MasterUnknown
from workqueue.core.queue.outages import check_ping_error, check_role, no_host, no_master_named, refusal
from workqueue.core.queue.urls import Target, connection_options


class BlockingMasterConnection:
    """Commands to the master, one at a time; each is sent at most once.

    Mutable state: the connection, None before the first command and after a failure, and the node that named the
    master.
    """

    def __init__(self, at: Target, *, seconds: float) -> None:
        """`seconds`: no connect, no discovery of the master and no answer takes longer."""
        self._master = at.master
        self._kind: Any = redis.SSLConnection if at.tls else redis.Connection
        self._is_unix = at.unix
        self._options = {"retry": Retry(NoBackoff(), 0), **connection_options(at, seconds, seconds)}
        self._discovery_seconds: float = self._options["socket_connect_timeout"]  # for all nodes together
        of_one = self._discovery_seconds / 2
        self._discovery_options = (
            self._options | {"socket_connect_timeout": of_one, "socket_timeout": of_one} | at.discovery_options
        )
        self._connection: Any = None
        self._discovered_by: Address | None = None

    def command(self, *words: Any) -> Any:
        """The answer. Raises what redis-py raises; but for NOSCRIPT the connection is not used again then."""
        self._close_stale()
        if self._connection is None:
            self._connection = self._connect()
        connection = self._connection
        try:
            connection.send_command(*words)
            return connection.read_response()
        except NoScriptError:
            raise
        except ResponseError as error:
            at = Address(getattr(connection, "host", ""), getattr(connection, "port", 0))
            generation = self._master.generation
            self._master.refused(error, at=at, generation=generation, discovered_by=self._discovered_by)
            self.close()
            raise
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()

    def _close_stale(self) -> None:
        """A server that was started anew has closed the connection: found out before a command is lost to it."""
        try:
            if self._connection is not None and self._connection.can_read():
                self.close()
        except (RedisError, OSError):
            self.close()

    def _connect(self) -> Any:
        self._discovered_by = None
        if self._is_unix:
            socket: Any = redis.UnixDomainSocketConnection(**self._options)  # type: ignore[abstract]
            socket.connect()
            return socket
        options = dict(self._options)
        if self._master.discovery_command:
            found, self._discovered_by = self._find()
            options |= {"host": found.host, "port": found.port}
        connection = self._kind(**options)
        try:
            connection.connect()
            self._check(connection)
        except BaseException as error:
            connection.disconnect()
            if self._discovered_by is not None:
                self._master.ask_last(self._discovered_by)
            if isinstance(error, UnicodeError):
                raise no_host(connection.host) from error
            raise
        return connection

    def _find(self) -> tuple[Address, Address]:
        """Where the master is, and the node that said so."""
        faults: list[tuple[Address, Exception]] = []
        until = time.monotonic() + self._discovery_seconds
        for node in tuple(self._master.nodes):
            if time.monotonic() > until:
                break
            connection = self._kind(**self._discovery_options | {"host": node.host, "port": node.port})
            try:
                connection.connect()
                connection.send_command(*self._master.discovery_command)
                return self._master.read(connection.read_response(), node), node
            except (RedisError, OSError, MasterUnknown) as error:
                faults.append((node, error))
                self._master.ask_last(node)
            finally:
                connection.disconnect()
        raise no_master_named(faults)

    def _check(self, connection: Any) -> None:
        """The same questions as on a connection of asyncio (following.py)."""
        connection.send_command(*(("INFO", "replication") if self._master.is_verified else ("PING",)))
        try:
            answer = connection.read_response()
        except ResponseError as error:
            if not self._master.is_verified:
                check_ping_error(error)
            elif refusal(error, "INFO") is None:
                raise
        else:
            if self._master.is_verified:
                check_role(answer, Address(connection.host, connection.port), self._discovered_by)
