"""`workqueue schedules`: which there are and when they run; add, pause, resume, run now and delete; over HTTP."""

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from urllib.parse import quote

import click
import msgspec
from msgspec import Raw, Struct

from workqueue.services.cli.producer import ask, open_producer
from workqueue.services.logs import printable

URL = click.option("--url", metavar="URL", help="The producer.  [default: http://127.0.0.1 and PRODUCER_PORT]")
PAGE = 500


class ScheduleAnswer(Struct, frozen=True):
    """A schedule as the producer shows it. Members may be missing: the producer may be of another release."""

    name: str
    cron: str | None = None
    every: float | None = None
    tz: str = "UTC"
    type: str = ""
    paused: bool = False
    paused_why: str | None = None
    next_at: datetime | None = None
    last_at: datetime | None = None
    last_job_id: str | None = None


class _Run(Struct, frozen=True):
    job_id: str


def add_schedule_commands(main: click.Group, default_url: Callable[[], str]) -> None:
    """Add them to the command `main`. `default_url`: the producer, where none is named."""

    @main.group(invoke_without_command=True)
    @click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
    @URL
    @click.pass_context
    def schedules(context: click.Context, as_json: bool, url: str | None) -> None:
        """List schedules; add, pause, resume, run or delete one.

        NEXT and LAST are due times, in UTC.
        """
        context.obj = url
        if context.invoked_subcommand is None:
            _list(url or default_url(), as_json=as_json)

    @schedules.command()
    @click.argument("name", metavar="NAME")
    @click.option("--cron", metavar="EXPRESSION", help="Five fields: '*/5 * * * *'; or @hourly, @daily ...")
    @click.option("--every", type=float, metavar="SECONDS", help="From one job to the next.")
    @click.option("--tz", metavar="ZONE", help="The time zone of --cron, as Europe/Berlin.  [default: UTC]")
    @click.option("--type", "job_type", metavar="TYPE", required=True, help="Of its jobs.")
    @click.option("--payload", metavar="JSON", default="{}", help="Of its jobs, an object.")
    @click.option("--missed", type=click.Choice(["skip", "once", "all"]), help="Times at which no worker was there.")
    @click.option("--overlap", type=click.Choice(["allow", "skip", "wait"]), help="Times while the last job goes on.")
    @click.option("--jitter", type=float, metavar="SECONDS", help="Each job waits for a random part of them.")
    @click.option("--retries", type=int, metavar="N")
    @click.option("--queue", metavar="QUEUE")
    @click.option("--timeout", type=float, metavar="SECONDS", help="How long each run may last.")
    @click.option("--expires-in", type=float, metavar="SECONDS", help="A job that is not started by then fails.")
    @URL
    @click.pass_obj
    def add(
        group_url: str | None, /, name: str, job_type: str, payload: str, url: str | None, **members: object
    ) -> None:
        """Add a schedule, or give one of this name another definition."""
        try:
            sent = json.loads(payload)
        except ValueError as error:
            raise click.BadParameter(f"no JSON: {error}", param_hint="--payload") from None
        body = {"type": job_type, "payload": sent} | {
            each: value for each, value in members.items() if value is not None
        }
        with open_producer(url or group_url or default_url()) as client:
            answer = ask(client, "PUT", _path(name), json=body)
        schedule = msgspec.json.decode(answer.content, type=ScheduleAnswer)
        click.echo(printable(f"{schedule.name}  next {_moment(schedule.next_at)}"))

    @schedules.command()
    @click.argument("names", metavar="NAME...", nargs=-1, required=True)
    @URL
    @click.pass_obj
    def pause(group_url: str | None, names: tuple[str, ...], url: str | None) -> None:
        """Make no more jobs of these schedules. What is enqueued runs."""
        _change(url or group_url or default_url(), "pause", names)

    @schedules.command()
    @click.argument("names", metavar="NAME...", nargs=-1, required=True)
    @URL
    @click.pass_obj
    def resume(group_url: str | None, names: tuple[str, ...], url: str | None) -> None:
        """Make jobs of paused schedules again. What was due meanwhile makes none."""
        _change(url or group_url or default_url(), "resume", names)

    @schedules.command("run-now")
    @click.argument("name", metavar="NAME")
    @URL
    @click.pass_obj
    def run_now(group_url: str | None, name: str, url: str | None) -> None:
        """Make a job of a schedule at once, and print its id. Its due times stay."""
        with open_producer(url or group_url or default_url()) as client:
            answer = ask(client, "POST", f"{_path(name)}/run-now", json={})
        click.echo(msgspec.json.decode(answer.content, type=_Run).job_id)

    @schedules.command()
    @click.argument("names", metavar="NAME...", nargs=-1, required=True)
    @URL
    @click.pass_obj
    def delete(group_url: str | None, names: tuple[str, ...], url: str | None) -> None:
        """Delete schedules. Their jobs stay."""
        with open_producer(url or group_url or default_url()) as client:
            for name in names:
                ask(client, "DELETE", _path(name), named=name, json={})
                click.echo(printable(f"{name}  deleted"))


def _list(url: str, *, as_json: bool) -> None:
    found: list[Raw] = []
    with open_producer(url) as client:
        path = f"/api/schedules?limit={PAGE}"
        while path:
            answer = ask(client, "GET", path)
            found += msgspec.json.decode(answer.content, type=list[Raw])
            path = answer.links.get("next", {}).get("url", "")
    if as_json:
        for each in found:
            click.echo(bytes(each).decode())
        return
    for line in table([msgspec.json.decode(each, type=ScheduleAnswer) for each in found]):
        click.echo(printable(line))


def _change(url: str, act: str, names: Sequence[str]) -> None:
    with open_producer(url) as client:
        for name in names:
            answer = ask(client, "POST", f"{_path(name)}/{act}", named=name, json={})
            schedule = msgspec.json.decode(answer.content, type=ScheduleAnswer)
            said = "paused" if schedule.paused else f"next {_moment(schedule.next_at)}"
            click.echo(printable(f"{schedule.name}  {said}"))


def _path(name: str) -> str:
    return f"/api/schedules/{quote(name, safe='')}"


def table(schedules: Sequence[ScheduleAnswer]) -> Iterator[str]:
    """A line for each."""
    rows = [("NAME", "WHEN", "TYPE", "NEXT", "LAST", "STATE")]
    rows += [
        (each.name, _when(each), each.type, _moment(each.next_at), _moment(each.last_at), _state(each))
        for each in schedules
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for row in rows:
        yield "  ".join([*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[5]]).rstrip()


def _when(schedule: ScheduleAnswer) -> str:
    if schedule.every is not None:
        return f"every {schedule.every:g} s"
    return f"{schedule.cron} {schedule.tz}"


def _state(schedule: ScheduleAnswer) -> str:
    return f"paused: {schedule.paused_why}" if schedule.paused else "active"


def _moment(moment: datetime | None) -> str:
    return "-" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
