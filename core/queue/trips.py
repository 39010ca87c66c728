"""How a command travels to Redis: over the bridge, within a time, and what an error of it means."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import trio
from redis.asyncio import Redis
from redis.exceptions import MovedError, NoScriptError

from workqueue.core.bridge import Bridge
from workqueue.core.errors import QueueUnavailable, Refused, UnknownReply
from workqueue.core.queue import scripts
from workqueue.core.queue.outages import Unforeseen, outage
from workqueue.core.queue.packets import Command, transaction

T = TypeVar("T")

COMMAND_SECONDS = 5.0  #: a command that has no answer by then has failed; it is not known whether it took effect


class Trips:
    """Each method is one trip; raises QueueUnavailable and those that inherit from it. Cancelling leaves its effect
    unknown.

    Mutable state: what was told, and which questions were refused when they were asked last.
    """

    def __init__(self, bridge: Bridge, commands: "Redis", *, command_seconds: float) -> None:
        self._bridge = bridge
        self._commands = commands
        self._command_seconds = command_seconds
        self._unforeseen = Unforeseen()
        self._refused: dict[str, tuple[QueueUnavailable, float]] = {}  #: what was asked -> why in vain, and when

    async def _command(self, *parts: Any) -> Any:
        return await self._run(partial(self._commands.execute_command, *parts), self._command_seconds, parts[0])

    async def _transaction(self, *commands: Command) -> list[Any]:
        """The answers of all of them, at one moment."""
        asked = ", ".join(dict.fromkeys(["MULTI", *(str(command[0]) for command in commands), "EXEC"]))
        return await self._run(partial(transaction, self._commands, commands), self._command_seconds, asked)

    async def _script(self, script: scripts.Script, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        async def unit() -> Any:
            run: Any = self._commands.execute_command
            try:
                return await run("EVALSHA", script.digest, len(keys), *keys, *arguments)
            except NoScriptError:  # a new server, or its scripts were flushed: nothing was done
                return await run("EVAL", script.text, len(keys), *keys, *arguments)

        return await self._run(unit, self._command_seconds, script.shown)

    async def _run(self, unit: Callable[[], Awaitable[T]], seconds: float, asked: str) -> T:
        async def redirected() -> T:
            try:
                return await unit()
            except MovedError:  # our slot is on another node by now; this one has done nothing
                return await unit()

        with trio.move_on_after(seconds):
            try:
                answer = await self._bridge.run(redirected)
            except Exception as error:
                if (failure := outage(error, asked)) is None:
                    raise
                if isinstance(failure, Refused | UnknownReply):
                    self._unforeseen.log(failure)
                    self._refused[asked] = failure, trio.current_time()
                raise failure from error
            if self._refused:
                self._refused.pop(asked, None)
            return answer
        raise QueueUnavailable(f"Redis: no answer within {seconds:g} s")
