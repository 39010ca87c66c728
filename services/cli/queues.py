"""`workqueue queues`: what is in each queue; pause, resume and purge one; over HTTP."""

from collections.abc import Callable, Iterator, Sequence

import click
import msgspec
from msgspec import Raw, Struct

from workqueue.services.cli.producer import ask, open_producer
from workqueue.services.logs import printable

URL = click.option("--url", metavar="URL", help="The producer.  [default: http://127.0.0.1 and PRODUCER_PORT]")


class QueueAnswer(Struct, frozen=True):
    """A queue as the producer shows it. Members may be missing: the producer may be of another release."""

    name: str
    waiting: int = 0
    scheduled: int = 0
    running: int = 0
    oldest_seconds: float | None = None
    paused: bool = False
    done_per_minute: int = 0
    failed_per_minute: int = 0


class _Purged(Struct, frozen=True):
    id: str
    matched: int = 0


def add_queue_commands(main: click.Group, default_url: Callable[[], str]) -> None:
    """Add them to the command `main`. `default_url`: the producer, where none is named."""

    @main.group(invoke_without_command=True)
    @click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
    @URL
    @click.pass_context
    def queues(context: click.Context, as_json: bool, url: str | None) -> None:
        """List, pause, resume and purge queues.

        OLDEST: how long the job that is next has been waiting. DONE and FAILED: in a minute.
        """
        context.obj = url
        if context.invoked_subcommand is None:
            _list(url or default_url(), as_json=as_json)

    @queues.command()
    @click.argument("names", metavar="QUEUE...", nargs=-1, required=True)
    @URL
    @click.pass_obj
    def pause(group_url: str | None, names: tuple[str, ...], url: str | None) -> None:
        """Claim no more jobs of these queues. What runs goes on, what comes waits."""
        _change(url or group_url or default_url(), "pause", names)

    @queues.command()
    @click.argument("names", metavar="QUEUE...", nargs=-1, required=True)
    @URL
    @click.pass_obj
    def resume(group_url: str | None, names: tuple[str, ...], url: str | None) -> None:
        """Claim jobs of paused queues again."""
        _change(url or group_url or default_url(), "resume", names)

    @queues.command()
    @click.argument("name", metavar="QUEUE")
    @click.option("--confirm", metavar="QUEUE", required=True, help="The name once more: it cannot be undone.")
    @URL
    @click.pass_obj
    def purge(group_url: str | None, name: str, confirm: str, url: str | None) -> None:
        """Cancel all jobs that wait in a queue, scheduled ones too.

        Workers do it; jobs that run go on. `workqueue retry` makes cancelled jobs wait again.
        """
        with open_producer(url or group_url or default_url()) as client:
            answer = ask(client, "POST", f"/api/queues/{name}/purge", json={"confirm": confirm})
        purged = msgspec.json.decode(answer.content, type=_Purged)
        click.echo(f"{purged.matched:,} jobs are being cancelled (action {purged.id})")


def _list(url: str, *, as_json: bool) -> None:
    with open_producer(url) as client:
        answer = ask(client, "GET", "/api/queues")
    if as_json:
        for each in msgspec.json.decode(answer.content, type=list[Raw]):
            click.echo(bytes(each).decode())
        return
    for line in table(msgspec.json.decode(answer.content, type=list[QueueAnswer])):
        click.echo(printable(line))


def _change(url: str, act: str, names: Sequence[str]) -> None:
    with open_producer(url) as client:
        for name in names:
            answer = ask(client, "POST", f"/api/queues/{name}/{act}", json={})
            queue = msgspec.json.decode(answer.content, type=QueueAnswer)
            click.echo(printable(f"{queue.name}  {'paused' if queue.paused else 'resumed'}"))


def table(queues: Sequence[QueueAnswer]) -> Iterator[str]:
    """A line for each."""
    width = max((len(each.name) for each in queues), default=0)
    yield f"{'QUEUE':{width}}  WAITING  SCHEDULED  RUNNING  OLDEST   DONE  FAILED"
    for each in queues:
        oldest = "-" if each.oldest_seconds is None else _age(each.oldest_seconds)
        line = (
            f"{each.name:{width}}  {each.waiting:7,}  {each.scheduled:9,}  {each.running:7,}  {oldest:>6}  "
            f"{each.done_per_minute:5,}  {each.failed_per_minute:6,}"
        )
        yield line + ("  paused" if each.paused else "")


def _age(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 100
        else f"{seconds / 60:.0f} min"
        if seconds < 6000
        else f"{seconds / 3600:.0f} h"
    )
