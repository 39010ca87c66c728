"""The producer as a process of its own: Hypercorn around the app, inside of our nursery."""

import logging
import multiprocessing
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import trio

from workqueue.core.settings import Settings
from workqueue.services.http.access import is_loopback
from workqueue.services.http.listener import open_listener
from workqueue.services.http.token_file import load_tokens
from workqueue.services.signals import Stop
from workqueue.services.systemd import Notifier

GRACE_SECONDS = 10.0  #: for requests under way

log = logging.getLogger(__name__)


async def main(settings: Settings, notifier: Notifier | None = None) -> None:
    """Serve until a signal. Requests under way get GRACE_SECONDS to end, less where a second signal comes.

    Raises PortTaken and InvalidSettings.
    """
    from hypercorn.trio import serve

    from workqueue.services.producer.app import create_app

    _check_tokens(settings)
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
    """Serve with several processes, each with connections of its own, under Hypercorn's parent; returns its status.

    The first signal ends them as it ends `main`, the second at once. The processes read the settings from the
    environment, as we did. Raises PortTaken and InvalidSettings.
    """
    from hypercorn.run import run

    _check_tokens(settings)
    open_listener(
        settings.host, settings.producer_port, "PRODUCER_PORT"
    ).close()  # Hypercorn's own would be a traceback
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    config = _config(f"{host}:{settings.producer_port}")
    config.application_path = "workqueue.services.producer:app"
    config.worker_class = "trio"
    config.workers = count
    with _children_end_at_a_second_signal() as hurried:
        status = run(config)
        for child in multiprocessing.active_children():  # Hypercorn does not wait for those with requests under way
            child.join()
    return 0 if hurried.is_set() else status


@contextmanager
def _children_end_at_a_second_signal() -> Iterator[threading.Event]:
    """Kill the processes at a second signal; Hypercorn's parent would leave them their whole grace.

    The parent installs its own signal handlers again and again, so that we listen beside them, on the wake-up
    descriptor. Yields an event that is set at the second signal.
    """
    hurried = threading.Event()
    reading, writing = socket.socketpair()
    writing.setblocking(False)
    before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)

    def listen() -> None:
        heard = 0
        while numbers := reading.recv(64):
            heard += sum(number in (signal.SIGTERM, signal.SIGINT) for number in numbers)
            if heard > 1:
                hurried.set()
                for child in multiprocessing.active_children():
                    child.kill()

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield hurried
    finally:
        signal.set_wakeup_fd(before)
        writing.close()
        listener.join()
        reading.close()


def _check_tokens(settings: Settings) -> None:
    """Raise InvalidSettings for tokens that cannot be read, and say once where everything is open to other machines."""
    tokens, _ = load_tokens(settings)
    if tokens is None and not is_loopback(settings.host):
        log.warning(
            "HOST=%s and no API_TOKENS: every client that reaches port %d may enqueue, read and change jobs",
            settings.host, settings.producer_port,
        )  # fmt: skip


def _config(bind: str) -> Any:
    from hypercorn.config import Config

    config = Config()
    config.bind = [bind]
    config.accesslog = None  # it costs a fifth of the requests
    config.errorlog = logging.getLogger("hypercorn.error")  # Hypercorn gives no handler to a logger: our format
    config.graceful_timeout = GRACE_SECONDS
    config.include_server_header = False
    return config
