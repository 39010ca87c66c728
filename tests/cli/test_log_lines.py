"""Lines of a service's log, as a person sees them."""

import io
from datetime import datetime

import pytest
from rich.console import Console

from workqueue.services.cli.log_lines import for_people, log_row

AT = "2026-11-20T09:30:00.123Z"
HERE = f"{datetime.fromisoformat(AT).astimezone():%H:%M:%S}"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (f"{AT} info workqueue.services.health: Redis answers", (HERE, "", "Redis answers")),
        (f"{AT} warning core.queue: a: b", (HERE, "yellow", "warning: a: b")),
        (f"{AT} error x: failed", (HERE, "bold red", "error: failed")),
        ("  File x, line 1", ("", "dim", "  File x, line 1")),
        ("print() of a handler", ("", "", "print() of a handler")),
        ("\x1b[2Jgone", ("", "", "\\x1b[2Jgone")),
        (f"{AT} info x: \x1b[2Jgone", (HERE, "", "\\x1b[2Jgone")),
    ],
)
def test_a_line_is_its_time_its_level_where_it_matters_and_its_text(line, shown):
    assert for_people(line) == shown


def test_a_long_line_goes_on_below_its_own_beginning_and_nothing_in_it_is_markup():
    output = io.StringIO()
    Console(file=output, width=40).print(log_row("09:30:00", "worker", "red", "[bold]no markup[/] " + "word " * 6, ""))
    first, *rest = [line.rstrip() for line in output.getvalue().splitlines()]
    assert first == "09:30:00  worker     [bold]no markup[/]"
    assert rest
    assert all(line.startswith(" " * 21 + "word") for line in rest)
