"""`hypercorn -k trio workqueue.services.producer:app`: the app, its lifespan, and what a failed start prints."""

import logging
import multiprocessing
import os
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, cast

import sniffio
import trio
from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from workqueue.core.errors import InvalidSettings
from workqueue.core.settings import Settings, load_settings
from workqueue.services.early import end_after
from workqueue.services.http.guard import wrap
from workqueue.services.http.messages import Message, Receive, Scope, Send
from workqueue.services.http.responses import Refused, http_error, text
from workqueue.services.http.token_file import load_tokens
from workqueue.services.http.tokens import EXTENSION, Gate
from workqueue.services.logs import configure_logging
from workqueue.services.producer.api import ROUTES
from workqueue.services.producer.backend import Backend, open_backend
from workqueue.services.producer.dashboard import FOLDER, Dashboard
from workqueue.services.producer.errors import ERROR_RESPONSES
from workqueue.services.producer.routing import add_rules, fast_routes, live_routes, required_role, reserved, streams

FORM = "/new"  #: the page's own path
COMMAND = "hypercorn -k trio workqueue.services.producer:app"
WRONG_START = 2  #: exit status
STOP_SECONDS = 15.0  #: of one of several processes; Hypercorn gives requests its graceful_timeout, at most 10 s

log = logging.getLogger(__name__)


def create_app(settings: Settings, *, static: Path = FOLDER) -> QuartTrio:
    """The producer as an ASGI app for Hypercorn's trio worker. Opens nothing before its lifespan begins.

    `static` is the folder of the built dashboard. Raises InvalidSettings for a REDIS_URL that redis-py cannot read, and
    for tokens that cannot be read.
    """
    app = QuartTrio(__name__, static_folder=None)
    tokens, file = load_tokens(settings)
    watch = None if tokens is None or file is None else partial(file.watch, tokens)
    service = _BackendService(settings, watch)
    dashboard = Dashboard(static, reserved(ROUTES))
    add_rules(app, ROUTES, service.get_backend, dashboard)

    @app.errorhandler(404)
    async def unknown_path(_: Exception) -> Response:
        """A file of the dashboard, or one of its client-side routes."""
        if request.method in {"GET", "HEAD"}:
            try:
                return await dashboard.response(request.path)
            except Refused as refused:
                return text(refused.status, refused.message)
        return text(404, "not found")

    @app.errorhandler(405)
    async def wrong_method(error: Exception) -> Response:
        """A person who opens the address of the API in a browser means the form."""
        opens = request.method == "GET" and "text/html" in request.headers.get("Accept", "")
        if opens and request.path == "/enqueue":
            return Response(b"", 303, {"Location": FORM})
        return http_error(cast("HTTPException", error))

    @app.before_serving
    async def start() -> None:
        if not logging.getLogger().hasHandlers():  # under a bare Hypercorn, which sets up no logging for us
            configure_logging(settings)
        if multiprocessing.parent_process() is not None:
            # Hypercorn's parent tells its processes of a stop by an event, and sends SIGTERM to the others as soon as
            # the first has ended: requests under way would get no response.
            end_after(STOP_SECONDS)
        await app.nursery.start(service.run)

    app.after_serving(service.stop)  # Hypercorn calls it when the requests under way have their responses
    app.extensions[EXTENSION] = tokens
    wrap(
        app,
        settings,
        ERROR_RESPONSES,
        fast_routes=fast_routes(ROUTES, service.get_backend),
        streams=streams(ROUTES, service.get_backend),
        live_routes=live_routes(ROUTES, service.get_backend),
        gate=None if tokens is None else Gate(tokens, required_role(app, ROUTES)),
    )
    inner: Any = app.asgi_app
    app.asgi_app = _Lifespan(inner)  # type: ignore[method-assign, assignment]
    return app


class _BackendService:
    """The backend of one app, open during its lifespan. Mutable state: the backend, set before `run` has started."""

    def __init__(self, settings: Settings, beside: Callable[[], Awaitable[None]] | None = None) -> None:
        """`beside`: runs as long as the backend is open."""
        self._settings = settings
        self._beside = beside
        self._backend: Backend | None = None
        self._stopping = trio.Event()
        self._ended = trio.Event()

    def get_backend(self) -> Backend:
        assert self._backend is not None, "routes are called within the lifespan"  # noqa: S101
        return self._backend

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the backend open until `stop`."""
        try:
            async with open_backend(self._settings) as self._backend, trio.open_nursery() as nursery:
                if self._beside is not None:
                    nursery.start_soon(self._beside)
                task_status.started()
                await self._stopping.wait()
                nursery.cancel_scope.cancel()
        finally:
            self._ended.set()

    async def stop(self) -> None:
        """End `run`; returns when everything is closed. Call it when no request is under way."""
        self._stopping.set()
        await self._ended.wait()


class _Lifespan:
    """Around the app: a start that fails prints one line, and a crash of the backend ends the process."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        if sniffio.current_async_library() != "trio":  # asyncio itself runs on Trio once trio-asyncio is imported
            # An exception of any kind would be printed as 59 lines of traceback, or be ignored: Hypercorn would serve
            # without a lifespan. Nothing is open yet.
            _end(f"workqueue: the producer runs on Trio: start it with `{COMMAND}`")
        try:
            await self._app(scope, receive, _ends_at_failure(send))
        except Exception as error:
            log.exception("the producer ends: its backend has crashed")
            message: Message = {"type": "lifespan.shutdown.failed", "message": str(error)}
            await send(message)  # without it Hypercorn would go on serving


def _ends_at_failure(send: Send) -> Send:
    """`send` for the lifespan: a start that fails ends the process with its reason instead of a traceback."""

    async def wrapped(message: Message) -> None:
        if message["type"] == "lifespan.startup.failed":
            _end(f"workqueue: the producer cannot start: {message.get('message', '')}")
        await send(message)

    return wrapped


def _end(line: str) -> NoReturn:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - there may be no logging yet
    os._exit(WRONG_START)


def _from_environment() -> QuartTrio:
    try:
        return create_app(load_settings(os.environ))
    except InvalidSettings as error:
        print("\n".join(f"workqueue: {fault}" for fault in error.faults), file=sys.stderr)  # noqa: T201
        sys.exit(WRONG_START)


app = _from_environment()
