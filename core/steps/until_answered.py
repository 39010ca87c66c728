"""Repeats a trip until Redis or Postgres answers it. For trips that may be made twice: the answer is the same then."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from workqueue.core.errors import QueueUnavailable, StoreUnavailable
from workqueue.core.retry import Pauses
from workqueue.core.steps.heartbeat import beat

T = TypeVar("T")

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0
JITTER = 0.5  #: a hundred workers must not try in the moment of a server's return, and each second before it
TRIP_SECONDS = 15.0  #: longer than any trip lasts: a few parts of 5 s at most
TELL_SECONDS = 5.0  #: the watches of the servers (services/health.py) report an outage before, where they can see it

#: Gets each failure of a trip that has been tried for TELL_SECONDS. A full disk, say, fails writes only, and the watch
#: of a server only reads.
OnFailure = Callable[[QueueUnavailable | StoreUnavailable], None]


def ignore_failure(error: QueueUnavailable | StoreUnavailable) -> None:
    """For callers without a watch that could report it."""


class UntilAnswered:
    """Makes trips until they are answered, and gives a sign of life before each try."""

    def __init__(self, on_failure: OnFailure = ignore_failure) -> None:
        self._on_failure = on_failure

    async def __call__(
        self,
        trip: Callable[[], Awaitable[T]],
        *,
        seconds: float = TRIP_SECONDS,
        unless: tuple[type[QueueUnavailable], ...] = (),
    ) -> T:
        """Make `trip` until Redis or Postgres answers it, with pauses that grow to a second, and jitter.

        `seconds`: how long one try may last. `unless`: errors that are raised at once. Bounded by the caller's scope
        alone: an outage may last. Cancelled: the last send may have taken effect.
        """
        begun = trio.current_time()
        pauses: Pauses | None = None
        while True:
            beat(seconds)
            try:
                return await trip()
            except unless:
                raise
            except (QueueUnavailable, StoreUnavailable) as error:
                if trio.current_time() - begun > TELL_SECONDS:
                    self._on_failure(error)
                pauses = pauses or Pauses(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, jitter=JITTER)
                await trio.sleep(pauses.next())
