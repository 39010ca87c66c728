"""A newcomer's mistakes on the command line: one line each, and nothing is done."""

import pytest

from tests.cli.support import workqueue
from workqueue.core.settings import misspelt
from workqueue.services.local.process import free_port


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("WORKER_CONCURENCY", "WORKER_CONCURRENCY"),
        ("REDIS_ADR", "REDIS_ADDR"),
        ("KEEP_COMPLETE", "KEEP_COMPLETED"),
        ("DATABASE_URI", "DATABASE_URL"),
        ("WORKER_CONCURRENCY", None),
        ("REDIS_HOST", None),
        ("PATH", None),
        ("LOG_FORMAT", None),
    ],
)
def test_a_variable_that_is_nearly_one_of_ours_is_told(name, meant):
    assert misspelt({name: "1"}) == ({name: meant} if meant else {})


def test_the_command_line_tells_it_and_goes_on():
    done = workqueue("enqueue", "x", PRODUCER_PORT=str(free_port()), WORKER_CONCURENCY="9")
    assert done.stderr.startswith("workqueue: WORKER_CONCURENCY is no setting: is WORKER_CONCURRENCY meant?\n")


@pytest.mark.parametrize("payload", ['{"a": NaN}', '{"a": Infinity}', '{"a": -Infinity}', "{", "[1]"])
def test_a_payload_that_is_no_json_is_one_line(payload):
    done = workqueue("enqueue", "x", "--payload", payload, PRODUCER_PORT=str(free_port()))
    assert done.returncode == 2
    assert "--payload" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
