"""Several commands in one packet, on one connection.

redis-py's own pipeline is not used: it gives a connection whose EXEC was refused back to its pool while the transaction
is still open, so the next RPUSH would be queued, and count as answered.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

Command = Sequence[Any]


@asynccontextmanager
async def connection_of(redis: "Redis") -> AsyncIterator[Any]:
    """A connection of the pool. After any error in the block it is closed: an answer may lie unread on it."""
    pool: Any = redis.connection_pool
    connection: Any = await pool.get_connection()
    try:
        yield connection
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    finally:
        await pool.release(connection)


async def exchange(connection: Any, commands: Sequence[Command]) -> list[Any]:
    """The replies, with errors in the place of the replies that they are."""
    await connection.send_packed_command(b"".join(b"".join(connection.pack_command(*each)) for each in commands))
    replies: list[Any] = []
    for _ in commands:
        try:
            replies.append(await connection.read_response())
        except ResponseError as error:
            replies.append(error)
    return replies


async def together(redis: "Redis", commands: Sequence[Command]) -> list[Any]:
    """The replies to commands that are independent of each other. Raises the first error."""
    async with connection_of(redis) as connection:
        replies = await exchange(connection, commands)
    return _checked(commands, replies)


async def transaction(redis: "Redis", commands: Sequence[Command]) -> list[Any]:
    """The replies to one transaction. Raises the first error."""
    async with connection_of(redis) as connection:
        multi, *queued, answer = await exchange(connection, [["MULTI"], *commands, ["EXEC"]])
        if not isinstance(answer, list):
            _checked([["MULTI"], *commands, ["EXEC"]], [multi, *queued, answer])
            raise ResponseError(f"EXEC answered {type(answer).__name__}")
    return _checked(commands, answer)


def _checked(commands: Sequence[Command], replies: list[Any]) -> list[Any]:
    for command, reply in zip(commands, replies, strict=True):
        if isinstance(reply, Exception):
            named = " ".join(str(part) for part in command[:2])
            reply.args = (f"Command # 1 ({named}) of pipeline caused error: {reply.args[0] if reply.args else ''}",)
            raise reply
    return replies
