"""Jobs that were enqueued by SQL: pushed as soon as Postgres tells of them; the outbox relay finds what it does not."""

import logging
from collections.abc import Callable

import trio

from workqueue.core.errors import QueueUnavailable, StoreUnavailable
from workqueue.core.queue import Queue
from workqueue.core.steps.outbox import OutboxRelay
from workqueue.core.store import JobStore
from workqueue.core.store.notifications import RECEIVE_SECONDS

RETRY_SECONDS = 1.0  #: before Postgres is listened to anew
BEAT_SECONDS = 30.0  #: one wait, and what follows it, takes less


class Notified:
    """One for each process, producers too: where no worker runs yet, what is pushed is there when one starts. Of
    several that hear it at once, one pushes (SKIP LOCKED)."""

    def __init__(self, queue: Queue, store: JobStore) -> None:
        self._store = store
        self._relay = OutboxRelay(queue, store, level=logging.DEBUG)

    async def run(self, beat: Callable[[float], None] = lambda seconds: None) -> None:
        """Until cancelled. `beat` is called with the seconds within which it will be called again."""
        notifications = self._store.notifications
        if notifications is None:
            return
        while True:
            beat(BEAT_SECONDS)
            try:
                async with notifications.listen() as receive:
                    await self._push()  # what was told before
                    while True:
                        beat(BEAT_SECONDS + RECEIVE_SECONDS)
                        if await receive():
                            await self._push()
            except (StoreUnavailable, QueueUnavailable):
                pass  # services/health.py reports it
            await trio.sleep(RETRY_SECONDS)

    async def _push(self) -> None:
        while await self._relay.run_once():
            pass
