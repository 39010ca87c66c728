"""Settle, Redis only: the task is all there is. A job that has failed becomes a dead letter."""

from collections.abc import Sequence
from functools import partial
from uuid import UUID

from workqueue.core.dead_letter import dead_letter, now
from workqueue.core.outcome import Complete, Fail
from workqueue.core.queue import Queue
from workqueue.core.steps.dropped import Dropped
from workqueue.core.steps.settle import Departures, Ending, by_lease, held_by, text_of
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
        done = [ending.claimed for ending in ends if isinstance(ending.verdict, Complete)]
        keyed = [claimed for claimed in done if claimed.task.options.unique_key is not None]
        if keyed:
            await self._departures.ack_unique(keyed)
            done = [claimed for claimed in done if claimed.task.options.unique_key is None]
        await self._departures.ack(done)
        at = now()
        for lease, items in by_lease([ending for ending in ends if isinstance(ending.verdict, Fail)]):
            entries = [
                (ending.claimed.number, dead_letter(text_of(ending.claimed, failures=1), ending.verdict.error, at))
                for ending in items
                if isinstance(ending.verdict, Fail)
            ]
            unique: dict[int | bytes, tuple[str, UUID]] = {
                ending.claimed.number: held
                for ending in items
                if (held := held_by(ending.claimed.task.options, ending.claimed.job_id)) is not None
            }
            self._dropped.add(await self._until_answered(partial(self._queue.bury, lease.id, entries, unique)))
            self._departures.drop(items)

    async def requeue(self, waits: Sequence[Ending]) -> None:
        """Endings.requeue."""
        await self._departures.pause(waits)
        await self._departures.give_back(waits, self._departures.delays_ms(waits))
