"""Which of redis-py's errors mean that Redis cannot serve now, and what a person should do about it."""

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
    exceptions.TryAgainError,
    OSError,
)

#: First words of error replies, of those that redis-py has no class for, that pass by themselves or that an operator,
#: not a programmer, has to mend.
PASSING = (
    "BUSY",
    "CLUSTERDOWN",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "NOAUTH",
    "NOPERM",
    "NOREPLICAS",
    "OOM",
    "READONLY",
    "TRYAGAIN",
    "UNBLOCKED",
    "UNKILLABLE",
    "WRONGPASS",
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
        if text.startswith(PASSING) or "OOM command not allowed" in text or "READONLY" in text:
            return QueueUnavailable(f"Redis: {text}")
    return None
