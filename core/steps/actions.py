"""Actions: what a person does to all jobs that match, carried out by workers in small pieces.

A piece is one statement: it changes the jobs, counts them and moves the action's place, all or nothing. So an action
goes on where it was after the death of any worker, and its counts are exact. Of several workers one is at a piece.
"""

import trio
from uuid_utils.compat import uuid7

from workqueue.core.queue import Queue
from workqueue.core.steps.acts import ACTED_MAX, Acts
from workqueue.core.store import JobStore

LOOK_MAX = 10_000  #: rows that a piece looks at, where few of them match
PAUSE_SECONDS = 0.005  #: between two pieces: the traffic goes first


class Actions:
    """One for each worker."""

    def __init__(self, queue: Queue, store: JobStore, acts: Acts) -> None:
        self._queue = queue
        self._store = store
        self._acts = acts

    async def run_once(self) -> bool:
        """Do the next piece of the oldest action; True: there may be more.

        Raises StoreUnavailable. Cancelled, killed or without an answer: the piece is done, or is done again; jobs that
        it made wait are pushed by the outbox relay.
        """
        action = await self._store.actions.next(self._queue.name)
        if action is None:
            return False
        batch, inserted_at = uuid7(), trio.current_time()
        acted = await self._store.actions.act_on_piece(action, batch, self._queue.name, look=LOOK_MAX, limit=ACTED_MAX)
        if acted is None:
            return False
        await self._acts.follow(action.action, batch, acted, inserted_at=inserted_at)
        await trio.sleep(PAUSE_SECONDS)
        return True
