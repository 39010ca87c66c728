"""`workqueue chaos`."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import click
import trio

from core.settings import Settings
from services.chaos.report import complaints, summary
from services.chaos.run import Options, Outcome, run
from services.signals import Stop


def run_chaos(settings: Settings, environ: Mapping[str, str], options: Mapping[str, Any]) -> int:
    """Run chaos, tell what happens on standard error and what came of it on standard output; the exit status."""

    async def main() -> Outcome | None:
        stop = Stop()
        outcome = None
        async with trio.open_nursery() as nursery:
            await nursery.start(stop.listen)
            async with trio.open_nursery() as running:
                running.start_soon(_cancel_after, stop.first.wait, running.cancel_scope)
                outcome = await run(Options(**options), settings, environ, lambda line: click.echo(line, err=True))
                running.cancel_scope.cancel()
            nursery.cancel_scope.cancel()
        return outcome

    outcome = trio.run(main)
    if outcome is None:
        click.echo("workqueue: ended before the verdict; every process of the run was ended", err=True)
        return 1
    for line in complaints(outcome):
        click.echo(line, err=True)
    for name, value in summary(outcome):
        click.echo(f"{name:<28}{value:>12}")
    if outcome.verdict.is_good:
        click.echo("good: nothing was lost, and nothing ran twice without need")
        return 0
    click.echo(f"BAD: ledger and logs are in {outcome.folder}", err=True)
    return 1


async def _cancel_after(wait: Callable[[], Awaitable[None]], scope: trio.CancelScope) -> None:
    await wait()
    scope.cancel()
