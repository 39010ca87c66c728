"""What is claimed and not started yet."""

from collections import deque
from collections.abc import Sequence

import trio

from workqueue.core.steps.lease import ClaimedTask


class Buffer:
    """Between the claiming task, which fills it, and the consumers, who take from its head.

    Mutable state: the deque, `closed`, and down to how many the claiming task sleeps. Bounded by the claiming task,
    which never claims more than it has room for.
    """

    def __init__(self) -> None:
        self._items: deque[ClaimedTask] = deque()
        self._idle = trio.lowlevel.ParkingLot()
        self._room = trio.lowlevel.ParkingLot()
        self._low = 0
        self._closed = False

    def __len__(self) -> int:
        return len(self._items)

    @property
    def idle(self) -> int:
        """How many consumers wait for something to do."""
        return len(self._idle)

    @property
    def head(self) -> ClaimedTask | None:
        """What `pop` would return."""
        return self._items[0] if self._items else None

    def extend(self, items: Sequence[ClaimedTask]) -> None:
        """Add to the tail and wake two consumers."""
        self._items.extend(items)
        self._wake_two()

    def pop(self) -> ClaimedTask | None:
        """The head; None: `take` has to wait for one, or nothing will come any more."""
        items = self._items
        if not items:
            return None
        held = items.popleft()
        if len(items) <= self._low:
            self._low = -1
            self._room.unpark_all()
        return held

    async def take(self) -> ClaimedTask | None:
        """The head, as soon as there is one; None once it is closed. Cancelled: nothing is taken.

        Whoever had to wait wakes two more, so that they double: a thousand are not woken for ten jobs, and jobs that
        take microseconds are done by the first before the others have come (three times the rate at a concurrency of
        1000).
        """
        has_waited = False
        while (held := self.pop()) is None:
            if self._closed:
                return None
            self._room.unpark_all()
            await self._idle.park()
            has_waited = True
        if has_waited:
            self._wake_two()
        return held

    def _wake_two(self) -> None:
        if self._items and self._idle:
            self._idle.unpark(count=2)

    async def wait_for_room(self, low: int) -> None:
        """Until at most `low` are left, or a consumer begins to wait for something."""
        self._low = low
        await self._room.park()

    def waiting_since(self) -> float | None:
        """When the head was claimed (trio's clock); None: there is none."""
        return self._items[0].claimed_at if self._items else None

    def drain(self) -> list[ClaimedTask]:
        """Take everything out, to give it back."""
        items = list(self._items)
        self._items.clear()
        return items

    def close(self) -> None:
        """Nothing will come any more: waiting consumers get None."""
        self._closed = True
        self._idle.unpark_all()
