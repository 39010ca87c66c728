"""The command line as a process, with an environment of its own."""

import os
import subprocess
import sys
from functools import partial

import trio


def environ(**variables: str) -> dict[str, str]:
    """The environment of a child: nothing of ours but PATH and HOME."""
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG", "TMPDIR"}}
    return kept | variables


def workqueue(*arguments: str, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `workqueue` to its end."""
    command = [sys.executable, "-m", "workqueue.services.cli", *arguments]
    return subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=120, env=environ(**variables), check=False
    )


async def enqueue(*arguments: str, stdin: str = ""):
    return await trio.to_thread.run_sync(partial(workqueue, "enqueue", *arguments, stdin=stdin))
