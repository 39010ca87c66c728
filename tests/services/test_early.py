"""Signals before the loop of a process runs, and after it."""

import signal
import subprocess
import sys

import pytest

from tests.cli.support import environ

BEFORE = "from workqueue.services.early import *\nimport os, signal, time\n"


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BEFORE + code], capture_output=True, text=True, timeout=60, env=environ(), check=False
    )


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 0), (signal.SIGHUP, 0), (signal.SIGINT, 128 + signal.SIGINT)]
)
def test_a_signal_during_the_start_ends_the_process_without_a_traceback(number, status):
    done = run(f"end_at_signals(); os.kill(os.getpid(), {int(number)}); time.sleep(60)")
    assert (done.returncode, done.stderr) == (status, "")


def test_nohup_is_respected():
    done = run(
        "signal.signal(signal.SIGHUP, signal.SIG_IGN); end_at_signals(); os.kill(os.getpid(), signal.SIGHUP); print(1)"
    )
    assert (done.returncode, done.stdout) == (0, "1\n")


def test_a_stop_of_a_process_that_is_stopping_ends_it_in_time():
    done = run("end_after(0.2); os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)")
    assert done.returncode == -signal.SIGALRM


def test_signals_at_the_end_do_not_change_the_status():
    numbers = "(signal.SIGTERM, signal.SIGINT, signal.SIGHUP)"
    done = run(f"ignore_signals()\nfor n in {numbers}: os.kill(os.getpid(), n)\nprint('end')")
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")
