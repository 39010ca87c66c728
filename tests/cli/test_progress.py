"""A line on a terminal that changes."""

import io

from workqueue.services.cli.progress import open_progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_each_text_in_place_of_the_one_before_and_an_empty_line_at_the_end():
    terminal = Terminal()
    with open_progress(terminal) as progress:
        progress("1 of 2")
        progress("2 of 2")
    assert terminal.getvalue().split("\r\x1b[K") == ["", "1 of 2", "2 of 2", ""]


def test_a_file_shows_nothing():
    file = io.StringIO()
    with open_progress(file) as progress:
        progress("1 of 2")
    assert file.getvalue() == ""
