import socket

import pytest

from tests.cli.support import workqueue
from workqueue.services.local.process import free_port


@pytest.mark.parametrize(
    "command", [[], ["up"], ["producer"], ["worker"], ["enqueue"], ["env"], ["migrate"], ["reconcile"]]
)
def test_every_command_has_help(command):
    done = workqueue(*command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage: workqueue" in done.stdout


@pytest.mark.parametrize("command", ["up", "producer", "worker", "migrate", "reconcile"])
def test_wrong_settings_are_a_line_each_and_status_2(command):
    done = workqueue(command, WORKER_CONCURRENCY="many", QUEUE_NAME="a b", DATABASE_URL="mysql://u:geheim@h/d")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "workqueue: QUEUE_NAME='a b': must match ^[A-Za-z0-9_.:-]{1,128}$",
        "workqueue: WORKER_CONCURRENCY='many': must be a whole number",
        "workqueue: DATABASE_URL=***: must start with postgres:// or postgresql://",
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["enqueue", "x", "--payload", "{"], "no JSON"),
        (["enqueue", "x", "--payload", "[1]"], "a payload is a JSON object"),
        (["enqueue", "x", "--payload", "@/nowhere/at/all"], "No such file"),
        (["enqueue", "x", "--retries", "-1"], "not in the range"),
        (["enqueue", "x", "--key", "two words"], "1 to 255 visible ASCII characters"),
        (["enqueue"], "Missing argument"),
        (["enqueue", "--from", "/nowhere/at/all"], "No such file"),
        (["enqueue", "x", "--retries", "2", "--from", "-"], "TYPE and --retries cannot go with --from"),
        (["nonsense"], "No such command"),
    ],
)
def test_bad_usage_is_status_2(arguments, said):
    done = workqueue(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_failure_is_one_line_and_status_1():
    done = workqueue("enqueue", "x", "--url", f"http://127.0.0.1:{free_port()}")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("workqueue: no answer from the producer at http://127.0.0.1:")
    assert "go to the folder of a `workqueue up` that runs, or name a producer with --url" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("command", "variable"), [("producer", "PRODUCER_PORT"), ("worker", "WORKER_PORT")])
def test_a_taken_port_is_one_line_with_the_remedy(command, variable):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = workqueue(command, **{variable: str(taken.getsockname()[1])})
    assert done.returncode == 1
    assert f"or set {variable} (or HOST) to something else" in done.stderr
    assert done.stderr.count("\n") == 1


def test_handlers_that_cannot_be_imported_are_status_2():
    done = workqueue("worker", WORKER_HANDLERS="no.such.module", WORKER_PORT=str(free_port()))
    assert done.returncode == 2
    assert done.stderr == (
        "workqueue: WORKER_HANDLERS='no.such.module': cannot import no.such.module: No module named 'no'\n"
    )
