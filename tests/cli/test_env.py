"""`workqueue env`: where the servers are, as a shell and other programs take it."""

import fcntl
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.cli.support import workqueue
from workqueue.services.cli import local_installation

DEFAULTS = {"DATABASE_SCHEMA": "workqueue", "QUEUE_NAME": "workqueue:jobs", "PRODUCER_PORT": "8080"}
HERE = {"REDIS_URL": "redis://:p$w'd@127.0.0.1:7/0", "DATABASE_URL": "postgresql://u:p@h/d", "QUEUE_NAME": "q"}


@pytest.fixture
def home(tmp_path: Path):
    """The folder of a `workqueue up` that runs."""
    home = tmp_path / "home"
    home.mkdir()
    local_installation.write(home, HERE)
    with (home / local_installation.LOCK).open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield str(home)


def test_a_shell_takes_what_it_prints(home):
    done = workqueue("env", WORKQUEUE_HOME=home)
    assert (done.returncode, done.stderr) == (0, "")
    command = ["sh", "-c", done.stdout + 'printf %s "$REDIS_URL"']
    shell = subprocess.run(command, capture_output=True, text=True, check=True)
    assert shell.stdout == HERE["REDIS_URL"]
    assert dict(shlex.split(line)[0].split("=", 1) for line in done.stdout.splitlines()) == DEFAULTS | HERE


def test_one_value_is_printed_as_it_is(home):
    assert workqueue("env", "REDIS_URL", WORKQUEUE_HOME=home).stdout == HERE["REDIS_URL"] + "\n"
    assert workqueue("env", "QUEUE_NAME", WORKQUEUE_HOME=home, QUEUE_NAME="mine").stdout == "mine\n"


def test_servers_of_the_environment_are_printed_as_well():
    given = {"REDIS_ADDR": "h:7", "REDIS_PASSWORD": "p w"}
    lines = workqueue("env", **given).stdout.splitlines()
    assert lines == ["REDIS_URL=redis://:p%20w@h:7", *(f"{name}={value}" for name, value in DEFAULTS.items())]
    assert workqueue("env", "REDIS_URL", REDIS_URL="redis://a").stdout == "redis://a\n"


@pytest.mark.parametrize("arguments", [["env"], ["env", "REDIS_URL"]])
def test_where_nothing_runs_one_line_says_what_to_do(tmp_path: Path, arguments):
    done = workqueue(*arguments, WORKQUEUE_HOME=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"workqueue: REDIS_URL is not set, and no `workqueue up` runs in {tmp_path}: "
        "go to the folder of one that runs, or set WORKQUEUE_HOME to its .workqueue\n"
    )


def test_a_value_that_is_missing_and_a_name_that_is_none_are_a_line_each():
    missing = workqueue("env", "DATABASE_URL", REDIS_URL="redis://a")
    assert (missing.returncode, missing.stderr.count("\n")) == (1, 1)
    assert missing.stderr.startswith("workqueue: DATABASE_URL is not set here, beside REDIS_URL")
    unknown = workqueue("env", "REDIS", REDIS_URL="redis://a")
    assert unknown.returncode == 2
    assert "'REDIS' is not one of 'REDIS_URL', 'DATABASE_URL'" in unknown.stderr
    assert workqueue("env", REDIS_URL="http://a").returncode == 2
