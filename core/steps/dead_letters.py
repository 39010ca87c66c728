"""What a claim does not run leaves the flight: it is moved to the dead letters, or dropped, and counted."""

import logging
from collections import Counter
from collections.abc import Sequence
from functools import partial
from uuid import UUID

from msgspec import Struct, field

from workqueue.core.queue import Queue
from workqueue.core.steps.dropped import Dropped
from workqueue.core.steps.until_answered import UntilAnswered

log = logging.getLogger(__name__)


class ClaimCounts(Struct):
    """What the claim met, counted since the start; `adopted` since it was taken."""

    duplicates: int = 0  #: of jobs that run or have ended
    invalid: int = 0  #: moved to the dead letters
    adopted: Counter[str] = field(default_factory=Counter)  #: by type: tasks of other programs that have rows now


class Discards:
    """Removes from a flight what a claim does not run. Mutable state: the counts."""

    def __init__(self, queue: Queue, until_answered: UntilAnswered, dropped: Dropped) -> None:
        self._queue = queue
        self._until_answered = until_answered
        self._dropped = dropped
        self.counts = ClaimCounts()

    async def ack(self, lease: UUID, numbers: Sequence[int]) -> None:
        """Duplicates: their jobs run, or have ended."""
        if numbers:
            self.counts.duplicates += len(numbers)
            await self._until_answered(partial(self._queue.ack, lease, numbers))

    async def bury(self, lease: UUID, entries: Sequence[tuple[int, bytes]]) -> None:
        """(number, dead letter) of tasks that cannot run."""
        if not entries:
            return
        self.counts.invalid += len(entries)
        for _, entry in entries:
            log.warning("a task cannot run and is a dead letter now: %.200s", entry.decode())
        self._dropped.add(await self._until_answered(partial(self._queue.bury, lease, entries)))
