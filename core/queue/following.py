"""Connections that go to where the master is by then, for asyncio and for a thread; otherwise redis-py's own.

redis-py calls `connect` before each command, `_connect` in it where there is no socket, `on_connect_check_health` once
there is one, and `read_response` for each answer. Nothing here sends a command a second time.
"""

import time
from collections.abc import Iterable, Mapping
from typing import Any

import redis
from redis import asyncio as redis_asyncio
from redis.exceptions import RedisError, ResponseError

from workqueue.core.queue.master import Address, Master, NotKnown
from workqueue.core.queue.outages import PROTECTED, plain, refusal

FAULTS_SHOWN = 3  #: of those who were asked and did not know


class _Following:
    """What the classes below share: which master, where the way to it was asked, and in which era that was.

    Mutable state: `_era` and `_told_by`, set by `_connect`.
    """

    host: str
    port: int

    def __init__(self, *, master: Master, asking: Mapping[str, Any], **options: Any) -> None:
        """`asking`: options of redis-py's that differ where the way is asked, such as another password."""
        super().__init__(**options)
        self._master = master
        self._era = -1
        self._told_by: Address | None = None
        self._connect_seconds: float = options["socket_connect_timeout"]  # as long may all the asking take
        seconds = {"socket_connect_timeout": self._connect_seconds / 2, "socket_timeout": self._connect_seconds / 2}
        self._asking = options | seconds | dict(asking)

    @property
    def _is_outdated(self) -> bool:
        return self._era != self._master.era

    def _node(self, address: Address) -> dict[str, Any]:
        return self._asking | {"host": address.host, "port": address.port}

    def _go_to(self, found: Address, told_by: Address) -> None:
        self.host, self.port = found
        self._era, self._told_by = self._master.era, told_by

    def _misled(self) -> None:
        """There was no master where we were told."""
        if self._told_by is not None:
            self._master.ask_last(self._told_by)

    def _refused(self, error: ResponseError) -> None:
        self._master.refused(error, at=Address(self.host, self.port), era=self._era, told_by=self._told_by)

    @staticmethod
    def _greeted(error: ResponseError) -> None:
        """PING was answered so: whoever may not even ask that may do other things, unless nobody may do anything."""
        if plain(error) == PROTECTED:
            raise error

    def _verify(self, replication: bytes) -> None:
        """A server that refuses INFO is taken for a master until it says of itself that it only reads."""
        if b"role:master" not in replication:
            raise redis.ConnectionError(f"{self.host}:{self.port} is no master, though {self._told_by} says so")


def _nobody_knows(faults: list[tuple[Address, Exception]]) -> redis.ConnectionError:
    texts = []
    for node, error in faults[:FAULTS_SHOWN]:
        text = plain(error).rstrip(".")
        texts.append(text if str(node) in text else f"{node}: {text}")
    if len(faults) > FAULTS_SHOWN:
        texts.append(f"{len(faults) - FAULTS_SHOWN} more")
    return redis.ConnectionError(f"nobody says where the master is ({'; '.join(texts)})")


class FollowingConnection(_Following, redis_asyncio.Connection):
    _plain: type[redis_asyncio.Connection] = redis_asyncio.Connection

    async def connect(self) -> None:
        if self.is_connected:
            if not self._is_outdated:
                return  # as redis-py does in the end
            await self.disconnect(nowait=True)
        try:
            await super().connect()
        except RedisError:
            self._misled()
            raise
        except UnicodeError as error:  # the host that we were told of cannot be a host's name
            self._misled()
            raise redis.ConnectionError(f"{self.host!r} is no name of a host") from error

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        """What the socket takes at once needs no limit of time; redis-py starts a task for it (before Python 3.12)."""
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
        if self._master.question:
            self._go_to(*await self._find())
        else:
            self._era = self._master.era
        await super()._connect()

    async def _find(self) -> tuple[Address, Address]:
        """Where the master is, and who said so."""
        self._told_by = None
        faults: list[tuple[Address, Exception]] = []
        until = time.monotonic() + self._connect_seconds
        for node in tuple(self._master.nodes):
            if time.monotonic() > until:
                break
            connection = self._plain(**self._node(node))
            try:
                await connection.connect()
                await connection.send_command(*self._master.question)
                return self._master.read(await connection.read_response(), node), node
            except (RedisError, OSError, NotKnown) as error:
                faults.append((node, error))
                self._master.ask_last(node)
            finally:
                await connection.disconnect(nowait=True)
        raise _nobody_knows(faults)

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
                self._verify(replication)
            return
        # A server in protected mode says so to whoever connects, and hangs up. It has to be read here: the pool takes
        # a connection on which something lies unread for broken.
        await self.send_command("PING", check_health=False)
        try:
            await self.read_response()
        except ResponseError as error:
            self._greeted(error)

    async def read_response(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return await super().read_response(*args, **kwargs)
        except ResponseError as error:
            self._refused(error)
            raise


class FollowingTlsConnection(FollowingConnection, redis_asyncio.SSLConnection):
    _plain = redis_asyncio.SSLConnection


class BlockingFollowingConnection(_Following, redis.Connection):
    _plain: type[redis.Connection] = redis.Connection

    def connect(self) -> None:
        if self.is_connected and self._is_outdated:
            self.disconnect()
        try:
            super().connect()
        except RedisError:
            self._misled()
            raise
        except UnicodeError as error:  # the host that we were told of cannot be a host's name
            self._misled()
            raise redis.ConnectionError(f"{self.host!r} is no name of a host") from error

    def _connect(self) -> Any:
        if self._master.question:
            self._go_to(*self._find())
        else:
            self._era = self._master.era
        return super()._connect()

    def _find(self) -> tuple[Address, Address]:
        self._told_by = None
        faults: list[tuple[Address, Exception]] = []
        until = time.monotonic() + self._connect_seconds
        for node in tuple(self._master.nodes):
            if time.monotonic() > until:
                break
            connection = self._plain(**self._node(node))
            try:
                connection.connect()
                connection.send_command(*self._master.question)
                return self._master.read(connection.read_response(), node), node
            except (RedisError, OSError, NotKnown) as error:
                faults.append((node, error))
                self._master.ask_last(node)
            finally:
                connection.disconnect()
        raise _nobody_knows(faults)

    def on_connect_check_health(self, check_health: bool = True) -> None:
        super().on_connect_check_health(check_health)
        if self._master.is_verified:
            self.send_command("INFO", "replication", check_health=False)
            try:
                replication = self.read_response()
            except ResponseError as error:
                if refusal(error, "INFO") is None:
                    raise
            else:
                self._verify(replication)
            return
        self.send_command("PING", check_health=False)
        try:
            self.read_response()
        except ResponseError as error:
            self._greeted(error)

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().read_response(*args, **kwargs)
        except ResponseError as error:
            self._refused(error)
            raise


class BlockingFollowingTlsConnection(BlockingFollowingConnection, redis.SSLConnection):
    _plain = redis.SSLConnection
