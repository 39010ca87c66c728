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


#: What a server says to whoever connects, before it hangs up.
DENIED = re.compile(r"(?:^|\(['\"]|: )DENIED\b")
PROTECTED = (
    "it is in protected mode: it has no password, and takes commands from its own machine only. Set one on the server "
    "(requirepass) and put it into REDIS_URL"
)


class NeedsOperator(QueueUnavailable):
    """Redis answers, and does not do what we need; the text says what an operator has to do."""


class KeyOfAnotherType(NeedsOperator):
    """A key of the queue holds something else; nothing was done."""


def plain(error: Exception) -> str:
    """What an error says, in a line: a server in protected mode explains itself in a thousand characters."""
    text = str(error) or type(error).__name__
    return PROTECTED if DENIED.search(text) else text


def outage(error: Exception) -> QueueUnavailable | None:
    """The outage that `error` is, in our terms; None: it is a bug and must stay what it is."""
    text = plain(error)
    if text == PROTECTED:
        return NeedsOperator(f"Redis: {text}")
    if isinstance(error, OUTAGES):
        return QueueUnavailable(f"Redis: {text}")
    if isinstance(error, redis.ResponseError):
        if "WRONGTYPE" in text:
            return KeyOfAnotherType("Redis: a key of this queue holds another type; rename it or change QUEUE_NAME")
        if PASSING.search(text):
            return QueueUnavailable(f"Redis: {text}")
    return None
