"""The producer as a process of its own: Hypercorn around the app, inside of our nursery."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import trio

from core.settings import Settings
from services.http.listener import open_listener
from services.signals import Stop
from services.systemd import Notifier

GRACE_SECONDS = 10.0  #: for requests under way


async def main(settings: Settings, notifier: Notifier | None = None) -> None:
    """Serve until a signal ends us; requests under way are answered first, for GRACE_SECONDS at most, and not where a
    second signal comes. Raises PortTaken and InvalidSettings."""
    from hypercorn.trio import serve

    from services.producer.app import create_app

    notifier = notifier or Notifier(None)
    listener = open_listener(settings.host, settings.producer_port, "PRODUCER_PORT")
    app: Any = create_app(settings)
    config = _config(f"fd://{listener.detach()}")  # Hypercorn's from here on: it closes it
    stop = Stop()
    async with trio.open_nursery() as process:
        await process.start(stop.listen)
        await process.start(notifier.feed_watchdog)
        async with trio.open_nursery() as serving:
            await serving.start(partial(serve, app, config, shutdown_trigger=stop.first.wait, mode="asgi"))
            notifier.ready()
            await stop.first.wait()
            notifier.stopping()
            process.start_soon(_cancel_after, stop.second.wait, serving.cancel_scope)
        process.cancel_scope.cancel()


async def _cancel_after(wait: Callable[[], Awaitable[None]], scope: trio.CancelScope) -> None:
    await wait()
    scope.cancel()


def run_processes(settings: Settings, count: int) -> int:
    """Serve with several processes, each with connections of its own, under Hypercorn's parent. Returns its status.

    The settings reach the processes through the environment, as they reached us. Raises PortTaken.
    """
    from hypercorn.run import run

    open_listener(
        settings.host, settings.producer_port, "PRODUCER_PORT"
    ).close()  # Hypercorn's own would be a traceback
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    config = _config(f"{host}:{settings.producer_port}")
    config.application_path = "services.producer:app"
    config.worker_class = "trio"
    config.workers = count
    return run(config)


def _config(bind: str) -> Any:
    from hypercorn.config import Config

    config = Config()
    config.bind = [bind]
    config.accesslog = None  # it costs a fifth of the requests
    config.graceful_timeout = GRACE_SECONDS
    config.include_server_header = False
    return config
