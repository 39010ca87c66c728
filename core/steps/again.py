"""Repeating a trip until there is an answer: every such call gives the same answer the second time."""

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from workqueue.core.errors import QueueUnavailable, StoreUnavailable

T = TypeVar("T")

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0
TRIP_SECONDS = 15.0  #: longer than any trip lasts: a few parts of 5 s at most
TELL_SECONDS = 5.0  #: an outage that lasts as long is told by whoever watches the server, if it shows there at all

#: A sign of life, given before each trip: `alive(seconds)` = I may be silent for so long from now on.
Alive = Callable[[float], None]

#: Gets each failure of a trip that has been tried for TELL_SECONDS: a full disk, say, shows to nobody who only looks.
Failed = Callable[[QueueUnavailable | StoreUnavailable], None]


def unwatched(seconds: float) -> None:
    """For whoever runs steps and is not watched."""


def untold(error: QueueUnavailable | StoreUnavailable) -> None:
    """For whoever runs steps and tells nobody."""


class Again:
    """Makes trips until they are answered, and shows before each try that somebody is still trying."""

    def __init__(self, alive: Alive = unwatched, failed: Failed = untold) -> None:
        self.alive = alive
        self._failed = failed

    async def __call__(
        self,
        trip: Callable[[], Awaitable[T]],
        *,
        seconds: float = TRIP_SECONDS,
        unless: tuple[type[QueueUnavailable], ...] = (),
    ) -> T:
        """Make `trip` until Redis or Postgres answers it, with pauses that grow to a second, and jitter.

        `seconds`: how long one try may last. `unless`: what is raised and not waited for. Bounded by the caller's scope
        alone: an outage may last. Cancelled: the last send may have taken effect.
        """
        pause, begun = FIRST_PAUSE_SECONDS, trio.current_time()
        while True:
            self.alive(seconds)
            try:
                return await trip()
            except unless:
                raise
            except (QueueUnavailable, StoreUnavailable) as error:
                if trio.current_time() - begun > TELL_SECONDS:
                    self._failed(error)
                await trio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, no secret
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
