"""The check at a quiet moment, as `workqueue chaos` makes it: nothing is lost, nothing lies about, nothing is left."""

import re
from collections.abc import Collection
from uuid import UUID

from tests.support.rows import Psql
from workqueue.core.queue import Queue
from workqueue.services.chaos import invariants
from workqueue.services.chaos.invariants import tasks_in_redis

#: In the names of keys that Redis removes by itself.
EXPIRING = re.compile(r":(idem|answer|asked):|:gone$")

__all__ = ["EXPIRING", "check_nothing_left", "check_rows", "tasks_in_redis"]


async def check_rows(queue: Queue, psql: Psql, *, taken_by_others: Collection[UUID] = ()) -> None:
    """Every pending row is in Redis or the outbox; every processing row's token is noted and its owner is a lease."""
    assert await invariants.check_rows(queue, psql, taken_by_others=taken_by_others) == []


async def check_nothing_left(queue: Queue, psql: Psql | None = None, *, dead: bool = False) -> None:
    """No lease, no flight, no task, no entry of a batch, no claim. What Redis remembers of Postgres's clock stays.

    With rows, duplicates of jobs that have ended may lie in Redis, and they alone: the relay pushes what was pending
    when it looked, and the row decides at the claim. (The first look for a loss, of which nothing is known yet, takes
    what is pending into the outbox; seconds later the jobs have run, and a worker that stops leaves the duplicates.)
    """
    keys = queue.keys
    kept = {keys.checkpoint, keys.rows, keys.limits, keys.group_limits, keys.bell} | ({keys.dead} if dead else set())
    left = await queue.key_names()
    kept |= {
        name for name in left if EXPIRING.search(name)
    }  # the session's last look at its server checks that they do
    if psql is not None:
        # An outbox entry of jobs that have ended may wait for the next relay as well.
        marked = "SELECT 1 FROM outbox JOIN jobs ON jobs.id = ANY (outbox.ids) WHERE jobs.state = 'pending'"
        assert await psql(marked) == []
        assert await psql("SELECT * FROM claimed") == []
        ended = {row["id"] for row in await psql("SELECT id FROM jobs WHERE state NOT IN ('pending', 'processing')")}
        there = await tasks_in_redis(queue)
        assert there <= ended, f"tasks are left of jobs that have not ended: {there - ended}"
        lanes = ("lanes", "grouped", "ring", "blocked", "later", "behind", "g")
        kept |= {keys.ready, keys.front, keys.scheduled}
        kept |= {name for name in left if name.partition("}:")[2].partition(":")[0] in lanes}
    assert left <= kept, f"keys are left: {left - kept}"
