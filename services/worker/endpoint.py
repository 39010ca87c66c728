"""The worker's HTTP endpoint: metrics and health. Imported late: Quart and Hypercorn are half of a worker's start."""

import logging
import socket
from typing import Any

import msgspec
import trio

from core.errors import QueueUnavailable, StoreUnavailable
from services.worker.metrics import WorkerCollector, collector_registry, wants_prometheus
from services.worker.worker import Worker

log = logging.getLogger(__name__)


async def serve(
    worker: Worker, listener: socket.socket, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve on `listener` until cancelled."""
    from hypercorn.config import Config
    from hypercorn.trio import serve as hypercorn_serve

    config = Config()
    config.bind = [f"fd://{listener.detach()}"]  # Hypercorn's from here on: it closes it
    config.accesslog = None
    config.errorlog = None
    config.graceful_timeout = 1.0
    app: Any = create_app(worker)
    await hypercorn_serve(app, config, shutdown_trigger=trio.sleep_forever, mode="asgi")


def create_app(worker: Worker) -> Any:
    """The ASGI app of one worker."""
    from prometheus_client.exposition import choose_encoder
    from quart import Response, request
    from quart_trio import QuartTrio

    from services.http.asgi import protect

    app = QuartTrio(__name__)
    text = "text/plain; charset=utf-8"

    @app.get("/health")
    async def health() -> Response:
        return Response("ok", content_type=text)

    @app.get("/ready")
    async def ready() -> Response:
        faults = await unready(worker)
        if faults:
            return Response(msgspec.json.encode(faults), 503, content_type="application/json")
        return Response("ready", content_type=text)

    @app.get("/metrics")
    async def metrics() -> Response:
        try:
            gauges = await worker.gauges()
        except QueueUnavailable:
            return Response("failed to read queue length", 500, content_type=text)
        accept = request.headers.get("Accept", "")
        if wants_prometheus(accept):
            encode, content_type = choose_encoder(accept)
            collector = WorkerCollector(worker.counts, lambda: gauges, worker.queue.name)
            return Response(encode(collector_registry(collector)), content_type=content_type)
        answer = {
            "total_jobs_in_queue": gauges.ready,
            "jobs_done": worker.counts.done,
            "jobs_failed": worker.jobs_failed,
            "worker_concurrency": worker.settings.worker_concurrency,
            "queue_name": worker.queue.name,
        }
        return Response(msgspec.json.encode(answer), content_type="application/json")

    return protect(app, worker.settings)


async def unready(worker: Worker) -> dict[str, str]:
    """What keeps this worker from taking jobs, by dependency, each with what to do; empty: it is ready."""
    faults: dict[str, str] = {}
    try:
        await worker.queue.check()
    except QueueUnavailable as error:
        faults["redis"] = f"{error}. Check REDIS_URL and that the server runs"
    if worker.store is not None:
        try:
            await worker.store.check()
        except StoreUnavailable as error:
            faults["postgres"] = f"{error}. Check DATABASE_URL and that the server runs"
    if not faults and not worker.can_claim:
        faults["lease"] = "this worker has no fresh lease; it takes one as soon as Redis lets it"
    return faults
