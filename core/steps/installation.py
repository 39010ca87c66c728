"""Installation: does this process know the database in which the jobs of its queue have rows?"""

import logging
from collections.abc import Awaitable, Callable
from uuid import UUID

import trio

from workqueue.core.queue import Queue

log = logging.getLogger(__name__)


#: The id of the database that this process has; None: it has none. Raises StoreUnavailable.
Database = Callable[[], Awaitable[UUID | None]]


async def no_database() -> None:
    """Redis only."""


class Installation:
    """Compares the database of this process with the one that the queue has noted.

    A worker without the database takes jobs whose rows would stay pending for ever, and a producer without it accepts
    jobs that no page shows; with another database, rows and tasks would never meet. The first process that has both
    notes the database in Redis; a process without it, or with another one, may neither take nor accept a job.
    A Redis that was emptied knows of no database: the next look of a process that has one notes it again.
    Mutable state: what the last look has found.
    """

    def __init__(self, queue: Queue, database: Database) -> None:
        self._queue = queue
        self._database = database
        self.refusal: str | None = None  #: why this process may not work on this queue, and what to do
        self.known = trio.Event()  #: set by the first look that was answered

    @property
    def may_work(self) -> bool:
        """Before the first answer: no."""
        return self.known.is_set() and self.refusal is None

    async def run_once(self) -> None:
        """Look once. Raises QueueUnavailable, StoreUnavailable: what was found before holds."""
        mine = await self._database()
        noted = await self._queue.installation(mine)
        if mine is None and noted is None and self.refusal is not None:
            # Redis was emptied. A process that has the database notes it again; meanwhile this one must take nothing.
            return
        before, self.refusal = self.refusal, refusal(self._queue, mine, noted)
        self.known.set()
        if self.refusal is not None and self.refusal != before:
            log.error("no job is taken or accepted here: %s", self.refusal)
        elif self.refusal is None and before is not None:
            log.info("the database is the one of queue %s again", self._queue.name)


def refusal(queue: Queue, mine: UUID | None, noted: str | None) -> str | None:
    """Why a process whose database is `mine` may not work on a queue that has `noted` one; None: it may."""
    if noted is None or (mine is not None and noted == str(mine)):
        return None
    key = queue.keys.rows
    if mine is None:
        return (
            f"the jobs of queue {queue.name} have rows in Postgres, and DATABASE_URL is not set: set it (and "
            "DATABASE_SCHEMA) as the other processes of this queue have it. To do without rows from now on: end "
            f"all processes, delete the key {key} in Redis, and start them again"
        )
    return (
        f"the jobs of queue {queue.name} have rows in another database (installation {noted[:40]!r}; this one is "
        f"{mine}): point DATABASE_URL and DATABASE_SCHEMA to it, or take another queue (QUEUE_NAME, REDIS_URL). "
        f"Where that database is gone for good: delete the key {key} in Redis"
    )
