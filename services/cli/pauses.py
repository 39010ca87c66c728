"""`workqueue pause`, `resume` and `paused`: types of jobs that are not run for now, over HTTP."""

from collections.abc import Callable
from typing import TypeVar
from urllib.parse import quote

import click
import msgspec
from msgspec import Struct

from workqueue.services.cli.producer import ask, open_producer
from workqueue.services.logs import printable

T = TypeVar("T")

URL = click.option("--url", metavar="URL", help="The producer.  [default: http://127.0.0.1 and PRODUCER_PORT]")


class TypeAnswer(Struct, frozen=True):
    """A type as the producer shows it. Members may be missing: the producer may be of another release."""

    type: str
    paused: bool = True
    parked: int | None = None


class _Overview(Struct, frozen=True):
    paused: list[TypeAnswer] | None = None


class _Worker(Struct, frozen=True):
    types: list[str] = []


def add_pause_commands(main: click.Group, default_url: Callable[[], str]) -> None:
    """Add them to the command `main`. `default_url`: the producer, where none is named."""

    @main.command()
    @click.argument("types", metavar="TYPE...", nargs=-1, required=True)
    @URL
    def pause(types: tuple[str, ...], url: str | None) -> None:
        """Start no more jobs of these types.

        What runs goes on, what comes waits. `workqueue resume` runs them again, those that waited first.
        """
        _change(url or default_url(), "pause", types)

    @main.command()
    @click.argument("types", metavar="TYPE...", nargs=-1, required=True)
    @URL
    def resume(types: tuple[str, ...], url: str | None) -> None:
        """Run the jobs of paused types again."""
        _change(url or default_url(), "resume", types)

    @main.command()
    @URL
    def paused(url: str | None) -> None:
        """Show which types are paused."""
        overview = _ask(url or default_url(), "GET", "/api/overview", _Overview)
        for each in overview.paused or []:
            click.echo(printable(f"{each.type}  {_waiting(each)}"))
        if overview.paused is None:
            click.echo("workqueue: Redis is away: it is not known what is paused", err=True)
        elif not overview.paused:
            click.echo("workqueue: no type is paused", err=True)


def _change(url: str, act: str, types: tuple[str, ...]) -> None:
    known = _known_types(url) if act == "pause" else None
    for job_type in types:
        answer = _ask(url, "POST", f"/api/types/{quote(job_type, safe='')}/{act}", TypeAnswer)
        click.echo(printable(f"{job_type}  {'paused' if answer.paused else 'resumed'}  {_waiting(answer)}"))
        if known is not None and job_type not in known:
            click.echo(printable(f"workqueue: no worker has a handler for {job_type}: is it the right name?"), err=True)


def _known_types(url: str) -> set[str] | None:
    """The types of all workers; None: no worker is there to tell."""
    workers = _ask(url, "GET", "/api/workers", list[_Worker])
    return {job_type for worker in workers for job_type in worker.types} if workers else None


def _waiting(answer: TypeAnswer) -> str:
    return "" if answer.parked is None else f"{answer.parked:,} set aside"


def _ask(url: str, method: str, path: str, kind: type[T]) -> T:
    """What a success says. Raises NoAnswer, and NotAllowed."""
    with open_producer(url) as client:
        answer = ask(client, method, path, json={} if method == "POST" else None)
        return msgspec.json.decode(answer.content, type=kind)
