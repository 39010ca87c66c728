"""The commands `workqueue cancel`, `retry`, `run-now`, `delete` and `actions`: parse, ask, print."""

import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import click

from workqueue.core.job_filter import StatusFilter
from workqueue.core.settings import UNIT_SECONDS
from workqueue.services.logs import printable

#: Act -> its help, and what is asked before it is done to many.
ACTS = {
    "cancel": "Cancel jobs that wait or run.\n\nWhat waits ends at once, what runs is cancelled by its worker.",
    "retry": "Run failed or cancelled jobs again.\n\nWith all of their retries; the runs that they had stay.",
    "run-now": "Run jobs now that wait for their next attempt.",
    "delete": "Delete jobs that have ended, with their runs.",
}
BULK_HELP = """

Name jobs by their IDs, or many by what they have in common; all of what is given must hold:

\b
  workqueue {name} --type send_email --since 1h --dry-run
  workqueue {name} --type send_email --since 1h --yes

Workers do it, in small pieces; Ctrl-C ends the wait for it, and not the action (workqueue actions).
"""


class Moment(click.ParamType[str]):
    """`90s`, `30m`, `12h`, `7d`: so long ago; or a date and time with its offset. As the API takes it."""

    name = "WHEN"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        if found := re.fullmatch(r"([1-9][0-9]{0,5})([smhd])", text, re.ASCII):
            return (datetime.now(UTC) - timedelta(seconds=int(found[1]) * UNIT_SECONDS[found[2]])).isoformat()
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            self.fail(f"{text!r} is neither so long ago (90s, 30m, 12h, 7d) nor a time (2026-01-31T12:00:00Z).")
        return moment.isoformat()


URL = click.option("--url", metavar="URL", help="The producer.  [default: http://127.0.0.1 and PRODUCER_PORT]")


def add_act_commands(main: click.Group, default_url: Callable[[], str]) -> None:
    """Add them to the command `main`. `default_url`: the producer, where none is named."""
    for name, text in ACTS.items():
        _add_act(main, name, text, default_url)
    _add_actions(main, default_url)


def _add_act(main: click.Group, name: str, text: str, default_url: Callable[[], str]) -> None:
    @main.command(name, help=text + BULK_HELP.format(name=name))
    @click.argument("ids", metavar="ID...", nargs=-1, type=click.UUID)
    @click.option("--type", "job_type", metavar="TYPE", help="Jobs of this type.")
    @click.option("--status", type=click.Choice([str(each) for each in StatusFilter]), help="Jobs in this state.")
    @click.option("--queue", metavar="QUEUE", help="Jobs of this queue.")
    @click.option("--group", metavar="GROUP", help="Jobs of this group.")
    @click.option("--error", metavar="TEXT", help="Jobs whose error has this in it, in capitals or not.")
    @click.option("--since", type=Moment(), help="Created since: 90s, 30m, 12h, 7d, or a time with its offset.")
    @click.option("--until", type=Moment(), help="Created before that.")
    @click.option("--all", "is_all", is_flag=True, help="All jobs of the queue that it applies to.")
    @click.option("--dry-run", is_flag=True, help="Only say how many jobs match.")
    @click.option("--yes", is_flag=True, help="Do not ask.")
    @URL
    @click.pass_context
    def act(
        context: click.Context,
        ids: tuple[UUID, ...],
        job_type: str | None,
        status: str | None,
        queue: str | None,
        group: str | None,
        error: str | None,
        since: str | None,
        until: str | None,
        is_all: bool,
        dry_run: bool,
        yes: bool,
        url: str | None,
    ) -> None:
        given = {
            "type": job_type, "status": status, "queue": queue, "group": group, "error": error,
            "created_after": since, "created_before": until,
        }  # fmt: skip
        wanted = {key: value for key, value in given.items() if value is not None}
        if ids and (wanted or is_all or dry_run or yes):
            raise click.UsageError("IDs cannot go with a filter, nor with --all, --dry-run or --yes.")
        if wanted and is_all:
            raise click.UsageError("--all cannot go with a filter.")
        if not (ids or wanted or is_all):
            raise click.UsageError(
                "Missing argument 'ID...', or a filter: --type, --status, --queue, --group, --error, --since, --all."
            )
        at = url or default_url()
        context.exit(_act_on(at, name, ids) if ids else _act_on_many(at, name, wanted, dry_run=dry_run, yes=yes))


def _act_on(url: str, name: str, ids: tuple[UUID, ...]) -> int:
    """Do it to each; the exit status."""
    import trio

    from workqueue.services.cli.acts import act_on

    async def act_on_all() -> bool:
        all_done = True
        async for result in act_on(url, name, [str(job_id) for job_id in ids]):
            all_done = all_done and result.done
            click.echo(printable(f"{result.job_id}  {result.said}"), err=not result.done)
        return all_done

    return 0 if trio.run(act_on_all) else 1


def _act_on_many(url: str, name: str, wanted: dict[str, str], *, dry_run: bool, yes: bool) -> int:
    """Count, ask the person, then the workers, and wait; the exit status."""
    import trio

    from workqueue.services.cli.acts import DONE
    from workqueue.services.cli.bulk_acts import count_matching, follow_action, start_action
    from workqueue.services.cli.progress import open_progress

    matched = trio.run(count_matching, url, name, wanted)
    if dry_run or matched == 0:
        click.echo(_jobs(matched, "matches", "match"))
        return 0
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError(
                f"{_jobs(matched, 'matches', 'match')}: --yes is needed where standard input is no terminal."
            )
        click.confirm(f"{name} {_jobs(matched)}?", abort=True)
    action_id = trio.run(start_action, url, name, wanted, matched)
    try:
        with open_progress() as progress:
            action = trio.run(follow_action, url, action_id, progress)
    except KeyboardInterrupt:
        click.echo(f"workqueue: action {action_id} goes on; to end it: workqueue actions --stop {action_id}", err=True)
        return 130
    was = " (it was stopped)" if action.state == "stopped" else ""
    click.echo(f"{_jobs(action.done)}: {DONE[name]}{was}")
    if action.failed:
        click.echo(f"workqueue: {_jobs(action.failed)} had changed meanwhile", err=True)
    return 1 if was else 0


def _add_actions(main: click.Group, default_url: Callable[[], str]) -> None:
    @main.command()
    @click.option("--stop", "action_id", metavar="ID", type=click.UUID, help="Stop the action where it is.")
    @URL
    def actions(action_id: UUID | None, url: str | None) -> None:
        """Show what was done to many jobs, and how far it is.

        One line each, the newest first: its id, what, how many are done of those that matched, and its state.
        """
        import trio

        from workqueue.services.cli.bulk_acts import list_actions, stop_action

        at = url or default_url()
        found = [trio.run(stop_action, at, str(action_id))] if action_id else trio.run(list_actions, at)
        for each in found:
            filters = " ".join(
                f"{key}={value}" for key, value in each.filter.items() if value and key != "created_before"
            )
            line = f"{each.id}  {each.action:7}  {each.done} of {each.matched}  {each.state}  {filters}"
            click.echo(printable(line).rstrip())
        if not found:
            click.echo("workqueue: there are none", err=True)


def _jobs(count: int, one: str = "", many: str = "") -> str:
    return f"{count:,} {'job' if count == 1 else 'jobs'} {one if count == 1 else many}".rstrip()
