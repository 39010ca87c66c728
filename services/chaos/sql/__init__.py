"""SQL statements that look at rows from outside, each a file with its contract in the header."""

from importlib.resources import files


def _load(name: str) -> str:
    return files(__name__).joinpath(f"{name}.sql").read_text("utf-8")


DUE_TIMES = _load("due_times")
MARKED = _load("marked")
PENDING = _load("pending")
PROCESSING = _load("processing")
ROWS = _load("rows")
UNSETTLED = _load("unsettled")
