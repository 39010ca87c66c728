"""Connections, for asyncio, that go to where the master is at the moment; in everything else they are redis-py's own.

redis-py calls `connect` before each command, `_connect` in it where there is no socket, `on_connect_check_health` once
there is one, and `read_response` for each answer. Nothing here sends a command a second time.
"""

import time
from collections.abc import Iterable, Mapping
from typing import Any

from redis import asyncio as redis_asyncio
from redis.exceptions import RedisError, ResponseError

from workqueue.core.queue.master import Address, Master, MasterUnknown
from workqueue.core.queue.outages import check_ping_error, check_role, no_host, no_master_named, refusal


class MasterConnection(redis_asyncio.Connection):
    """A connection to the master.

    Mutable state besides redis-py's: the generation in which it was made, and the node that named the master, set by
    `_connect`.
    """

    host: str
    port: int
    _plain: type[redis_asyncio.Connection] = redis_asyncio.Connection

    def __init__(self, *, master: Master, discovery_options: Mapping[str, Any], **options: Any) -> None:
        """`discovery_options`: options of redis-py's that differ for the nodes that are asked, a password, say."""
        super().__init__(**options)
        self._master = master
        self._generation = -1
        self._discovered_by: Address | None = None
        self._discovery_seconds: float = options["socket_connect_timeout"]  # for all nodes together
        of_one = self._discovery_seconds / 2
        self._discovery_options = options | {"socket_connect_timeout": of_one, "socket_timeout": of_one}
        self._discovery_options |= discovery_options

    async def connect(self) -> None:
        if self.is_connected:
            if self._generation == self._master.generation:
                return  # as redis-py does in the end
            await self.disconnect(nowait=True)
        try:
            await super().connect()
        except RedisError:
            self._report_wrong_master()
            raise
        except UnicodeError as error:
            self._report_wrong_master()
            raise no_host(self.host) from error

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        """Send what the socket takes at once without a limit of time; redis-py starts a task for one.

        Needed before Python 3.12 only, where redis-py needs no task either.
        """
        if check_health:
            await self.check_health()
        writer = self._writer
        if writer is None or writer.transport.is_closing() or writer.transport.get_write_buffer_size():
            await super().send_packed_command(command, check_health=False)
            return
        if isinstance(command, str):
            command = command.encode()
        writer.writelines([command] if isinstance(command, bytes) else command)
        if writer.transport.get_write_buffer_size():
            await super().send_packed_command([], check_health=False)

    async def _connect(self) -> None:
        if self._master.discovery_command:
            found, self._discovered_by = await self._find()
            self.host, self.port = found
        self._generation = self._master.generation
        await super()._connect()

    async def _find(self) -> tuple[Address, Address]:
        """Where the master is, and the node that said so."""
        self._discovered_by = None
        faults: list[tuple[Address, Exception]] = []
        until = time.monotonic() + self._discovery_seconds
        for node in tuple(self._master.nodes):
            if time.monotonic() > until:
                break
            connection = self._plain(**self._discovery_options | {"host": node.host, "port": node.port})
            try:
                await connection.connect()
                await connection.send_command(*self._master.discovery_command)
                return self._master.read(await connection.read_response(), node), node
            except (RedisError, OSError, MasterUnknown) as error:
                faults.append((node, error))
                self._master.ask_last(node)
            finally:
                await connection.disconnect(nowait=True)
        raise no_master_named(faults)

    def _report_wrong_master(self) -> None:
        """There was no master at the address that a node named: another node is asked first next time."""
        if self._discovered_by is not None:
            self._master.ask_last(self._discovered_by)

    async def on_connect_check_health(self, check_health: bool = True) -> None:
        await super().on_connect_check_health(check_health)
        if self._master.is_verified:
            await self.send_command("INFO", "replication", check_health=False)
            try:
                replication = await self.read_response()
            except ResponseError as error:
                if refusal(error, "INFO") is None:
                    raise
            else:
                check_role(replication, Address(self.host, self.port), self._discovered_by)
            return
        # A server in protected mode says so on each new connection, and hangs up. It has to be read here: the pool
        # takes a connection with unread data for broken.
        await self.send_command("PING", check_health=False)
        try:
            await self.read_response()
        except ResponseError as error:
            check_ping_error(error)

    async def read_response(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return await super().read_response(*args, **kwargs)
        except ResponseError as error:
            at = Address(self.host, self.port)
            self._master.refused(error, at=at, generation=self._generation, discovered_by=self._discovered_by)
            raise


class MasterTlsConnection(MasterConnection, redis_asyncio.SSLConnection):
    _plain = redis_asyncio.SSLConnection
