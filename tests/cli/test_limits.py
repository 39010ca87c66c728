"""`workqueue limits`, against a real producer."""

import json

from tests.cli.test_pauses import run
from workqueue.core.limits import Limit, Limits, read_rate
from workqueue.core.store import JobStore
from workqueue.services.cli.limits import LimitAnswer, table


async def test_limits_are_set_listed_and_deleted(url: str, store: JobStore, queue_name: str):
    done = await run("limits", "--url", url)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["SCOPE", "RUNNING", "RATE", "BY"], "")
    done = await run("limits", "set", "type:mail/send", "--running", "10", "--rate", "100/60s", "--url", url)
    assert (done.returncode, done.stdout) == (0, "type:mail/send  at most 10 at once, at most 100/60s\n")
    done = await run("limits", "--url", url, "set", "group:ü?7#", "--rate", "5/m")
    assert (done.returncode, done.stdout) == (0, "group:ü?7#  at most 5/60s\n")
    done = await run("limits", "set", "groups", "--running", "1", "--url", url)
    assert (done.returncode, done.stdout) == (0, "groups  at most 1 at once\n")
    of = {"type:mail/send": Limit(10, 100, 60.0), "group:ü?7#": Limit(None, 5, 60.0), "groups": Limit(running=1)}
    assert await store.limits.read(queue_name) == Limits(3, of)
    done = await run("limits", "list", "--url", url)
    assert [line.split()[-3:] for line in done.stdout.splitlines()[1:]] == [
        ["-", "5/60s", "person"], ["1", "-", "person"], ["10", "100/60s", "person"],
    ]  # fmt: skip
    for command in (("limits", "--json"), ("limits", "list", "--json")):
        done = await run(*command, "--url", url)
        assert [json.loads(line)["scope"] for line in done.stdout.splitlines()] == sorted(of)
    done = await run("limits", "delete", "groups", "type:mail/send", "--url", url)
    assert (done.returncode, done.stdout) == (0, "groups  deleted\ntype:mail/send  deleted\n")
    assert list((await store.limits.read(queue_name)).of) == ["group:ü?7#"]


async def test_what_is_wrong_is_one_line(url: str):
    done = await run("limits", "set", "type:x", "--running", "0", "--url", url)
    assert (done.returncode, done.stderr) == (1, "workqueue: running is not valid (400)\n")
    done = await run("limits", "set", "x", "--running", "1", "--url", url)
    assert (done.returncode, done.stderr) == (1, "workqueue: scope is not valid (400)\n")
    done = await run("limits", "delete", "type:x", "--url", url)
    assert (done.returncode, done.stderr) == (1, "workqueue: type:x  no limit (404)\n")
    done = await run("limits", "set", "type:x", "--url", url)
    assert (done.returncode, "Missing option '--running' or '--rate'." in done.stderr) == (2, True)
    for rate in ("100", "100/60", "0/s", "a/s"):
        done = await run("limits", "set", "type:x", "--rate", rate, "--url", url)
        assert (done.returncode, "--rate: a number and a time, such as 100/60s" in done.stderr) == (2, True)


def test_the_table_is_read_by_people_and_its_rates_by_the_command():
    answers = [
        LimitAnswer("groups", running=1),
        LimitAnswer("type:x", 1_000_000, 1_000_000, 31_536_000.0, declared=True),
        LimitAnswer("type:y", rate=1, per_seconds=0.001),
    ]
    assert list(table(answers)) == [
        "SCOPE     RUNNING               RATE  BY",
        "groups          1                  -  person",
        "type:x  1,000,000  1000000/31536000s  code",
        "type:y          -           1/0.001s  person",
    ]
    assert read_rate("1000000/31536000s") == (1_000_000, 31_536_000.0)
    assert read_rate("1/0.001s") == (1, 0.001)
    assert list(table([])) == ["SCOPE  RUNNING  RATE  BY"]
