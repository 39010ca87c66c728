"""Requests that wait for the answer of a worker: one trip asks Redis for all of them."""

from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID, uuid4

import trio
from msgspec import Struct

from workqueue.core.errors import QueueUnavailable, WorkQueueError

LOOK_SECONDS = 0.05  #: between two looks
AWAY_SECONDS = 1.0  #: before the next one while Redis is away
WAITING_MAX = 16  #: requests: each answer stops the loop of a worker for a moment


class TooManyAsk(WorkQueueError):
    """No other request may ask now."""


class _Waiting(Struct, eq=False):
    """Mutable state: `text`, set before `come` is."""

    come: trio.Event
    text: bytes = b""


class Answers:
    """Mutable state: the requests that wait, changed by `ask`; their answers are set by `run`."""

    def __init__(self, look: Callable[[Sequence[UUID]], Awaitable[dict[UUID, bytes]]]) -> None:
        """`look` returns the answers that are there; it raises QueueUnavailable."""
        self._look = look
        self._waiting: dict[UUID, _Waiting] = {}
        self._come = trio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    async def run(self) -> None:
        """Look each LOOK_SECONDS while there are requests, until cancelled."""
        while True:
            if not self._waiting:
                self._come = trio.Event()
                await self._come.wait()
            await trio.sleep(LOOK_SECONDS)
            if not self._waiting:  # they have gone meanwhile
                continue
            try:
                answers = await self._look(list(self._waiting))
            except QueueUnavailable:  # services/health.py reports it
                await trio.sleep(AWAY_SECONDS)
                continue
            for request, text in answers.items():
                if (waiting := self._waiting.get(request)) is not None:
                    waiting.text = text
                    waiting.come.set()

    async def ask(self, send: Callable[[UUID], Awaitable[None]], *, seconds: float) -> bytes | None:
        """Ask with `send`, which gets the id of the request, and wait for the answer. None: it did not come in time.

        Raises TooManyAsk, before anything is sent, and what `send` raises. Cancelled: nothing waits for the answer.
        """
        if len(self._waiting) >= WAITING_MAX:
            raise TooManyAsk(f"{len(self._waiting)} requests wait for workers")
        request, waiting = uuid4(), _Waiting(trio.Event())
        self._waiting[request] = waiting
        self._come.set()
        try:
            with trio.move_on_after(seconds):
                await send(request)
                await waiting.come.wait()
                return waiting.text
            return None
        finally:
            del self._waiting[request]
