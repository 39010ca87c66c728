"""Settle, Redis only: the task is all there is. A job that has failed becomes a dead letter."""

from collections.abc import Sequence
from functools import partial

from workqueue.core.dead_letter import dead_letter, now
from workqueue.core.outcome import Complete, Fail
from workqueue.core.queue import Queue
from workqueue.core.steps.dropped import Dropped
from workqueue.core.steps.settle import Departures, Ending, by_lease, text_of
from workqueue.core.steps.until_answered import UntilAnswered


class TaskEndings:
    """Endings for one worker."""

    def __init__(self, queue: Queue, departures: Departures, dropped: Dropped, until_answered: UntilAnswered) -> None:
        self._queue = queue
        self._departures = departures
        self._dropped = dropped
        self._until_answered = until_answered

    async def finish(self, ends: Sequence[Ending]) -> None:
        """Endings.finish."""
        await self._departures.ack([ending.claimed for ending in ends if isinstance(ending.verdict, Complete)])
        at = now()
        for lease, items in by_lease([ending for ending in ends if isinstance(ending.verdict, Fail)]):
            entries = [
                (ending.claimed.number, dead_letter(text_of(ending.claimed, failures=1), ending.verdict.error, at))
                for ending in items
                if isinstance(ending.verdict, Fail)
            ]
            self._dropped.add(await self._until_answered(partial(self._queue.bury, lease.id, entries)))
            self._departures.drop(items)

    async def requeue(self, waits: Sequence[Ending]) -> None:
        """Endings.requeue."""
        await self._departures.give_back(waits, self._departures.delays_ms(waits))
