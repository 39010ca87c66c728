"""`workqueue schedules`, against a real producer."""

import json
import re
from datetime import UTC, datetime
from uuid import UUID

from tests.cli.test_pauses import run
from workqueue.core.schedules import make_schedule
from workqueue.core.steps.schedules import DeclareSchedules
from workqueue.core.store import JobStore
from workqueue.services.cli.schedules import ScheduleAnswer, table

MOMENT = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"


async def test_schedules_are_added_listed_paused_resumed_run_and_deleted(url: str, store: JobStore):
    done = await run("schedules", "--url", url)
    assert (done.returncode, done.stdout.split()) == (0, ["NAME", "WHEN", "TYPE", "NEXT", "LAST", "STATE"])
    done = await run(
        "schedules", "add", "nightly ü", "--cron", "30 2 * * *", "--tz", "Europe/Berlin", "--type", "report",
        "--payload", '{"a": 1}', "--missed", "all", "--overlap", "wait", "--jitter", "5", "--retries", "2",
        "--queue", "mail", "--timeout", "60", "--expires-in", "600", "--url", url,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(rf"nightly ü  next {MOMENT}\n", done.stdout)
    done = await run("schedules", "add", "often", "--every", "1800", "--type", "x", "--url", url)
    assert done.returncode == 0, done.stderr
    done = await run("schedules", "--json", "--url", url)
    nightly, often = [json.loads(line) for line in done.stdout.splitlines()]
    chosen = {
        "name": "nightly ü", "cron": "30 2 * * *", "tz": "Europe/Berlin", "type": "report", "payload": {"a": 1},
        "missed": "all", "overlap": "wait", "jitter": 5, "retries": 2, "queue": "mail", "timeout": 60,
        "expires_in": 600,
    }  # fmt: skip
    assert {name: nightly[name] for name in chosen} == chosen
    assert (often["every"], often["payload"]) == (1800, {})
    done = await run("schedules", "pause", "nightly ü", "often", "--url", url)
    assert (done.returncode, done.stdout) == (0, "nightly ü  paused\noften  paused\n")
    done = await run("schedules", "resume", "often", "--url", url)
    assert re.fullmatch(rf"often  next {MOMENT}\n", done.stdout)
    done = await run("schedules", "run-now", "often", "--url", url)
    job = await store.get(UUID(done.stdout.strip()))
    assert job is not None
    assert job.schedule == "often"
    done = await run("schedules", "--url", url)
    _, first, second = done.stdout.splitlines()
    assert re.fullmatch(r"nightly ü +30 2 \* \* \* Europe/Berlin +report +- +- +paused: by a person", first)
    assert re.fullmatch(rf"often +every 1800 s +x +{MOMENT} +{MOMENT} +active", second)
    done = await run("schedules", "delete", "nightly ü", "often", "--url", url)
    assert (done.returncode, done.stdout) == (0, "nightly ü  deleted\noften  deleted\n")


async def test_what_is_wrong_is_one_line(url: str, store: JobStore, queue_name: str):
    done = await run("schedules", "add", "s", "--cron", "x", "--type", "x", "--url", url)
    assert (done.returncode, done.stderr) == (1, "workqueue: cron is not valid (400)\n")
    done = await run("schedules", "add", "s", "--every", "60", "--type", "x", "--payload", "{", "--url", url)
    assert (done.returncode, "--payload: no JSON" in done.stderr) == (2, True)
    done = await run("schedules", "pause", "s", "--url", url)
    assert (done.returncode, done.stderr) == (1, "workqueue: s  schedule not found (404)\n")
    schedules = [make_schedule("s", {"every": 60, "type": "x"})]
    await DeclareSchedules(queue_name, store.schedules, schedules).run_once()
    done = await run("schedules", "delete", "s", "--url", url)
    assert done.stderr == "workqueue: s  the code declares this schedule: change it there (409)\n"


def test_the_table():
    at = datetime(2026, 6, 1, 12, tzinfo=UTC)
    answers = [
        ScheduleAnswer("a", cron="* * * * *", type="x", next_at=at),
        ScheduleAnswer("longer", every=0.5, type="y", paused=True, paused_why="gone from the code", last_at=at),
    ]
    assert list(table(answers)) == [
        "NAME    WHEN           TYPE  NEXT                 LAST                 STATE",
        "a       * * * * * UTC  x     2026-06-01 12:00:00  -                    active",
        "longer  every 0.5 s    y     -                    2026-06-01 12:00:00  paused: gone from the code",
    ]
