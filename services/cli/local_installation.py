"""What `workqueue up` runs, for the commands that are started beside it: where its servers are, while it runs."""

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path

LOCK = "up.lock"  #: held by `up` as long as it runs
FILE = "environment.json"  #: for its owner alone: URLs have passwords
HOME = ".workqueue"

#: What a command takes over where its own environment does not set it.
TAKEN_OVER = ("REDIS_URL", "DATABASE_URL", "DATABASE_SCHEMA", "QUEUE_NAME", "SMTP_URL", "IMAGE_FOLDER", "PRODUCER_PORT")


def home_of(environ: Mapping[str, str]) -> Path:
    """The folder of the local installation: WORKQUEUE_HOME, or .workqueue in the current one."""
    return Path(environ.get("WORKQUEUE_HOME") or HOME).resolve()


def write(home: Path, environ: Mapping[str, str]) -> None:
    """Leave word for commands that are started beside this `up`."""
    text = json.dumps({name: environ[name] for name in TAKEN_OVER if environ.get(name)})
    descriptor = os.open(home / FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def joined(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ`, with the servers of a running `workqueue up` where it names none.

    A worker beside the one of `up` cannot have its port: it gets a free one.
    """
    if environ.get("REDIS_URL") or environ.get("REDIS_ADDR") or environ.get("DATABASE_URL"):
        return dict(environ)
    home = home_of(environ)
    if not _is_running(home):
        return dict(environ)
    try:
        if (home / FILE).stat().st_uid != os.geteuid():  # another user's word is not taken
            return dict(environ)
        given = json.loads((home / FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return dict(environ)
    taken = {name: str(value) for name, value in given.items() if name in TAKEN_OVER and not environ.get(name)}
    if not (environ.get("WORKER_PORT") or environ.get("PORT")):
        taken["WORKER_PORT"] = "0"
    return dict(environ) | taken


def _is_running(home: Path) -> bool:
    """Does an `up` hold its lock?"""
    try:
        with (home / LOCK).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
