"""What an error of redis-py means: every reply of a server is an outage with a name, and something a person can do.

Only what no server can have caused stays a bug: a value that redis-py cannot send, an exception of Python's own.
"""

import logging
import re

from redis import exceptions

from workqueue.core.errors import QueueUnavailable

log = logging.getLogger(__name__)

#: Raised by redis-py for what is no bug of ours: nobody is there, or it answers that it cannot just now.
OUTAGES: tuple[type[Exception], ...] = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.ReadOnlyError,
    exceptions.OutOfMemoryError,
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
    r"(?:BUSY|CLUSTERDOWN|LOADING|MASTERDOWN|MISCONF|NOAUTH|NOREPLICAS|OOM|READONLY|TRYAGAIN|UNBLOCKED|UNKILLABLE"
    r"|WRONGPASS)\b"
)

#: How redis-py, and packets.py, begin where a command of several has failed; the command with its arguments, cut.
PIPELINE = re.compile(r"Command # \d+ \((\S+) ?([^)\s]*)[^)]*\) of pipeline caused error: ")

#: The user may not run a command, from 6.2 on, in a script too; Redis 6.2 does not name the command of a script.
NO_COMMAND = re.compile(r"no permissions to run the '([^']+)' command|executing the script can't run this command")
NO_KEY = re.compile(
    r"[Nn]o permissions to access (?:a|the|one of the) '?[^ ]* ?key|can't access at least one of the keys"
)
#: It was renamed or switched off, or the server is none of those that we know.
UNKNOWN = re.compile(r"unknown command ['`]([^'`]+)|unknown (?:Redis )?command called from", re.IGNORECASE)
NO_DATABASE = re.compile(r"DB index is out of range|invalid DB index|SELECT is not allowed")

TEXT_MAX = 300  #: of a server's words in a line of ours
NEEDED = "docs/deployment.md lists what is needed"

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


class Refused(NeedsOperator):
    """Redis does not let this user run a command, or does not know it."""


class UnknownReply(NeedsOperator):
    """Redis answered with an error that nothing here foresaw. A configuration that we do not know, or our own fault."""


def plain(error: Exception) -> str:
    """What an error says, in a line: a server in protected mode explains itself in a thousand characters."""
    text = str(error) or type(error).__name__
    if DENIED.search(text):
        return PROTECTED
    text = text.partition(", with args beginning with")[0]  # behind it stands what we sent: a job, say
    return "".join(letter if letter.isprintable() else " " for letter in text[:TEXT_MAX])


def outage(error: Exception, asked: str = "") -> QueueUnavailable | None:
    """The outage that `error` is, in our terms; None: it is a bug and must stay what it is.

    `asked`: the command or the script that was answered so.
    """
    if isinstance(error, exceptions.DataError) or not isinstance(error, exceptions.RedisError | OSError):
        return None
    text = plain(error)
    if text == PROTECTED:
        return NeedsOperator(f"Redis: {text}")
    key = "a key of this queue"
    if piped := PIPELINE.search(text):
        asked, key = piped[1], f"the key {piped[2]}" if piped[2] else key
        text = text[piped.end() :]
    if "WRONGTYPE" in text:
        return KeyOfAnotherType(f"Redis: {key} holds another type; rename it or change QUEUE_NAME")
    if (sentence := refusal(error, asked)) is not None:
        return Refused(sentence)
    if NO_DATABASE.search(text):
        return NeedsOperator(f"Redis: {text}. Lower the number of the database in REDIS_URL, or leave it out")
    if isinstance(error, OUTAGES) or PASSING.search(text):
        return QueueUnavailable(f"Redis: {text}")
    if isinstance(error, exceptions.InvalidResponse):
        return NeedsOperator(
            f"Redis: what answers there does not speak Redis's protocol ({text}). Point REDIS_URL to a Redis"
        )
    return UnknownReply(f"Redis answers {asked or 'a command'} with an error that WorkQueue does not know: {text}")


def refusal(error: Exception, asked: str) -> str | None:
    """Where `error` says that this user may not run a command, or that the server has no such command: a sentence."""
    if not isinstance(error, exceptions.ResponseError):
        return None
    text = PIPELINE.sub("", plain(error))
    if match := NO_COMMAND.search(text):
        return refuses([match[1].upper() if match[1] else f"a command of {asked}"])
    if NO_KEY.search(text):
        return f"Redis refuses this user keys of the queue: allow ~NAME and ~{{NAME}}:*; {NEEDED}"
    if isinstance(error, exceptions.NoPermissionError) or re.search(r"(?:^|: |-)NOPERM\b|ACL failure in script", text):
        return f"Redis refuses {asked or 'a command'} to this user ({text}): allow it; {NEEDED}"
    if match := UNKNOWN.search(text):
        return knows_no([match[1].upper() if match[1] else f"a command of {asked}"])
    return None


def refuses(commands: list[str]) -> str:
    it = "it" if len(commands) == 1 else "them"
    return f"Redis refuses {', '.join(commands)} to this user: allow {it} (ACL SETUSER); {NEEDED}"


def knows_no(commands: list[str]) -> str:
    they = "it is" if len(commands) == 1 else "they are"
    return f"Redis does not know {', '.join(commands)}: {they} renamed or switched off on the server; {NEEDED}"


class Unforeseen:
    """Tells of replies that nothing here foresaw: loudly, because it may be our own fault, and each once.

    Mutable state: what was told.
    """

    TOLD_MAX = 100

    def __init__(self) -> None:
        self._told: set[str] = set()

    def tell(self, failure: QueueUnavailable) -> None:
        text = str(failure)
        if isinstance(failure, UnknownReply) and text not in self._told and len(self._told) < self.TOLD_MAX:
            self._told.add(text)
            log.error(
                "%s. Unless the server's configuration explains it, this is a fault of WorkQueue: report it", text
            )
