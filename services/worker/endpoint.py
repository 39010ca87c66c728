"""The worker's HTTP endpoint: metrics and health. Imported late: Quart and Hypercorn are half of a worker's start."""

import socket
from typing import Any, Protocol

import msgspec
import trio

from workqueue.core.api_tokens import ApiToken, Role, digest_of
from workqueue.core.errors import QueueUnavailable
from workqueue.core.settings import Settings
from workqueue.services.forks import not_for_children
from workqueue.services.worker.metrics import Snapshot, WorkerCollector, collector_registry, wants_prometheus

CONNECTIONS_MAX = 100  #: the descriptors of a worker are for its handlers first


class Source(Protocol):
    """The source of the numbers: one worker, or the sum of several processes."""

    async def snapshot(self) -> Snapshot:
        """Raises QueueUnavailable."""

    async def faults(self) -> dict[str, str]:
        """The reasons why it takes no jobs, each with its remedy; empty: it is ready."""


async def serve(
    source: Source,
    settings: Settings,
    listener: socket.socket,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve on `listener` until cancelled."""
    from hypercorn.config import Config
    from hypercorn.trio import serve as hypercorn_serve

    kept = not_for_children(listener)
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]  # Hypercorn owns it from here on, and closes it
    config.accesslog = None
    config.errorlog = None
    config.graceful_timeout = 1.0
    app: Any = create_app(source, settings)
    with kept:
        await hypercorn_serve(app, config, shutdown_trigger=trio.sleep_forever, mode="asgi")


def create_app(source: Source, settings: Settings) -> Any:
    """The ASGI app of one worker."""
    from prometheus_client.exposition import choose_encoder
    from quart import Response, request
    from quart_trio import QuartTrio

    from workqueue.services.http.guard import wrap
    from workqueue.services.http.tokens import Gate, Tokens

    app = QuartTrio(__name__)
    text = "text/plain; charset=utf-8"

    @app.get("/health")
    async def health() -> Response:
        return Response("ok", content_type=text)

    @app.get("/ready")
    async def ready() -> Response:
        faults = await source.faults()
        if faults:
            return Response(msgspec.json.encode(faults), 503, content_type="application/json")
        return Response("ready", content_type=text)

    @app.get("/snapshot")
    async def snapshot() -> Response:
        """For the parent of several processes."""
        try:
            return Response(msgspec.json.encode(await source.snapshot()), content_type="application/json")
        except QueueUnavailable as error:
            return Response(str(error), 500, content_type=text)

    @app.get("/metrics")
    async def metrics() -> Response:
        try:
            shown = await source.snapshot()
        except QueueUnavailable:
            return Response("failed to read queue length", 500, content_type=text)
        accept = request.headers.get("Accept", "")
        if wants_prometheus(accept):
            encode, content_type = choose_encoder(accept)
            collector = WorkerCollector(shown, settings.queue_name)
            return Response(encode(collector_registry(collector)), content_type=content_type)
        answer = {
            "total_jobs_in_queue": shown.gauges.ready,
            "jobs_done": shown.done,
            "jobs_failed": shown.failed,
            "worker_concurrency": shown.gauges.concurrency,
            "queue_name": settings.queue_name,
        }
        return Response(msgspec.json.encode(answer), content_type="application/json")

    gate = None
    if settings.metrics_token is not None:
        token = ApiToken("metrics", Role.READ, digest_of(settings.metrics_token.encode()))
        gate = Gate(Tokens([token]), _required_role)
    return wrap(app, settings, connections=CONNECTIONS_MAX, gate=gate)


def _required_role(method: str, path: str) -> Role:
    """With METRICS_TOKEN all needs it, but for the question whether the process serves."""
    return Role.PUBLIC if method in {"GET", "HEAD"} and path == "/health" else Role.READ
