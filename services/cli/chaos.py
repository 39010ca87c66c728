"""`workqueue chaos`."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import click
import trio

from workqueue.core.settings import Settings
from workqueue.services.chaos.report import complaints, summary
from workqueue.services.chaos.run import Options, run
from workqueue.services.cli.until_signal import until_signal


def run_chaos(settings: Settings, environ: Mapping[str, str], options: Mapping[str, Any]) -> int:
    """Run chaos: progress on standard error, the verdict on standard output. Returns the exit status."""

    work = partial(run, Options(**options), settings, environ, lambda line: click.echo(line, err=True))
    outcome = trio.run(until_signal, work)
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
