"""Dead letters: what cannot run is kept whole, with the reason; and what a claim drops is counted."""

import base64
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from uuid import UUID

import msgspec
from msgspec import Struct

from workqueue.core.queue import Queue
from workqueue.core.steps.dropped import Dropped
from workqueue.core.steps.until_answered import UntilAnswered

log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode


class _DeadLetter(Struct, omit_defaults=True, gc=False):
    reason: str
    at: datetime
    task: str | None = None
    task_base64: str | None = None


def dead_letter(line: bytes, reason: str) -> bytes:
    """An entry of the dead letters: the task whole, as text where it is text, why, and when (for people to read)."""
    at = datetime.now(UTC).replace(microsecond=0)
    try:
        return _encode(_DeadLetter(reason, at, line.decode()))
    except UnicodeDecodeError:
        return _encode(_DeadLetter(reason, at, None, base64.b64encode(line).decode()))


class ClaimCounts(Struct):
    """What the claim met and did not run, counted since the start."""

    duplicates: int = 0  #: of jobs that run or have ended
    invalid: int = 0  #: moved to the dead letters


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
            log.warning("a task was moved to the dead letters: %.200s", entry.decode())
        self._dropped.add(await self._until_answered(partial(self._queue.bury, lease, entries)))
