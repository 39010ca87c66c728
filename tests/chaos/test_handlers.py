"""What the jobs of a chaos run leave in the ledger, in a process of their own."""

import subprocess
import sys

import pytest

from tests.cli.support import environ
from workqueue.services.chaos.ledger import Run, read_ledger

CODE = """
import json, sys
import trio
from workqueue import Job
from workqueue.services.chaos import handlers

name, payload, attempt = sys.argv[1:]
job, function = Job("id", name, json.loads(payload), int(attempt), 5), getattr(handlers, name)
try:
    if name == "thread":
        function(job)
    else:
        with trio.move_on_after(0.05):
            trio.run(function, job)
except RuntimeError as error:
    print(error)
"""
CANCELLED = CODE.replace(
    "with trio.move_on_after(0.05):\n            trio.run(function, job)",
    """async def run():
            with trio.move_on_after(0.05):
                await function(job)
        trio.run(run)""",
)


def run(folder, name: str, payload: str, attempt: int = 1) -> tuple[str, Run]:
    file = folder / "ledger"
    file.unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", CANCELLED, name, payload, str(attempt)],
        env=environ(WORKQUEUE_CHAOS_LEDGER=str(file)), capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    ledger = read_ledger(file.read_text("ascii").splitlines())
    assert ledger.faults == []
    [noted] = ledger.runs[7]
    return done.stdout.strip(), noted


@pytest.mark.parametrize(
    ("name", "payload", "how"),
    [
        ("quick", '{"n":7}', "end"),
        ("naps", '{"n":7,"seconds":0.001}', "end"),
        ("naps", '{"n":7,"seconds":60}', "cut"),
        ("thread", '{"n":7,"seconds":0.001}', "end"),
    ],
)
def test_each_run_notes_its_start_and_how_it_ended(tmp_path, name, payload, how):
    said, noted = run(tmp_path, name, payload)
    assert (said, noted.number, noted.how) == ("", 1, how)


def test_a_job_fails_as_often_as_its_payload_says(tmp_path):
    assert [run(tmp_path, "fails", '{"n":7,"failures":2}', attempt)[1].how for attempt in (1, 2, 3)] == [
        "fail", "fail", "end",
    ]  # fmt: skip
    assert run(tmp_path, "fails", '{"n":7,"failures":1}')[0] == "as asked"
