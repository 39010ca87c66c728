"""The worker as a process: resources around the worker, and the signals that end it."""

import importlib
import logging
import os
import sys
import traceback
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial

import trio

from workqueue.core import handlers
from workqueue.core.bridge import Bridge, open_bridge
from workqueue.core.engine import open_engine
from workqueue.core.errors import InvalidSettings, QueueUnavailable, StoreUnavailable, WorkQueueError
from workqueue.core.handlers import Registry, registry
from workqueue.core.settings import Settings
from workqueue.services.health import Dependency, remedy
from workqueue.services.http.listener import open_listener
from workqueue.services.logs import unmute
from workqueue.services.migration import migrate_until_done
from workqueue.services.signals import Stop
from workqueue.services.systemd import Notifier
from workqueue.services.worker.endpoint import serve
from workqueue.services.worker.gc_tuning import tune_gc
from workqueue.services.worker.handlers.builtin import builtin_handlers
from workqueue.services.worker.handlers.children import open_children
from workqueue.services.worker.parent import open_socket, wait_for_parents_end
from workqueue.services.worker.worker import Worker

log = logging.getLogger(__name__)

STANDARD_INPUT = 0


async def main(settings: Settings, notifier: Notifier | None = None, *, parents_socket: str | None = None) -> None:
    """Run one worker until a signal ends it.

    `parents_socket`: this is one of several processes, and serves its endpoint for their parent there; the end of
    standard input, which the parent holds, ends it as well.
    Raises InvalidSettings for handlers that cannot be imported, PortTaken where the metrics' port is in use, and
    WorkQueueError where it ended without a signal.
    """
    notifier = notifier or Notifier(None)
    load_handlers(settings, registry)
    if parents_socket is None:
        listener = open_listener(settings.host, settings.worker_port, "WORKER_PORT")
    else:
        listener = open_socket(parents_socket)
    stop = Stop()
    async with trio.open_nursery() as process:
        await process.start(stop.listen)
        if parents_socket is not None:
            process.start_soon(_stop_with_parent, stop)
        async with AsyncExitStack() as resources:
            bridge = await resources.enter_async_context(open_bridge())
            children = await resources.enter_async_context(
                open_children(settings.worker_concurrency, settings.image_folder)
            )
            builtin_handlers(settings, bridge, children, registry)
            engine = await resources.enter_async_context(open_engine(bridge, settings))
            tune_gc()
            redis = Dependency("Redis", remedy("REDIS_URL", settings.redis_url))
            postgres = Dependency("Postgres", remedy("DATABASE_URL", settings.database_url or ""))

            def on_failure(error: QueueUnavailable | StoreUnavailable) -> None:
                (redis if isinstance(error, QueueUnavailable) else postgres).failed(error, "still trying")

            worker = Worker(settings, engine, registry, on_failure, stop.first.set)
            async with trio.open_nursery() as serving:
                serving.start_soon(serve, worker, settings, listener)
                serving.start_soon(redis.watch, engine.queue.depths, worker.check_redis)
                serving.start_soon(children.end_idle)
                await serving.start(notifier.feed_watchdog)
                if await _unless_stopped(stop, partial(_prepare, settings, bridge, worker)):
                    if engine.keeps_rows:
                        store = engine.rows()
                        serving.start_soon(postgres.watch, store.check, store.check_fitness)
                    await worker.run(stop.first.wait, stop.second.wait, partial(_ready, worker, notifier))
                notifier.stopping()
                serving.cancel_scope.cancel()
        process.cancel_scope.cancel()
    if not stop.first.is_set():
        raise WorkQueueError("the worker has ended though nothing had stopped it: a handler has cancelled what runs it")
    log.info("stopped")


async def _stop_with_parent(stop: Stop) -> None:
    """Stop when the parent has gone: no other process would end this one."""
    await wait_for_parents_end(os.dup(STANDARD_INPUT))
    if not stop.first.is_set():
        log.warning("the parent of this worker has gone: stopping")
        stop.first.set()


def load_handlers(settings: Settings, into: Registry) -> None:
    """Import the modules of WORKER_HANDLERS; each registers its handlers. Raises InvalidSettings.

    The current folder is searched first, as `python -m` does.
    """
    folder = os.getcwd()
    if folder not in sys.path and "" not in sys.path and not sys.flags.safe_path:
        sys.path.insert(0, folder)  # a console script lacks the folder that it is started in; users expect it
    faults = []
    for module in settings.handler_modules:
        try:
            importlib.import_module(module)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - sys.exit() in a module as well
            kind = "" if isinstance(error, ImportError) else f"{type(error).__name__}: "
            fault = f"{kind}{error}" if str(error) else type(error).__name__
            where = _place(error)
            faults.append(f"WORKER_HANDLERS={settings.worker_handlers!r}: cannot import {module}{where}: {fault}")
    if faults:
        raise InvalidSettings(faults)
    into.decide(settings.worker_runtime)
    unmute(settings)


def _place(error: BaseException) -> str:
    """The file and the line at fault, unless the import itself is."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}:{error.lineno})"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_ours(frame.filename)]
    return f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""


def _is_ours(file: str) -> bool:
    """Of the import machinery, or of this and the registry's module."""
    return file.startswith("<frozen ") or file in (__file__, importlib.__file__, handlers.__file__)


async def _prepare(settings: Settings, bridge: Bridge, worker: Worker) -> None:
    """Wait until a worker may start: the tables exist and are those of the queue, and no worker of an incompatible
    release is alive.
    """
    await _migrate(settings, bridge)
    await worker.wait_for_installation()
    await worker.wait_for_incompatible_workers()


async def _migrate(settings: Settings, bridge: Bridge) -> None:
    """Bring the tables up to date, as soon as Postgres is there."""
    if settings.database_url is None:
        return
    said = False

    def say(error: StoreUnavailable) -> None:
        nonlocal said
        if not said:
            log.warning("waiting for Postgres: %s", error)
            said = True

    await migrate_until_done(bridge, settings.database_url, settings.database_schema, on_outage=say)


async def _unless_stopped(stop: Stop, run: Callable[[], Awaitable[None]]) -> bool:
    """Run to the end, or until a stop; False then."""
    done = False

    async def run_and_cancel() -> None:
        nonlocal done
        await run()
        done = True
        race.cancel_scope.cancel()

    async with trio.open_nursery() as race:
        race.start_soon(run_and_cancel)
        await stop.first.wait()
        race.cancel_scope.cancel()
    return done


def _ready(worker: Worker, notifier: Notifier) -> None:
    notifier.ready()
    log.info(
        "worker %s takes jobs from %s, %d at once: %s",
        worker.name,
        worker.queue.name,
        worker.settings.worker_concurrency,
        ", ".join(worker.registry.types) or "no handlers",
    )
