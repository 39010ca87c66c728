"""Keeps something running: starts it again when it ends by itself, with pauses that grow while it does not stay up.

One supervisor for the processes of `worker --processes`, the components of `workqueue up` and what a chaos run kills.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar

import trio

from workqueue.core.errors import WorkQueueError
from workqueue.core.retry import Pauses

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
STABLE_SECONDS = 30.0  #: after a run of this length the next pause is the first one again

#: Gets how a run ended ("has ended by itself", say) and the seconds until the next start.
OnEnd = Callable[[str, float], None]


class Served(Protocol):
    """A server that runs (services/local/valkey.py has one)."""

    @property
    def port(self) -> int: ...

    @property
    def ended(self) -> Callable[[], Awaitable[object]]: ...


S = TypeVar("S", bound=Served)


def usual_pauses() -> Pauses:
    """From half a second to half a minute."""
    return Pauses(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)


def ignore_end(reason: str, pause_seconds: float) -> None:
    """For callers that report nothing."""


async def supervise(
    run_once: Callable[[], Awaitable[str]],
    *,
    pauses: Pauses | None = None,
    on_end: OnEnd = ignore_end,
    stop: trio.Event | None = None,
) -> None:
    """Call `run_once` again and again; it runs the thing to its end and returns how that came.

    Returns once `stop` is set and `run_once` has returned: nothing is started after that, and a pause ends at once.
    Cancelled: `run_once` is, and ends what it runs. Raises what `run_once` raises.
    """
    pauses = pauses or usual_pauses()
    stop = trio.Event() if stop is None else stop
    while not stop.is_set():
        begun = trio.current_time()
        reason = await run_once()
        if stop.is_set():
            return
        if trio.current_time() - begun > STABLE_SECONDS:
            pauses.reset()
        pause = pauses.next()
        on_end(reason, pause)
        with trio.move_on_after(pause):
            await stop.wait()


async def supervise_server(
    open_server: Callable[[int | None], AbstractAsyncContextManager[S]],
    *,
    pauses: Pauses | None = None,
    on_end: OnEnd = ignore_end,
    task_status: trio.TaskStatus[S] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Keep a server running on one port until cancelled; started with the first server once that runs.

    `open_server` gets None first, and then the port of the first run. Raises the WorkQueueError of the first start;
    later ones are tried again.
    """
    port: int | None = None

    async def run_once() -> str:
        nonlocal port
        try:
            async with open_server(port) as server:
                if port is None:
                    task_status.started(server)
                port = server.port
                await server.ended()
        except WorkQueueError as error:
            if port is None:
                raise
            return f"cannot be started: {error}"
        return "has ended by itself"

    await supervise(run_once, pauses=pauses, on_end=on_end)
