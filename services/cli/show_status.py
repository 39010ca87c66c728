"""`workqueue status` itself: once, as JSON, or again and again."""

from functools import partial

import click
import msgspec
import trio

from workqueue.services.cli.progress import open_progress
from workqueue.services.cli.screen import open_screen, show
from workqueue.services.cli.status import NoStatus, Status, Watch
from workqueue.services.cli.until_signal import until_signal
from workqueue.services.logs import printable

EVERY_SECONDS = 2.0  #: as the page does
INTERRUPTED = 130  #: exit status, as shells have it


def run_status(url: str, lease_seconds: float, *, watch: bool, as_json: bool, rates: bool) -> int:
    """Show the status of the producer at `url`; returns the exit status. Raises NoStatus where it is shown once."""
    looking = Watch(url, lease_seconds)
    if watch:
        trio.run(until_signal, partial(_watch, looking))
        return 0
    with open_progress() as progress:
        if rates:
            progress("looking twice, for the rates ...")
        found = trio.run(until_signal, partial(_once, looking, rates=rates, is_document=as_json))
    if found is None:
        return INTERRUPTED
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2))
    else:
        show(found)
    return 0 if found.ok else 1


async def _once(looking: Watch, *, rates: bool, is_document: bool) -> Status:
    """Raises NoStatus, but for a document: that has the fault in it, and a person reads it beside."""
    try:
        return await looking.status(rates=rates)
    except NoStatus as error:
        if not is_document:
            raise
        click.echo(f"workqueue: {printable(str(error))}", err=True)
        return looking.unknown(error)


async def _watch(looking: Watch) -> None:
    with open_screen() as draw:
        while True:
            try:
                status = await looking.status()
            except NoStatus as error:
                status = looking.unknown(error)  # it may come back
            draw(status)
            await trio.sleep(EVERY_SECONDS)
