"""Helpers of the tests of steps."""

import json
from typing import Any
from uuid import UUID

from tests.support.redis_cli import RedisCli
from tests.support.rows import Psql
from tests.support.steps import Steps
from workqueue.core.options import JobOptions
from workqueue.core.queue import Queue
from workqueue.core.steps.lease import ClaimedTask, Lease
from workqueue.core.steps.outbox import OutboxRelay
from workqueue.core.store import JobStore
from workqueue.core.wire import Submission

MAX = 3  #: recoveries of the fixture `recover`


async def submitted(parts: Steps, count: int) -> list[UUID]:
    ids = await parts.submit.run_batch([Submission("x", b"{}", JobOptions(2))] * count)
    return [job_id for job_id in ids if isinstance(job_id, UUID)]


async def fence(queue: Queue, lease: Lease) -> None:
    assert await queue.fence(lease.id, (await queue.lease_scores())[lease.id])


async def ready(redis: RedisCli, queue: Queue) -> list[dict[str, Any]]:
    return [json.loads(text) for text in await redis.list(queue.keys.ready)]


def ids_of(items: list[ClaimedTask]) -> list[UUID]:
    return [held.job_id for held in items]


async def recovery_waits_for_a_lock(psql) -> bool:
    await psql("SELECT pg_stat_clear_snapshot()")
    waiting = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '-- Recover%'"
    return bool(await psql(waiting))


async def dead(redis: RedisCli, queue) -> list[dict[str, str]]:
    return [json.loads(entry) for entry in await redis.list(queue.keys.dead)]


async def states(psql) -> dict[str, int]:
    return {row[0]: row[1] for row in await psql("SELECT state, count(*) FROM jobs GROUP BY 1")}


async def take(steps: Steps, lease: Lease, count: int) -> list[ClaimedTask]:
    return list(await steps.claim.run_once(lease, count))


async def relay_now(queue: Queue, store: JobStore, psql: Psql) -> None:
    """One look of the outbox relay, for which every entry is old enough."""
    await psql("UPDATE outbox SET at = 'epoch'")
    await OutboxRelay(queue, store).run_once()
