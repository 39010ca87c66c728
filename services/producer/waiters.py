"""Requests that wait for the end of a job: one statement asks for all of them."""

from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

import trio

from workqueue.core.errors import StoreUnavailable, WorkQueueError

LOOK_SECONDS = 0.05  #: between two looks
AWAY_SECONDS = 1.0  #: before the next one while Postgres is away
WAITING_MAX = 1000  #: requests, half of all connections


class TooManyWait(WorkQueueError):
    """No other request may wait: connections are kept for those that do not."""


class Waiters:
    """Job -> the requests that wait for it.

    Mutable state: the events and their number, changed by `wait`; the events are set by `run`.
    """

    def __init__(self, ended: Callable[[Sequence[UUID]], Awaitable[set[UUID]]]) -> None:
        """`ended` returns which of these jobs have ended; it raises StoreUnavailable."""
        self._ended = ended
        self._events: dict[UUID, set[trio.Event]] = {}
        self._come = trio.Event()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    async def run(self) -> None:
        """Look each LOOK_SECONDS while there are waiters, until cancelled."""
        while True:
            if not self._events:
                self._come = trio.Event()
                await self._come.wait()
            await trio.sleep(LOOK_SECONDS)
            try:
                ended = await self._ended(list(self._events))
            except StoreUnavailable:  # services/health.py reports it
                await trio.sleep(AWAY_SECONDS)
                continue
            for job_id in ended:
                for event in self._events.get(job_id, ()):
                    event.set()

    async def wait(self, job_id: UUID, seconds: float, stopping: trio.Event) -> None:
        """Until the job has ended, or for `seconds`, or until `stopping` is set. Raises TooManyWait."""
        if self._count >= WAITING_MAX:
            raise TooManyWait(f"{self._count} requests wait")
        event = trio.Event()
        self._count += 1
        self._events.setdefault(job_id, set()).add(event)
        self._come.set()
        try:
            with trio.move_on_after(seconds):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_cancel_after, event, nursery.cancel_scope)
                    nursery.start_soon(_cancel_after, stopping, nursery.cancel_scope)
        finally:
            self._count -= 1
            others = self._events[job_id]
            others.discard(event)
            if not others:
                del self._events[job_id]


async def _cancel_after(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
