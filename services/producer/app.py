"""`hypercorn -k trio workqueue.services.producer:app`: the app, its life, and what a wrong start is told."""

import logging
import multiprocessing
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

import sniffio
from quart_trio import QuartTrio

from workqueue.core.errors import InvalidSettings
from workqueue.core.settings import Settings, load_settings
from workqueue.services.early import end_after
from workqueue.services.http.asgi import protect
from workqueue.services.http.messages import Message, Receive, Scope, Send
from workqueue.services.logs import configure_logging
from workqueue.services.producer.bulk import BATCH_PATH, Bulk
from workqueue.services.producer.enqueue import directly
from workqueue.services.producer.errors import ANSWERS
from workqueue.services.producer.page import FOLDER, Page
from workqueue.services.producer.producer import Producer
from workqueue.services.producer.routes import add_jobs, add_pages, add_state

COMMAND = "hypercorn -k trio workqueue.services.producer:app"
WRONG_START = 2  #: exit status
STOP_SECONDS = 15.0  #: of one of several processes; Hypercorn gives requests its graceful_timeout, at most 10 s

log = logging.getLogger(__name__)


def create_app(settings: Settings, *, page: Path = FOLDER) -> QuartTrio:
    """The producer as an ASGI app for Hypercorn's trio worker. Opens nothing before its lifespan begins.

    `page` is the folder of the built dashboard. Raises InvalidSettings for a REDIS_URL that redis-py cannot read.
    """
    app = QuartTrio(__name__, static_folder=None)
    producer = Producer(settings)
    add_jobs(app, producer)
    add_state(app, producer)
    add_pages(app, Page(page))

    @app.before_serving
    async def start() -> None:
        if not logging.getLogger().hasHandlers():  # a bare Hypercorn: nobody has set up logging for us
            configure_logging(settings)
        if multiprocessing.parent_process() is not None:
            # Hypercorn's parent tells its processes of a stop by an event, and sends SIGTERM to the others as soon as
            # the first has ended: requests under way would get no answer.
            end_after(STOP_SECONDS)
        await app.nursery.start(producer.run)

    app.after_serving(producer.stop)  # Hypercorn calls it when the requests under way were answered
    protect(
        app,
        settings,
        ANSWERS,
        direct={("POST", "/enqueue"): directly(producer)},
        streams={("POST", BATCH_PATH): Bulk(producer)},
    )
    inner: Any = app.asgi_app
    app.asgi_app = _Lifespan(inner)  # type: ignore[method-assign, assignment]
    return app


class _Lifespan:
    """Around the app: a start that cannot work is told in one line, and a crash of what stands behind it ends us."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        if sniffio.current_async_library() != "trio":  # asyncio itself runs on Trio once trio-asyncio is imported
            # An exception of any kind would come out as 59 lines of traceback, or be passed over: Hypercorn would serve
            # without a lifespan. Nothing is open yet.
            _end(f"workqueue: the producer runs on Trio: start it with `{COMMAND}`")
        try:
            await self._app(scope, receive, _told(send))
        except Exception as error:
            log.exception("the producer ends: what it runs on has crashed")
            message: Message = {"type": "lifespan.shutdown.failed", "message": str(error)}
            await send(message)  # without it Hypercorn would go on serving


def _told(send: Send) -> Send:
    """`send` for the lifespan: a start that fails ends the process with its reason instead of a traceback."""

    async def told(message: Message) -> None:
        if message["type"] == "lifespan.startup.failed":
            _end(f"workqueue: the producer cannot start: {message.get('message', '')}")
        await send(message)

    return told


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
