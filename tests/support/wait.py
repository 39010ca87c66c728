"""Waiting for what must become true, instead of sleeping for what might."""

from collections.abc import Awaitable, Callable

import httpx
import trio

IMPATIENT = 1.5  #: seconds after which silence is an outage: the five of a service are long in a test


async def until(condition: Callable[[], Awaitable[object]], *, seconds: float = 10) -> None:
    """Poll `condition` until it holds; TooSlowError when it never does. Real sockets: no autojump_clock."""
    with trio.fail_after(seconds):
        while not await condition():
            await trio.sleep(0.005)


async def until_true(condition: Callable[[], object], *, seconds: float = 10) -> None:
    """The same for a plain function."""
    with trio.fail_after(seconds):
        while not condition():
            await trio.sleep(0.005)


async def is_ready(client: httpx.AsyncClient) -> bool:
    """Whether a service has reached its servers and finds them fit."""
    return (await client.get("/ready")).status_code == 200
