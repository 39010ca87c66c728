"""A line on a terminal that changes; nothing where standard error is no terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

Progress = Callable[[str], None]


@contextmanager
def open_progress(stream: TextIO | None = None) -> Iterator[Progress]:
    """Yields what shows a text in place of the one before; the line is empty again at the end."""
    stream = stream or sys.stderr
    if not stream.isatty():
        yield lambda text: None
        return

    def show(text: str) -> None:
        stream.write(f"\r\x1b[K{text}")
        stream.flush()

    try:
        yield show
    finally:
        show("")
