"""The commands `workqueue dead`, `dead show`, `dead retry` and `dead delete`: parse, ask, print."""

import sys
from collections.abc import Callable

import click

URL = click.option("--url", metavar="URL", help="The producer.  [default: http://127.0.0.1 and PRODUCER_PORT]")


def add_dead_commands(main: click.Group, default_url: Callable[[], str]) -> None:
    """Add them to the command `main`. `default_url`: the producer, where none is named."""

    @main.group(invoke_without_command=True)
    @click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="The newest so many.")
    @click.option("--json", "as_json", is_flag=True, help="One JSON object a line, with the beginning of the task.")
    @URL
    @click.pass_context
    def dead(context: click.Context, limit: int, as_json: bool, url: str | None) -> None:
        """List, retry or delete dead letters.

        Those are tasks that cannot run: what is no task, and without DATABASE_URL each job that has failed for good.
        The list is newest first: id, when, type and why.
        """
        context.obj = url
        if context.invoked_subcommand is not None:
            return
        from workqueue.services.cli.dead import list_dead_letters

        list_dead_letters(url or default_url(), limit, as_json=as_json)

    @dead.command("show")
    @click.argument("dead_id", metavar="ID")
    @URL
    @click.pass_obj
    def show(group_url: str | None, dead_id: str, url: str | None) -> None:
        """Print one dead letter with its whole task, as JSON."""
        from workqueue.services.cli.dead import check_ids, show_dead_letter

        check_ids([dead_id])
        show_dead_letter(url or group_url or default_url(), dead_id)

    for name, text in (
        ("retry", "Enqueue the tasks of dead letters again.\n\nWith all of their retries. What is no task stays."),
        ("delete", "Delete dead letters for good."),
    ):
        _add_act(dead, name, text, default_url)


def _add_act(dead: click.Group, name: str, text: str, default_url: Callable[[], str]) -> None:
    @dead.command(name, help=text)
    @click.argument("ids", metavar="[ID...]", nargs=-1)
    @click.option("--all", "everything", is_flag=True, help="All that there are.")
    @click.option("--yes", is_flag=True, help="Do not ask whether all are meant.")
    @URL
    @click.pass_context
    def act(context: click.Context, ids: tuple[str, ...], everything: bool, yes: bool, url: str | None) -> None:
        from workqueue.services.cli.dead import act_on_all, act_on_ids, check_ids

        check_ids(ids)
        if everything == bool(ids):
            raise click.UsageError("Name one ID or more, or --all.")
        if everything and not yes and not sys.stdin.isatty():
            raise click.UsageError("--all asks whether all are meant: where there is no terminal, say --yes.")
        at = url or context.obj or default_url()
        all_done = act_on_all(at, name, asks=not yes) if everything else act_on_ids(at, name, ids)
        context.exit(0 if all_done else 1)
