"""`workqueue env`: where the servers are, for programs that are none of ours."""

import shlex
from collections.abc import Mapping

from workqueue.core.errors import WorkQueueError
from workqueue.core.settings import load_settings
from workqueue.services.cli.local_installation import TAKEN_OVER, home_of


class NotSet(WorkQueueError):
    """There is no such value here; the text says what would set it."""


def shell_lines(environ: Mapping[str, str]) -> list[str]:
    """Each value that is set, as NAME=value for a shell. Raises NotSet where no Redis is named."""
    lines = [f"{name}={shlex.quote(value)}" for name in TAKEN_OVER if (value := _values(environ).get(name))]
    value_of("REDIS_URL", environ)
    return lines


def value_of(name: str, environ: Mapping[str, str]) -> str:
    """The value of one variable, of those in TAKEN_OVER. Raises NotSet."""
    if value := _values(environ).get(name):
        return value
    raise NotSet(
        f"{name} is not set, and no `workqueue up` runs in {home_of(environ)}: "
        "go to the folder of one that runs, or set WORKQUEUE_HOME to its .workqueue"
    )


def _values(environ: Mapping[str, str]) -> dict[str, str]:
    """With the URL that REDIS_ADDR and its companions mean; a default is nobody's word and is left out."""
    values = dict(environ)
    if environ.get("REDIS_ADDR") and not environ.get("REDIS_URL"):
        values["REDIS_URL"] = load_settings(environ).redis_url
    return values
