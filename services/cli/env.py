"""`workqueue env`: where the servers are, for programs that are none of ours."""

import shlex
from collections.abc import Mapping

from workqueue.core.errors import WorkQueueError
from workqueue.core.settings import load_settings
from workqueue.services.cli.local_installation import TAKEN_OVER, home_of


class NotSet(WorkQueueError):
    """There is no such value here; the text says what would set it."""


def shell_lines(environ: Mapping[str, str]) -> list[str]:
    """Each value that there is, as NAME=value for a shell. Raises NotSet where no Redis is named, InvalidSettings."""
    value_of("REDIS_URL", environ)
    return [f"{name}={shlex.quote(value)}" for name, value in _values(environ).items() if value]


def value_of(name: str, environ: Mapping[str, str]) -> str:
    """The value of one variable, of those in TAKEN_OVER. Raises NotSet, and InvalidSettings for any that is wrong."""
    values = _values(environ)
    if value := values[name]:
        return value
    if values["REDIS_URL"]:
        raise NotSet(f"{name} is not set here, beside REDIS_URL")
    raise NotSet(
        f"{name} is not set, and no `workqueue up` runs in {home_of(environ)}: "
        "go to the folder of one that runs, or set WORKQUEUE_HOME to its .workqueue"
    )


def _values(environ: Mapping[str, str]) -> dict[str, str]:
    """What our own commands use; empty: nothing, or a server that is only the default, which no setting names."""
    settings = load_settings(environ)
    values = {name: environ.get(name, "") for name in TAKEN_OVER}
    if environ.get("REDIS_URL") or environ.get("REDIS_ADDR"):
        values["REDIS_URL"] = settings.redis_url
    return values | {
        "DATABASE_SCHEMA": settings.database_schema,
        "QUEUE_NAME": settings.queue_name,
        "PRODUCER_PORT": str(settings.producer_port),
    }
