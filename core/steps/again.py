"""Repeating a trip until there is an answer: every such call gives the same answer the second time."""

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from core.errors import QueueUnavailable, StoreUnavailable

T = TypeVar("T")

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0


async def again(trip: Callable[[], Awaitable[T]]) -> T:
    """Make `trip` until Redis or Postgres answers it, with pauses that grow to a second, and jitter.

    Bounded by its caller's scope alone: an outage may last. Cancelled: the last send may have taken effect.
    """
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            return await trip()
        except (QueueUnavailable, StoreUnavailable):
            await trio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, no secret
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
