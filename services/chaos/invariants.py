"""The check under protocol's table of rows, at a quiet moment: no job is lost, no task or key is left over."""

from collections.abc import Awaitable, Callable, Collection
from typing import Any
from uuid import UUID

from workqueue.core.errors import InvalidTask
from workqueue.core.queue import Queue
from workqueue.core.wire import decode_task
from workqueue.services.chaos import sql

#: Runs a statement in the schema of the rows: Pool.fetch, or the tests' psql.
Fetch = Callable[..., Awaitable[list[Any]]]


async def tasks_in_redis(queue: Queue) -> set[UUID]:
    """The ids of all tasks that are in the ready list, the front list, a parked list, a lane, the scheduled set or a
    flight."""
    ids: set[UUID] = set()
    async for tasks in queue.tasks():
        for line in tasks:
            try:
                task = decode_task(line)
            except InvalidTask:
                continue
            if task.job_id is not None:
                ids.add(task.job_id)
    return ids


async def check_rows(queue: Queue, fetch: Fetch, *, taken_by_others: Collection[UUID] = ()) -> list[str]:
    """What is wrong: a pending row that is neither in Redis nor marked, a processing row whose owner is no lease."""
    pending = {row["id"] for row in await fetch(sql.PENDING, queue.name)}
    nowhere: set[UUID] = set()
    if pending:
        marked = {row["id"] for row in await fetch(sql.MARKED, queue.name)}
        nowhere = pending - marked - set(taken_by_others) - await tasks_in_redis(queue)
    faults = [f"{job_id} is pending, and neither in Redis nor marked" for job_id in sorted(nowhere)]
    leases = set(await queue.lease_scores())
    for row in await fetch(sql.PROCESSING, queue.name):
        if row["owner"] is None:
            faults.append(f"{row['id']} is processing under a claim without a record")
        elif row["owner"] not in leases:
            faults.append(f"{row['id']} is processing and its owner {row['owner']} is no lease")
    return faults


async def left_over(queue: Queue, *, dead: bool = False) -> set[str]:
    """Keys of this queue that exist though no job waits and no worker is alive. The keys about Postgres, and workers
    that are gone, may stay, and, where they are the only trace of a job (`dead`), the dead letters.
    """
    about = {
        queue.keys.checkpoint,
        queue.keys.rows,
        queue.keys.pauses,
        queue.keys.limits,
        queue.keys.group_limits,
        queue.keys.gone,
        queue.keys.queues,
        queue.keys.bell,
    }
    kept = about | ({queue.keys.dead} if dead else set())
    return await queue.key_names() - kept
