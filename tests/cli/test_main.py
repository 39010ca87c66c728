import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.support import environ, workqueue
from tests.e2e.processes import running
from tests.support.wait import until_true
from workqueue.services.cli.main import main
from workqueue.services.local.process import free_port


@pytest.mark.parametrize("command", [[], *([name] for name in sorted(main.commands))], ids=" ".join)
@pytest.mark.parametrize("columns", ["80", "60"])
def test_every_command_has_help_in_whole_sentences(command, columns):
    done = workqueue(*command, "--help", COLUMNS=columns, TERMINAL_WIDTH=columns)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage: workqueue" in done.stdout
    assert done.stdout.endswith("\n")
    assert "README" not in done.stdout, "a wheel has none"
    if columns == "80":
        assert not [line for line in done.stdout.splitlines() if line.endswith("...") and "Usage" not in line]


#: What asks for the completions of `workqueue st`, after the line that the help of `completion` names.
SHELLS = {
    "bash": 'eval "$(workqueue completion bash)"; COMP_WORDS=(workqueue st); COMP_CWORD=1; _workqueue_completion '
            'workqueue st workqueue; printf "%s\n" "${COMPREPLY[@]}"',
    "zsh": 'compdef() { :; }; eval "$(workqueue completion zsh)"; compadd() { :; }; '
           '_describe() { print -l -- "${(@P)3}"; }; words=(workqueue st); CURRENT=2; _workqueue_completion',
    "fish": 'workqueue completion fish | source; complete -C "workqueue st"',
}  # fmt: skip


@pytest.mark.parametrize("shell", SHELLS)
def test_the_tab_key_completes_commands(shell, tmp_path: Path):
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    script = tmp_path / "workqueue"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m workqueue.services.cli "$@"\n')
    script.chmod(0o755)
    variables = environ(HOME=str(tmp_path))
    variables["PATH"] = f"{tmp_path}:{variables['PATH']}"
    quiet = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    done = subprocess.run(
        [shell, *quiet, "-c", SHELLS[shell]], capture_output=True, text=True, timeout=60, env=variables, check=False
    )
    assert re.search(r"^status\b", done.stdout, re.MULTILINE), done.stdout + done.stderr
    assert "reconcile" not in done.stdout


def test_completions_of_an_option_and_of_its_values():
    def asked(words: str, place: int) -> list[str]:
        variables = {"_WORKQUEUE_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(place)}
        return workqueue(**variables).stdout.split()

    assert asked("workqueue status --j", 2) == ["plain,--json"]
    assert asked("workqueue dead ", 2) == ["plain,delete", "plain,retry", "plain,show"]
    assert asked("workqueue completion ", 2) == ["plain,bash", "plain,zsh", "plain,fish"]


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


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_every_line_of_the_log_of_a_producer_looks_like_ours(workers, redis_url, queue_name):
    variables = {"REDIS_URL": redis_url, "QUEUE_NAME": queue_name, "PRODUCER_PORT": str(free_port())}
    async with running(["workqueue.services.cli", "producer", "--workers", workers], variables) as process:
        await until_true(lambda: process.said.count("Running on http://127.0.0.1:") == int(workers), seconds=60)
        await until_true(lambda: process.said.count("Redis answers") == int(workers), seconds=60)
    for line in process.said.splitlines():
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (info|warning) [\w.]+: ", line), line


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
