"""A status as one screen, for people: what `workqueue status` prints, and draws again with --watch."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from workqueue.services.cli.status import CLAIM_NOTHING, Failure, Health, Status, WorkerStatus
from workqueue.services.logs import printable

UNKNOWN = "?"
ERROR_SHOWN_MAX = 200  #: characters
PIPE_WIDTH = 500  #: columns; what reads a pipe wants a sentence in one line

Show = Callable[[Status], None]


@contextmanager
def open_screen(console: Console | None = None) -> Iterator[Show]:
    """Yields what draws a status in place of the one before; the last one stays. In a pipe one follows the other."""
    console = console or Console(highlight=False)
    if not console.is_terminal:
        yield lambda status: _print(console, status)
        return
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        yield lambda status: live.update(screen(status, local_now(), lines=console.height), refresh=True)


def show(status: Status, console: Console | None = None) -> None:
    """Print it once. Without colours in a pipe, with NO_COLOR, and on a terminal that has none."""
    console = console or Console(highlight=False)
    if console.is_terminal:
        console.print(screen(status, local_now()))
    else:
        _print(console, status)


def _print(console: Console, status: Status) -> None:
    console.width = PIPE_WIDTH
    with console.capture() as drawn:
        console.print(screen(status, local_now()))
    text = "\n".join(line.rstrip() for line in drawn.get().rstrip().split("\n"))
    console.file.write(f"{text}\n")
    console.file.flush()


def screen(status: Status, now: datetime, *, lines: int | None = None) -> Group:
    """`now`: with a time zone, shown in it. `lines`: the terminal has so many; workers that do not fit are counted.

    Without colours it says the same: each state has its word.
    """
    parts: list[RenderableType] = [_title(status, now), "", _numbers(status), "", _servers(status)]
    if status.faults:
        parts += ["", *_rows((Text("!", "bold red"), _text(fault, "red")) for fault in status.faults)]
    if status.failures:
        parts += ["", _failures(status.failures, now)]
    if status.workers:
        used = 18 + 2 * len(status.faults) + len(status.failures or ())  # a fault takes two lines, as a rule
        parts += ["", _workers(status.workers, None if lines is None else max(1, lines - used))]
    return Group(*parts)


def _title(status: Status, now: datetime) -> Text:
    title = Text(status.queue_name or "queue " + UNKNOWN, "bold")
    title.append("  all is well" if status.ok else "  something is wrong", "green" if status.ok else "red")
    title.append(f"\n{status.url}  version {status.version or UNKNOWN}  {now:%H:%M:%S}", "dim not bold")
    return title


def _numbers(status: Status) -> Table:
    oldest = "" if status.waiting == 0 else f"the oldest was accepted {_ago(status.oldest_seconds)}"
    done = f"{_rate(status.done_per_second)}; by the workers that are alive now"
    kinds = "failed jobs and invalid tasks" if status.rows is False else "tasks that cannot run"
    letters = f"{kinds}: `workqueue dead` lists them"
    rows = [
        ("waiting", status.waiting, oldest, ""),
        ("scheduled", status.scheduled, "", ""),
        ("running", status.running, f"of {_count(status.concurrency)} slots", ""),
        ("done", status.jobs_done, done, ""),
        ("failed", status.jobs_failed, _rate(status.failed_per_second), "yellow" if status.jobs_failed else ""),
        ("dead letters", status.dead, letters if status.dead else "", "yellow" if status.dead else ""),
    ]
    table = Table.grid(padding=(0, 2))
    table.add_column(min_width=12)
    table.add_column(justify="right", min_width=9)
    table.add_column()
    for name, value, note, style in rows:
        table.add_row(name, Text(_count(value), style or "bold"), Text(note, "dim"))
    return table


def _servers(status: Status) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(min_width=12)
    table.add_column()
    table.add_row("Redis", _health(status.redis))
    table.add_row("Postgres", Text("not used: jobs live in Redis alone", "dim") if status.rows is False else
                  _health(status.postgres))  # fmt: skip
    return table


def _health(health: Health | None) -> Text:
    if health is None:
        return Text(UNKNOWN)
    if not health.ok:
        return Text("wrong", "bold red")
    return Text.assemble(("ok", "green"), ("" if health.ms is None else f"  {health.ms:.2f} ms", "dim"))


def _workers(workers: list[WorkerStatus], shown_max: int | None) -> Group:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("worker", overflow="ellipsis", no_wrap=True, min_width=12, max_width=40)
    for name in ("running", "done", "per s", "failed", "per s", "up", "seen"):
        table.add_column(name, justify="right", no_wrap=True)
    in_order = sorted(workers, key=lambda worker: worker.alive)  # the lost ones first
    for worker in in_order[:shown_max]:
        table.add_row(
            _text(worker.name if worker.state not in CLAIM_NOTHING else f"{worker.name} {worker.state}"),
            f"{_count(worker.running)}/{worker.concurrency:,}",
            f"{worker.jobs_done:,}",
            _per_second(worker.done_per_second),
            f"{worker.jobs_failed:,}",
            _per_second(worker.failed_per_second),
            duration(worker.uptime_seconds),
            f"{duration(worker.seen_seconds_ago)} ago",
            style=None if worker.alive else "red",
        )
    left = len(workers) - len(in_order[:shown_max])
    return Group(table, Text(f"and {left:,} more", "dim")) if left else Group(table)


def _failures(failures: list[Failure], now: datetime) -> Group:
    def cells() -> Iterable[tuple[Text, Text]]:
        for failure in failures:
            at = failure.finished_at
            ago = UNKNOWN if at is None else f"{duration(max(0.0, (now - at).total_seconds()))} ago"
            error = (failure.error_message or UNKNOWN)[:ERROR_SHOWN_MAX]
            yield Text(ago, "dim"), _text(f"{failure.type}  {error}")

    table = _grid(cells())
    return Group(Text("last failures", "dim"), table)


def _rows(cells: Iterable[tuple[Text, Text]]) -> list[Table]:
    return [_grid([row]) for row in cells]


def _grid(cells: Iterable[tuple[Text, Text]]) -> Table:
    """Two columns; what is too long goes on below its own beginning."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, justify="right")
    table.add_column(overflow="fold")
    for row in cells:
        table.add_row(*row)
    return table


def _text(text: str, style: str = "") -> Text:
    """What comes from elsewhere: nothing of it steers the terminal, or is markup."""
    return Text(printable(text), style)


def _count(value: int | None) -> str:
    return UNKNOWN if value is None else f"{value:,}"


def _per_second(value: float | None) -> str:
    if value is None:
        return UNKNOWN
    return f"{value:,.0f}" if value >= 100 or value == 0 else f"{value:,.1f}" if value >= 0.1 else f"{value:.2g}"


def _rate(value: float | None) -> str:
    return f"{_per_second(value)} a second"


def _ago(value: float | None) -> str:
    return UNKNOWN if value is None else f"{duration(value)} ago"


def duration(seconds: float) -> str:
    """0.4 -> 0 s, 75 -> 1m 15s, 7300 -> 2h 1m."""
    whole = int(max(0.0, seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60}s"
    if whole < 86_400:
        return f"{whole // 3600}h {whole % 3600 // 60}m"
    return f"{whole // 86_400}d {whole % 86_400 // 3600}h"


def local_now() -> datetime:
    """The time as the clock on the wall has it."""
    return datetime.now(UTC).astimezone()
