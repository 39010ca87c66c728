"""The commands `workqueue workers` and `workqueue workers quiet`, `resume`, `stop`: parse, ask, print."""

from collections.abc import Callable

import click

URL_HELP = "The producer.  [default: http://127.0.0.1 and PRODUCER_PORT]"

#: Act -> its help.
ACTS = {
    "quiet": "Let workers claim no more.\n\nJobs that run go on; those that were claimed and have not started go back.",
    "resume": "Let quiet workers claim again.",
    "stop": "Stop workers, as SIGTERM does.\n\nWhat restarts them by itself (systemd, a container) starts new ones.",
}


def add_worker_commands(main: click.Group, default_url: Callable[[], str]) -> None:
    """Add them to the command `main`. `default_url`: the producer, where none is named."""

    @main.group(invoke_without_command=True)
    @click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
    @click.option("--url", metavar="URL", help=URL_HELP)
    @click.pass_context
    def workers(context: click.Context, as_json: bool, url: str | None) -> None:
        """List workers, let them be quiet, or stop them.

        The list has those that are alive and, for an hour, those that are gone, with what became of their jobs. State:
        working, quiet (claims no more), stopping, silent (its lease was not renewed in time), stopped, or gone (it
        died, and its jobs were given to others). IDs may be shortened.
        """
        context.obj = url
        if context.invoked_subcommand is None:
            from workqueue.services.cli.workers import list_workers

            list_workers(url or default_url(), as_json=as_json)

    for name, text in ACTS.items():
        _add_act(workers, name, text, default_url)


def _add_act(workers: click.Group, name: str, text: str, default_url: Callable[[], str]) -> None:
    @workers.command(name, help=text)
    @click.argument("ids", metavar="ID...", nargs=-1, required=True)
    @click.option("--url", metavar="URL", help=URL_HELP)
    @click.pass_context
    def act(context: click.Context, ids: tuple[str, ...], url: str | None) -> None:
        from workqueue.services.cli.workers import ask_workers

        context.exit(0 if ask_workers(url or context.obj or default_url(), name, ids) else 1)
