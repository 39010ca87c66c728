"""The state of the system: overview, metrics, health and readiness."""

import msgspec
from quart import Response

from workqueue.services.http.responses import Refused, json, text
from workqueue.services.producer.backend import Backend
from workqueue.services.producer.openapi import our_version
from workqueue.services.producer.views import (
    Kept,
    Metrics,
    Overview,
    RedisView,
    age_of,
    redis_view,
)
from workqueue.services.producer.workers import live_workers

METRICS_FAILED = "failed to read queue length"


async def overview(backend: Backend) -> Response:
    try:
        workers = await live_workers(backend, "")
        async with backend.asking("") as queue:
            depths = await queue.depths()
            oldest_seconds = age_of(*await queue.next_task()) if depths.ready else None
    except Refused:  # the response itself says what is wrong with Redis
        known = RedisView()
    else:
        known = redis_view(depths, oldest_seconds, workers)
    settings = backend.settings
    kept = Kept(settings.keep_completed, settings.keep_failed) if backend.engine.keeps_rows else None
    return json(
        Overview(
            queue_name=backend.settings.queue_name,
            version=our_version(),
            kept=kept,
            redis=backend.redis.health,
            postgres=None if backend.postgres is None else backend.postgres.health,
            **msgspec.structs.asdict(known),
        )
    )


async def metrics(backend: Backend) -> Response:
    workers = await live_workers(backend, METRICS_FAILED)
    async with backend.asking(METRICS_FAILED) as queue:
        ready = await queue.ready_length()
    return json(
        Metrics(
            total_jobs_in_queue=ready,
            jobs_done=sum(worker.jobs_done for worker in workers),
            jobs_failed=sum(worker.jobs_failed for worker in workers),
            worker_concurrency=sum(worker.concurrency for worker in workers),
            queue_name=backend.settings.queue_name,
        )
    )


async def health(_: Backend) -> Response:
    return text(200, "ok")


async def ready(backend: Backend) -> Response:
    dependencies = {"redis": backend.redis, "postgres": backend.postgres}
    faults = {name: found.error for name, found in dependencies.items() if found and not found.health.ok}
    if not faults and (failure := backend.failure()) is not None:
        faults["postgres"] = str(failure)
    return json(faults, 503) if faults else text(200, "ready")
