"""A status as one screen."""

import io
import re
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from msgspec.structs import replace
from rich.console import Console

from workqueue.services.cli.screen import open_screen, screen, show
from workqueue.services.cli.status import Failure, Health, Status, WorkerStatus

NOW = datetime(2026, 11, 20, 9, 30, 10, tzinfo=UTC)
WORKER = WorkerStatus(
    id=str(uuid4()), name="host.7", version="1.2.3", alive=True, running=3, concurrency=4, jobs_done=1200,
    jobs_failed=3, done_per_second=12.34, failed_per_second=0.05, uptime_seconds=75, seen_seconds_ago=2.5,
)  # fmt: skip
WELL = Status(
    ok=True, faults=[], url="http://127.0.0.1:8080", queue_name="q", version="1.2.3", redis=Health(True, 0.21),
    postgres=Health(True, 1.5), rows=True, waiting=1234, oldest_seconds=7300, scheduled=5, dead=2, running=3,
    concurrency=4, jobs_done=1200, jobs_failed=3, done_per_second=12.34, failed_per_second=0.05, workers=[WORKER],
    failures=[Failure(id="x", type="mail", error_message="no\nroute", finished_at=NOW - timedelta(seconds=70))],
)  # fmt: skip
AWAY = Status(ok=False, faults=["nothing answers: start it"], url="http://127.0.0.1:8080")


def drawn(status: Status, *, width: int = 80, lines: int | None = None, **options: object) -> str:
    output = io.StringIO()
    Console(file=output, width=width, **options).print(screen(status, NOW, lines=lines))  # type: ignore[arg-type]
    return "\n".join(line.rstrip() for line in output.getvalue().rstrip().split("\n"))


def test_a_screen_of_80_columns_has_all_of_it():
    assert (
        drawn(WELL)
        == """\
q  all is well
http://127.0.0.1:8080  version 1.2.3  09:30:10

waiting           1,234  the oldest was accepted 2h 1m ago
scheduled             5
running               3  of 4 slots
done              1,200  12.3 a second; by the workers that are alive now
failed                3  0.05 a second
dead letters          2  tasks that cannot run: `workqueue dead` lists them

Redis         ok  0.21 ms
Postgres      ok  1.50 ms

last failures
1m 10s ago  mail  no\\x0aroute

worker        running   done  per s  failed  per s      up     seen
host.7            3/4  1,200   12.3       3   0.05  1m 15s  2 s ago"""
    )


def test_what_is_not_known_is_a_question_mark_and_never_0():
    text = drawn(AWAY)
    assert "0" not in text.replace("127.0.0.1:8080", "").replace("09:30:10", "")
    for name in ("waiting", "scheduled", "running", "done", "failed", "dead letters", "Redis", "Postgres"):
        assert re.search(rf"^{name} +\?", text, re.MULTILINE), name
    assert "something is wrong" in text
    assert "!  nothing answers: start it" in text


def test_without_rows_postgres_is_not_used_and_that_is_no_fault():
    text = drawn(replace(WELL, postgres=None, rows=False, failures=None))
    assert "Postgres      not used" in text
    assert "all is well" in text


def test_text_from_elsewhere_is_no_markup_and_does_not_steer_the_terminal():
    evil = "[red]\x1b]0;title\x07"
    worker = replace(WORKER, name=evil)
    text = drawn(replace(AWAY, workers=[worker], faults=[evil], failures=[Failure(id="x", type=evil)]), width=200)
    assert "\x1b" not in text
    assert text.count("[red]\\x1b]0;title\\x07") == 3


def test_workers_that_do_not_fit_are_counted_and_lost_ones_come_first():
    workers = [replace(WORKER, name=f"w{number}", alive=number != 49) for number in range(50)]
    text = drawn(replace(WELL, workers=workers), lines=30)
    assert len(text.split("\n")) < 30
    shown = re.findall(r"^(w\d+)", text, re.MULTILINE)
    assert shown[:2] == ["w49", "w0"]
    assert f"and {50 - len(shown)} more" in text


def terminal(**environ: str) -> tuple[Console, io.StringIO]:
    output = io.StringIO()
    return Console(file=output, force_terminal=True, width=80, height=40, _environ={"TERM": "xterm"} | environ), output


def test_a_terminal_gets_colours_and_with_no_color_none():
    console, output = terminal()
    show(WELL, console)
    assert "\x1b[32m" in output.getvalue()
    console, output = terminal(NO_COLOR="1")
    show(WELL, console)
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", output.getvalue())


def test_a_terminal_is_drawn_again_in_place_and_the_last_one_stays():
    console, output = terminal()
    with open_screen(console) as draw:
        draw(WELL)
        draw(AWAY)
    assert "\x1b[1A" in output.getvalue(), "the cursor goes up"
    assert output.getvalue().rindex("nothing answers") > output.getvalue().rindex("all is well")
    assert output.getvalue().endswith("\x1b[?25h"), "the cursor is shown again"


@pytest.mark.parametrize("many", [False, True])
def test_a_pipe_gets_whole_lines_without_any_control_code(many):
    output = io.StringIO()
    console = Console(file=output, _environ={})
    status = replace(AWAY, faults=["word " * 60])
    if many:
        with open_screen(console) as draw:
            draw(status)
            draw(status)
    else:
        show(status, console)
    assert "\x1b" not in output.getvalue()
    assert output.getvalue().count("!  " + ("word " * 60).strip() + "\n") == (2 if many else 1)
    assert not [line for line in output.getvalue().split("\n") if line != line.rstrip()]
