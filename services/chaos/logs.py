"""The logs of the processes of a run: a bug in them fails the run, even where no job was lost. Pure."""

import re
from collections.abc import Iterator

#: A record of services/logs.py begins like this; what follows belongs to it.
_BEGIN = re.compile(r"^\d{4}-\d\d-\d\dT[\d:.]+Z (?P<level>\w+) (?P<logger>[\w.]+): ")
_BUGS = ("met a bug", "crashed", "no progress in")
#: Where handlers fail, as they are asked to: the traceback is theirs, to its last line.
_HANDLERS = "workqueue.services.worker.running.failure_log"
_LAST_LINE = "RuntimeError: as asked"
SHOWN_LENGTH = 3000


def bugs(log: str) -> list[str]:
    """The records that show a bug of ours: a traceback that is no handler's, or one of certain texts."""
    return [record[:SHOWN_LENGTH] for record in _records(log) if _is_bug(record)]


def _records(log: str) -> Iterator[str]:
    lines: list[str] = []
    for line in log.splitlines():
        if _BEGIN.match(line) and lines:
            yield "\n".join(lines)
            lines = []
        lines.append(line)
        if (
            line == _LAST_LINE
        ):  # what a dying process says after it is no record of its own, but not the handler's either
            yield "\n".join(lines)
            lines = []
    if lines:
        yield "\n".join(lines)


def _is_bug(record: str) -> bool:
    head = _BEGIN.match(record)
    if head is not None and head["logger"] == _HANDLERS:
        return False
    return "Traceback (most recent call last)" in record or any(word in record for word in _BUGS)
