"""`workqueue dead`: dead letters on the command line, over HTTP."""

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click
import httpx
import msgspec
from msgspec import Raw, Struct

from workqueue.core.dead_letter import is_dead_letter_id
from workqueue.services.cli.producer import ask, open_producer
from workqueue.services.logs import printable

PAGE_MAX = 500  #: of GET /api/dead
IDS_MAX = 100  #: of one request: of so many each that stays is named
ID_WIDTH, AT_WIDTH, TYPE_WIDTH = 16, 20, 20

#: Act -> method, path, what an entry is afterwards.
ACTS: Mapping[str, tuple[str, str, str]] = {
    "retry": ("POST", "/api/dead/retry", "retried"),
    "delete": ("DELETE", "/api/dead", "deleted"),
}


class Listed(Struct, frozen=True):
    """What is read of an entry of GET /api/dead."""

    id: str
    at: datetime | None = None
    reason: str | None = None
    type: str | None = None


class Stays(Struct, frozen=True):
    """An entry that could not be retried, and why."""

    id: str
    why: str


class Answer(Struct, frozen=True):
    """Of both acts. Members may be missing: the producer may be of another release."""

    retried: int = 0
    deleted: int = 0
    kept: int = 0
    reasons: list[Stays] = []
    missing: list[str] = []
    left: int = 0


def check_ids(ids: Sequence[str]) -> None:
    """Raise click.BadParameter for what is no id of a dead letter."""
    for dead_id in ids:
        if not is_dead_letter_id(dead_id):
            raise click.BadParameter(f"ID: {printable(dead_id)!r} is none; `workqueue dead` lists them.")


def list_dead_letters(url: str, limit: int, *, as_json: bool) -> None:
    """Print the newest `limit`: a table, or each as one line of JSON. Raises NoAnswer."""
    shown, total = 0, 0
    with open_producer(url) as client:
        path = f"/api/dead?limit={min(limit, PAGE_MAX)}"
        while path and shown < limit:
            response = ask(client, "GET", path)
            total = int(response.headers.get("X-Total-Count", 0))
            entries = msgspec.json.decode(response.content, type=list[Raw])[: limit - shown]
            for line in map(_json_line, entries) if as_json else _table(entries, with_head=not shown):
                click.echo(line)
            shown += len(entries)
            path = response.links.get("next", {}).get("url", "")
    if not as_json and not total:
        click.echo("there are no dead letters")
    elif not as_json and shown < total:
        click.echo(f"the newest {shown:,} of {total:,}: --limit shows more", err=True)


def show_dead_letter(url: str, dead_id: str) -> None:
    """Print one with its whole task, as JSON. Raises NoAnswer, also where there is none with this id."""
    with open_producer(url) as client:
        response = ask(client, "GET", f"/api/dead/{dead_id}", named=dead_id)
    click.echo(msgspec.json.format(response.content, indent=2).decode())


def act_on_ids(url: str, act: str, ids: Sequence[str]) -> bool:
    """Do `act` to these and say what became of each; True: it was done to all. Raises NoAnswer.

    Interrupted: what was asked last may be done.
    """
    all_done = True
    with open_producer(url) as client:
        for begin in range(0, len(ids), IDS_MAX):
            some = list(dict.fromkeys(ids[begin : begin + IDS_MAX]))
            answer = _act(client, act, {"ids": some})
            stays = {stays.id for stays in answer.reasons} | set(answer.missing)
            for dead_id in [] if answer.left else some:  # else it is not known which were come to
                if dead_id not in stays:
                    click.echo(f"{dead_id}  {ACTS[act][2]}")
            all_done = _say_what_stays(answer) and all_done
    return all_done


def act_on_all(url: str, act: str, *, asks: bool) -> bool:
    """Do `act` to every one and say to how many it was done; True: to all. Raises NoAnswer.

    `asks`: name how many there are and ask first; click.Abort is raised where the answer is no.
    """
    with open_producer(url) as client:
        if asks:
            total = int(ask(client, "GET", "/api/dead?limit=1").headers.get("X-Total-Count", 0))
            click.confirm(f"{act.capitalize()} {total:,} dead letters?", abort=True)
        answer = _act(client, act, {"all": True})
    click.echo(f"{answer.retried + answer.deleted:,} {ACTS[act][2]}")
    return _say_what_stays(answer)


def _act(client: httpx.Client, act: str, choice: dict[str, Any]) -> Answer:
    method, path, _ = ACTS[act]
    return msgspec.json.decode(ask(client, method, path, json=choice).content, type=Answer)


def _say_what_stays(answer: Answer) -> bool:
    """On standard error; True: nothing does."""
    faults = [f"{stays.id}  {stays.why}" for stays in answer.reasons]
    if (more := answer.kept - len(answer.reasons)) > 0:
        faults.append(f"{more:,} more cannot be retried either, and stay")
    faults += [f"{missing}  dead letter not found" for missing in answer.missing]
    if answer.left:
        faults.append(f"{answer.left:,} were not come to in time: repeat the command")
    for fault in faults:
        click.echo(printable(fault), err=True)
    return not faults


def _json_line(entry: Raw) -> str:
    return bytes(entry).decode()


def _table(entries: Sequence[Raw], *, with_head: bool) -> Iterator[str]:
    """A line for each; on a terminal as long as it is wide, elsewhere whole."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    if with_head and entries:
        yield _line("ID", "AT", "TYPE", "REASON", width)
    for entry in entries:
        letter = msgspec.json.decode(entry, type=Listed)
        at = "-" if letter.at is None else f"{letter.at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        reason = "no entry of ours: another program has put it there" if letter.reason is None else letter.reason
        yield _line(letter.id, at, letter.type or "-", reason, width)


def _line(named: str, at: str, job_type: str, reason: str, width: int | None) -> str:
    line = printable(f"{named:{ID_WIDTH}}  {at:{AT_WIDTH}}  {job_type:{TYPE_WIDTH}}  {reason}")
    return line if width is None or len(line) <= width else line[: width - 1] + "…"
