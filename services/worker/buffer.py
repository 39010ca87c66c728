"""What is claimed and not started yet."""

from collections import deque
from collections.abc import Sequence

import trio

from core.steps.lease import Held


class Buffer:
    """Between the claiming task, which fills it, and the consumers, who take from its head.

    Mutable state: the deque and `closed`. Bounded by the claiming task, which never claims more than it has room for.
    """

    def __init__(self) -> None:
        self._items: deque[Held] = deque()
        self._idle = trio.lowlevel.ParkingLot()
        self._room = trio.lowlevel.ParkingLot()
        self._closed = False

    def __len__(self) -> int:
        return len(self._items)

    @property
    def idle(self) -> int:
        """How many consumers wait for something to do."""
        return len(self._idle)

    def extend(self, items: Sequence[Held]) -> None:
        """Add to the tail and wake two consumers; each wakes the next: a thousand are not woken for ten jobs."""
        self._items.extend(items)
        self._idle.unpark(count=min(2, len(self._items)))

    async def take(self) -> Held | None:
        """The head, as soon as there is one; None once it is closed. Cancelled: nothing is taken."""
        while not self._items:
            if self._closed:
                return None
            self._room.unpark_all()
            await self._idle.park()
        held = self._items.popleft()
        if self._items:
            self._idle.unpark()
        self._room.unpark_all()
        return held

    async def wait_for_room(self) -> None:
        """Until a consumer takes something, or begins to wait for something."""
        await self._room.park()

    def waiting_since(self) -> float | None:
        """When the head was claimed (trio's clock); None: there is none."""
        return self._items[0].claimed_at if self._items else None

    def drain(self) -> list[Held]:
        """Take everything out, to give it back."""
        items = list(self._items)
        self._items.clear()
        return items

    def close(self) -> None:
        """Nothing will come any more: waiting consumers get None."""
        self._closed = True
        self._idle.unpark_all()
