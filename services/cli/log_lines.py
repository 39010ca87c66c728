"""Lines of a log as `workqueue up` shows them on a terminal: the time of day, who says it, what is said."""

import re
from datetime import datetime

from rich.table import Table
from rich.text import Text

from workqueue.services.logs import printable

STYLES = {"debug": "dim", "info": "", "warning": "yellow", "error": "bold red", "critical": "bold red"}
NAME_WIDTH = 9  #: of `workqueue`, the longest

#: What services/logs.py writes: `2026-11-20T09:30:00.123Z warning workqueue.services.health: Redis is away: ...`
_LINE = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (debug|info|warning|error|critical) ([\w.]+): (.*)", re.DOTALL
)


def for_people(line: str) -> tuple[str, str, str]:
    """The time of day on the clock on the wall, a style, and the text of a line of a service's log.

    Which module says it and the date are left out; a level above info stays as a word, for a terminal without colours.
    A line of another form (of a traceback, of a handler's print) is shown as it is, without a time.
    """
    found = _LINE.fullmatch(line)
    if found is None:
        return "", "dim" if line.startswith("  ") else "", printable(line)
    at, level, _, text = found.groups()
    shown = printable(text)
    return (
        f"{datetime.fromisoformat(at).astimezone():%H:%M:%S}",
        STYLES[level],
        shown if level == "info" else (f"{level}: {shown}"),
    )


def log_row(time: str, name: str, name_style: str, text: str, style: str) -> Table:
    """One line of the log, in columns: what is too long goes on below its own beginning."""
    row = Table.grid(padding=(0, 2, 0, 0))
    row.add_column(width=8, no_wrap=True)
    row.add_column(width=NAME_WIDTH, no_wrap=True)
    row.add_column(overflow="fold")
    row.add_row(Text(time, "dim"), Text(name, name_style), Text(text, style))
    return row
