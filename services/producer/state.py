"""The state of the system: overview, metrics, health and readiness."""

from quart import Response

from workqueue.services.http.responses import json, text
from workqueue.services.producer.backend import Backend
from workqueue.services.producer.overview import live_workers
from workqueue.services.producer.views import Metrics

METRICS_FAILED = "failed to read queue length"


async def overview(backend: Backend) -> Response:
    return json(await backend.overview())


async def metrics(backend: Backend) -> Response:
    async with backend.asking(METRICS_FAILED) as queue:
        workers = await live_workers(queue, backend.settings)
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
