"""`workqueue check`: what it shows of a project, and which faults it finds without any server."""

import os
from pathlib import Path

import pytest

from tests.cli.support import workqueue

SHOP = """
import msgspec

from workqueue import Job, every, handler, periodic


class Invoice(msgspec.Struct):
    order: int


@periodic("30 2 * * *", tz="Europe/Berlin", payload={"order": %s}, name="nightly")
@handler("invoice", timeout=30, running=3, rate="100/60s")
async def invoice(job: Job[Invoice]) -> None: ...


@periodic(every(minutes=5))
@handler("tidy up")
def tidy(job: Job) -> None: ...
"""


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs it in a folder with this module."""
    root = os.getcwd()
    monkeypatch.chdir(tmp_path)

    def check(module: str, *arguments: str, **variables: str) -> tuple[int, str, str]:
        (tmp_path / "shop.py").write_text(module)
        done = workqueue("check", *arguments, PYTHONPATH=root, **variables)
        return done.returncode, done.stdout, done.stderr

    return check


def test_it_shows_what_a_worker_would_run(check):
    status, said, errors = check(SHOP % "7", "--handlers", "shop", DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    lines = said.splitlines()
    assert (status, errors) == (0, "")
    assert lines[:3] == ["handlers: 2", "  invoice  trio, timeout 30 s, payload Invoice", "  tidy up  thread"]
    assert lines[3] == "schedules: 2"
    assert lines[4].startswith("  nightly  30 2 * * * Europe/Berlin, next 20")
    assert lines[4].endswith(":00 +0100, invoice") or lines[4].endswith(":00 +0200, invoice")
    assert " 02:30:00 " in lines[4]
    assert lines[5].startswith("  tidy up  every 300 s, next 20")
    assert lines[6:] == ["limits: 1", "  type:invoice  3 at once, 100 in 60 s", "good: workqueue:jobs, with rows"]


def test_the_runtime_of_coroutine_functions_is_a_setting(check):
    said = check(SHOP % "7", "--handlers", "shop", WORKER_RUNTIME="asyncio")[1].splitlines()
    assert said[1:3] == ["  invoice  asyncio, timeout 30 s, payload Invoice", "  tidy up  thread"]


def test_a_project_without_handlers_is_good(check):
    assert check("")[:2] == (0, "handlers: 0\ngood: workqueue:jobs, without rows: DATABASE_URL is not set\n")


@pytest.mark.parametrize(
    ("module", "variables", "fault"),
    [
        (SHOP % '"seven"', {}, "schedule nightly: its payload.order: Expected `int`, got `str`"),
        ("import nothing_like_it", {}, "cannot import shop"),
        (SHOP.replace("30 2", "90 2") % "7", {}, "cron is not valid"),
        ("def", {}, "invalid syntax"),
        ("", {"WORKER_CONCURRENCY": "many"}, "WORKER_CONCURRENCY='many'"),
        ("", {"WORKER_RUNTIME": "gevent"}, "WORKER_RUNTIME='gevent': must be one of trio, asyncio"),
    ],
)
def test_each_fault_is_a_line_and_no_traceback(check, module, variables, fault):
    status, said, errors = check(module, WORKER_HANDLERS="shop", **variables)
    assert (status, said) == (2, "")
    [line] = errors.splitlines()
    assert fault in line


def test_a_module_that_is_not_there_is_named(check):
    status, _, errors = check("", "--handlers", "shoop")
    assert (status, "there is no shoop.py" in errors) == (2, True)
