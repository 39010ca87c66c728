"""Which of redis-py's errors mean that Redis cannot serve now, and what a person should do about it."""

import re

import redis
from redis import exceptions

from core.errors import QueueUnavailable

#: Raised by redis-py for what is no bug of ours: nobody is there, or it answers that it cannot just now.
OUTAGES: tuple[type[Exception], ...] = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.ReadOnlyError,
    exceptions.OutOfMemoryError,
    exceptions.NoPermissionError,
    exceptions.ClusterDownError,
    exceptions.MasterDownError,
    exceptions.AskError,  # MOVED too: the slot is on its way to another node
    exceptions.TryAgainError,
    OSError,
)

#: First words of error replies, of those that redis-py has no class for, that pass by themselves or that an operator,
#: not a programmer, has to mend. They stand at the beginning, or in quotes where redis-py tells of a pipeline, or
#: behind a dash where Redis 6.2 tells what a command of a script met.
PASSING = re.compile(
    r"(?:^|\(['\"]|-)"
    r"(?:BUSY|CLUSTERDOWN|LOADING|MASTERDOWN|MISCONF|NOAUTH|NOPERM|NOREPLICAS|OOM|READONLY|TRYAGAIN|UNBLOCKED|UNKILLABLE"
    r"|WRONGPASS)\b"
)


class KeyOfAnotherType(QueueUnavailable):
    """A key of the queue holds something else; nothing was done."""


def outage(error: Exception) -> QueueUnavailable | None:
    """The outage that `error` is, in our terms; None: it is a bug and must stay what it is."""
    text = str(error) or type(error).__name__
    if isinstance(error, OUTAGES):
        return QueueUnavailable(f"Redis: {text}")
    if isinstance(error, redis.ResponseError):
        if "WRONGTYPE" in text:
            return KeyOfAnotherType("Redis: a key of this queue holds another type; rename it or change QUEUE_NAME")
        if PASSING.search(text):
            return QueueUnavailable(f"Redis: {text}")
    return None
