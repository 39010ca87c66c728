"""`workqueue check`: settings, handlers, schedules and limits, without any server; for CI and before a deploy."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import click

from workqueue.core.errors import InvalidSettings, InvalidTask
from workqueue.core.handlers import Handler, Registry
from workqueue.core.limits import Limit
from workqueue.core.schedules import Schedule, next_times
from workqueue.core.settings import Settings
from workqueue.services.cli.sources import check_modules
from workqueue.services.logs import printable

LoadSettings = Callable[[dict[str, str]], Settings]


def add_check_command(main: click.Group, load_settings: LoadSettings) -> None:
    """Add it to the command `main`. `load_settings`: of the environment and what the command line gives."""

    @main.command()
    @click.option("--handlers", metavar="MODULES", help="Your handlers, as WORKER_HANDLERS.")
    def check(handlers: str | None) -> None:
        """Look at settings, handlers and schedules; no server is needed.

        Imports the modules as a worker does, and shows the handlers, schedules and limits that they declare, built-in
        handlers left out. Exit status 2: a setting, a module or a schedule is wrong; each fault is a line.
        """
        from workqueue.core.handlers import registry
        from workqueue.services.worker.main import load_handlers

        settings = load_settings({"WORKER_HANDLERS": handlers} if handlers else {})
        check_modules(settings.handler_modules if handlers else [], Path.cwd())
        load_handlers(settings, registry)
        if faults := list(schedule_faults(registry)):
            raise InvalidSettings(faults)
        for line in described(settings, registry, datetime.now(UTC)):
            click.echo(line)


def schedule_faults(registry: Registry) -> Iterator[str]:
    """What the jobs of declared schedules would fail with, each time."""
    for schedule in registry.schedules:
        if (handler := registry.get(schedule.type)) is not None:
            try:
                handler.payload.decode(schedule.payload.encode())
            except InvalidTask as error:
                yield f"schedule {printable(schedule.name)}: its {error}"


def described(settings: Settings, registry: Registry, now: datetime) -> Iterator[str]:
    """What a worker with these settings would run."""
    handlers = [handler for name in registry.types if (handler := registry.get(name)) and not handler.is_builtin]
    yield f"handlers: {len(handlers)}"
    yield from _columns([(printable(each.type), _handler(each)) for each in handlers])
    if schedules := registry.schedules:
        yield f"schedules: {len(schedules)}"
        yield from _columns([(printable(each.name), _schedule(each, now)) for each in schedules])
    if limits := registry.limits:
        yield f"limits: {len(limits)}"
        yield from _columns([(printable(scope), _limit(limits[scope])) for scope in sorted(limits)])
    stored = "with rows" if settings.database_url else "without rows: DATABASE_URL is not set"
    yield f"good: {settings.queue_name}, {stored}"


def _columns(rows: list[tuple[str, str]]) -> Iterator[str]:
    width = max((len(name) for name, _ in rows), default=0)
    for name, text in rows:
        yield f"  {name:{width}}  {text}"


def _handler(handler: Handler) -> str:
    payload = handler.payload.type
    parts = ["trio" if handler.is_async else handler.runtime]
    parts += [] if handler.timeout_seconds is None else [f"timeout {handler.timeout_seconds:g} s"]
    parts += [] if payload is None else [f"payload {getattr(payload, '__name__', payload)}"]
    return ", ".join(parts)


def _schedule(schedule: Schedule, now: datetime) -> str:
    every = f"every {schedule.every:g} s" if schedule.cron is None else f"{schedule.cron} {schedule.tz}"
    upcoming = next_times(schedule, now, 1)
    zone = ZoneInfo(schedule.tz)
    when = f"next {upcoming[0].astimezone(zone):%Y-%m-%d %H:%M:%S %z}" if upcoming else "never"
    return f"{every}, {when}, {schedule.type}"


def _limit(limit: Limit) -> str:
    parts = [] if limit.running is None else [f"{limit.running:,} at once"]
    parts += [] if limit.rate is None else [f"{limit.rate:,} in {limit.per_seconds:g} s"]
    return ", ".join(parts)
