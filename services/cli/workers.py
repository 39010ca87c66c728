"""`workqueue workers`: which workers there are and were, and asking one to be quiet, to resume, to stop; over HTTP."""

import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import click
import msgspec
from msgspec import Raw, Struct

from workqueue.services.cli.producer import ask, open_producer, refusal
from workqueue.services.logs import printable

ID_LENGTH_MIN = 8  #: characters of an id that are shown
NAME_WIDTH_MAX = 30

#: Act -> what a worker is asked to do, and its own word for it once it does.
ACTS = {"quiet": ("be quiet", "quiet"), "resume": ("resume", "working"), "stop": ("stop", "stopping")}


class Became(Struct, frozen=True):
    """What became of the jobs of a worker that is gone."""

    given_back: int = 0
    failed: int = 0
    cancelled: int = 0


class Worker(Struct, frozen=True, kw_only=True):
    """What is read of a worker. Members may be missing: the producer may be of another release."""

    id: str
    name: str = ""
    version: str = ""
    state: str = ""
    asked: str | None = None
    concurrency: int = 0
    running: list[Any] = []
    jobs_done: int = 0
    jobs_failed: int = 0
    seen_seconds_ago: float = 0.0
    became: Became | None = None


def list_workers(url: str, *, as_json: bool) -> None:
    """Print them: a table, or each as one line of JSON. Raises NoAnswer and NotAllowed."""
    with open_producer(url) as client:
        answer = ask(client, "GET", "/api/workers")
        if as_json:
            for each in msgspec.json.decode(answer.content, type=list[Raw]):
                click.echo(bytes(each).decode())
            return
        workers = msgspec.json.decode(answer.content, type=list[Worker])
    if not workers:
        click.echo("there are no workers: start one with `workqueue worker`")
    for line in table(workers):
        click.echo(line)


def ask_workers(url: str, act: str, prefixes: Sequence[str]) -> bool:
    """Ask each worker whose id begins so, and say what it does; True: all were asked. Raises NoAnswer and NotAllowed.

    Interrupted: what was asked last may be done.
    """
    all_asked = True
    with open_producer(url) as client:
        workers = msgspec.json.decode(ask(client, "GET", "/api/workers").content, type=list[Worker])
        for prefix in prefixes:
            found = [each for each in workers if each.became is None and each.id.startswith(prefix.lower())]
            if len(found) != 1 or not prefix:
                all_asked = False
                why = f"{len(found)} workers have ids that begin so" if found else "worker not found"
                click.echo(printable(f"{prefix}  {why}"), err=True)
                continue
            answer = client.post(f"/api/workers/{found[0].id}/{act}", json={})
            if answer.is_success:
                worker = msgspec.json.decode(answer.content, type=Worker)
                verb, state = ACTS[act]
                said = f"is {state}" if worker.state == state else f"is asked to {verb}"
                click.echo(printable(f"{worker.id}  {worker.name}  {said}"))
            else:
                all_asked = False
                click.echo(printable(f"{found[0].id}  {refusal(answer)}"), err=True)
    return all_asked


def table(workers: Sequence[Worker]) -> Iterator[str]:
    """A line for each, on a terminal as long as it is wide; of their ids as much as tells them apart."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    length = _telling_apart([worker.id for worker in workers])
    names = min(NAME_WIDTH_MAX, max((len(printable(worker.name)) for worker in workers), default=0))
    rows = [("ID", "NAME", "STATE", "VERSION", "RUNNING", "DONE", "FAILED", "SEEN", "")] if workers else []
    rows += [
        (
            worker.id[:length],
            printable(worker.name),
            worker.state,
            worker.version,
            "-" if worker.became else f"{len(worker.running)}/{worker.concurrency}",
            f"{worker.jobs_done:,}",
            f"{worker.jobs_failed:,}",
            _ago(worker.seen_seconds_ago),
            _news(worker),
        )
        for worker in workers
    ]
    for own_id, name, state, version, running, done, failed, seen, news in rows:
        columns = f"{state:9}  {version:7}  {running:>7}  {done:>8}  {failed:>6}  {seen:>6}  {news}"
        line = printable(f"{own_id:{length}}  {name:{names}}  {columns}").rstrip()
        yield line if width is None or len(line) <= width else line[: width - 1] + "…"


def _telling_apart(ids: Sequence[str]) -> int:
    longest = max(map(len, ids), default=ID_LENGTH_MIN)
    return next(
        (length for length in range(ID_LENGTH_MIN, longest) if len({each[:length] for each in ids}) == len(ids)),
        longest,
    )


def _ago(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _news(worker: Worker) -> str:
    """What it was asked to do, and does not yet; of one that is gone, what became of the jobs that it had."""
    if (became := worker.became) is None:
        return f"asked to {ACTS[worker.asked][0]}" if worker.asked in ACTS else ""
    counts = ((became.given_back, "given back"), (became.failed, "failed"), (became.cancelled, "cancelled"))
    return ", ".join(f"{count:,} {word}" for count, word in counts if count) or "had no jobs left"
