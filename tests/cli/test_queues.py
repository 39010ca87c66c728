"""`workqueue queues`, against a real producer."""

import json

from tests.cli.test_pauses import run
from workqueue.core.store import JobStore
from workqueue.services.cli.queues import QueueAnswer, table


async def test_queues_are_listed_paused_resumed_and_purged(url: str, store: JobStore):
    done = await run("enqueue", "x", "--queue", "mail", "--url", url)
    assert done.returncode == 0, done.stderr
    done = await run("queues", "pause", "mail", "--url", url)
    assert (done.returncode, done.stdout) == (0, "mail  paused\n")
    done = await run("queues", "--url", url)
    head, default, mail = done.stdout.splitlines()
    assert head.split() == ["QUEUE", "WAITING", "SCHEDULED", "RUNNING", "OLDEST", "DONE", "FAILED"]
    assert default.split()[:4] == ["default", "0", "0", "0"]
    assert (mail.split()[:4], mail.split()[-1]) == (["mail", "1", "0", "0"], "paused")
    done = await run("queues", "--json", "--url", url)
    assert [json.loads(line)["name"] for line in done.stdout.splitlines()] == ["default", "mail"]
    done = await run("queues", "--url", url, "resume", "mail")
    assert (done.returncode, done.stdout) == (0, "mail  resumed\n")
    done = await run("queues", "purge", "mail", "--confirm", "nail", "--url", url)
    assert (done.returncode, done.stderr) == (1, "workqueue: confirm: must be the name of the queue (409)\n")
    done = await run("queues", "purge", "mail", "--confirm", "mail", "--url", url)
    assert done.stdout.startswith("1 jobs are being cancelled (action ")


async def test_what_is_wrong_is_one_line(url: str):
    done = await run("queues", "pause", "nail", "--url", url)
    assert (done.returncode, done.stderr) == (1, "workqueue: queue not found (404)\n")
    done = await run("queues", "purge", "mail", "--url", url)
    assert (done.returncode, "Missing option '--confirm'" in done.stderr) == (2, True)


def test_the_table_is_read_by_people():
    lines = list(table([QueueAnswer("default", 12345, 0, 3, 7200.0), QueueAnswer("m", paused=True, oldest_seconds=5)]))
    assert lines[1] == "default   12,345          0        3     2 h      0       0"
    assert lines[2] == "m              0          0        0     5 s      0       0  paused"
