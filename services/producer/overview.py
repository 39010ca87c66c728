"""The numbers of GET /api/overview, for the request and for those who watch (events.py)."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from msgspec import structs

from workqueue.core.gone import KEEP_SECONDS
from workqueue.core.queue import Queue
from workqueue.core.settings import Settings
from workqueue.services.health import Dependency
from workqueue.services.http.responses import Refused
from workqueue.services.producer.openapi import our_version
from workqueue.services.producer.views import Kept, Overview, RedisView, WorkerView, age_of, redis_view, worker_view

#: A block that asks Redis; it raises Refused with this message in an outage (Backend.asking).
Asking = Callable[[str], AbstractAsyncContextManager[Queue]]


async def worker_views(queue: Queue, settings: Settings) -> list[WorkerView]:
    """Workers whose leases were not given up, sorted by name; silent ones for an hour. Raises QueueUnavailable."""
    views = [
        worker_view(lease, published, seen, lease_seconds=settings.lease_seconds)
        for lease, (published, seen) in (await queue.workers()).items()
        if seen <= KEEP_SECONDS
    ]
    return sorted(views, key=lambda worker: (worker.name, worker.id))


async def live_workers(queue: Queue, settings: Settings) -> list[WorkerView]:
    """Those that renew their leases. Raises QueueUnavailable."""
    return [view for view in await worker_views(queue, settings) if view.state != "silent"]


async def read_overview(settings: Settings, asking: Asking, redis: Dependency, postgres: Dependency | None) -> Overview:
    """Raises nothing: in an outage of Redis its numbers are null."""
    try:
        async with asking("") as queue:
            workers = await live_workers(queue, settings)
            depths = await queue.depths()
            oldest_seconds = age_of(*await queue.next_task()) if depths.ready else None
    except Refused:  # the answer itself says what is wrong with Redis
        known = RedisView()
    else:
        known = redis_view(depths, oldest_seconds, workers)
    return Overview(
        queue_name=settings.queue_name,
        version=our_version(),
        kept=None if postgres is None else Kept(settings.keep_completed, settings.keep_failed),
        redis=redis.health,
        postgres=None if postgres is None else postgres.health,
        **structs.asdict(known),
    )
