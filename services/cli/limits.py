"""`workqueue limits`: how many jobs of a type or a group run at once, or start in a time; over HTTP."""

from collections.abc import Callable, Iterator, Sequence
from urllib.parse import quote

import click
import msgspec
from msgspec import Raw, Struct

from workqueue.core.errors import InvalidOption
from workqueue.core.limits import read_rate
from workqueue.services.cli.producer import ask, open_producer
from workqueue.services.logs import printable

JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
URL = click.option("--url", metavar="URL", help="The producer.  [default: http://127.0.0.1 and PRODUCER_PORT]")


class LimitAnswer(Struct, frozen=True):
    """A limit as the producer shows it. Members may be missing: the producer may be of another release."""

    scope: str
    running: int | None = None
    rate: int | None = None
    per_seconds: float | None = None
    declared: bool = False


def add_limit_commands(main: click.Group, default_url: Callable[[], str]) -> None:
    """Add them to the command `main`. `default_url`: the producer, where none is named."""

    @main.group(invoke_without_command=True)
    @JSON
    @URL
    @click.pass_context
    def limits(context: click.Context, as_json: bool, url: str | None) -> None:
        """List, set and delete limits.

        SCOPE is type:X, group:X, or groups: each group without a limit of its own. RUNNING: so many jobs at once. RATE:
        so many starts in any time of this length. BY: a person, or the code of the workers, which a person's limit goes
        before.
        """
        context.obj = url
        if context.invoked_subcommand is None:
            _list(url or default_url(), as_json=as_json)

    @limits.command("list")
    @JSON
    @URL
    @click.pass_obj
    def list_(group_url: str | None, as_json: bool, url: str | None) -> None:
        """List all limits, as `workqueue limits` does."""
        _list(url or group_url or default_url(), as_json=as_json)

    @limits.command("set")
    @click.argument("scope", metavar="SCOPE")
    @click.option("--running", type=int, metavar="N", help="So many jobs at once, on all workers together.")
    @click.option("--rate", metavar="N/TIME", help="So many starts in any time of this length: 100/60s, 5/m, 1000/h.")
    @URL
    @click.pass_obj
    def set_(group_url: str | None, scope: str, running: int | None, rate: str | None, url: str | None) -> None:
        """Give SCOPE this limit, instead of the one that it has. It holds within a second.

        SCOPE: type:X, group:X, or groups: each group without a limit of its own. What is not named is not limited.
        """
        body: dict[str, object] = {} if running is None else {"running": running}
        if rate is not None:
            body |= _rate(rate)
        if not body:
            raise click.UsageError("Missing option '--running' or '--rate'.")
        with open_producer(url or group_url or default_url()) as client:
            answer = ask(client, "PUT", _path(scope), json=body)
        limit = msgspec.json.decode(answer.content, type=LimitAnswer)
        said = [f"at most {limit.running:,} at once"] if limit.running is not None else []
        said += [f"at most {_rate_text(limit)}"] if limit.rate is not None else []
        click.echo(printable(f"{limit.scope}  {', '.join(said)}"))

    @limits.command()
    @click.argument("scopes", metavar="SCOPE...", nargs=-1, required=True)
    @URL
    @click.pass_obj
    def delete(group_url: str | None, scopes: tuple[str, ...], url: str | None) -> None:
        """Delete limits. One that the code of the workers declares holds again."""
        with open_producer(url or group_url or default_url()) as client:
            for scope in scopes:
                ask(client, "DELETE", _path(scope), named=scope, json={})
                click.echo(printable(f"{scope}  deleted"))


def _list(url: str, *, as_json: bool) -> None:
    with open_producer(url) as client:
        answer = ask(client, "GET", "/api/limits")
    if as_json:
        for each in msgspec.json.decode(answer.content, type=list[Raw]):
            click.echo(bytes(each).decode())
        return
    for line in table(msgspec.json.decode(answer.content, type=list[LimitAnswer])):
        click.echo(printable(line))


def _path(scope: str) -> str:
    return f"/api/limits/{quote(scope, safe='')}"


def _rate(text: str) -> dict[str, object]:
    """What --rate says, as members of a request. Raises click.BadParameter."""
    try:
        rate, per_seconds = read_rate(text)
    except InvalidOption:
        raise click.BadParameter("--rate: a number and a time, such as 100/60s, 5/m or 1000/h") from None
    return {"rate": rate, "per_seconds": per_seconds}


def table(limits: Sequence[LimitAnswer]) -> Iterator[str]:
    """A line for each."""
    rows = [("SCOPE", "RUNNING", "RATE", "BY")]
    rows += [
        (
            each.scope,
            "-" if each.running is None else f"{each.running:,}",
            "-" if each.rate is None else _rate_text(each),
            "code" if each.declared else "person",
        )
        for each in limits
    ]
    widths = [max(len(row[at]) for row in rows) for at in range(3)]
    for scope, running, rate, by in rows:
        yield f"{scope:{widths[0]}}  {running:>{widths[1]}}  {rate:>{widths[2]}}  {by}"


def _rate_text(limit: LimitAnswer) -> str:
    """As --rate takes it."""
    seconds = f"{limit.per_seconds or 1.0:.6f}".rstrip("0").rstrip(".")
    return f"{limit.rate}/{seconds}s"
