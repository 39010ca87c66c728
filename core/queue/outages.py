"""What an error of redis-py means. Every error reply of a server is an outage with a name, and a remedy in its text.

Only an error that no server can have caused stays a bug: a value that redis-py cannot send, an exception of Python's.
"""

import logging
import re

from redis import exceptions

from workqueue.core.errors import KeyOfAnotherType, NeedsOperator, QueueUnavailable, Refused, UnknownReply
from workqueue.core.queue.master import Address

log = logging.getLogger(__name__)

#: Errors of redis-py that are no bug of ours: no server is there, or it answers that it cannot at the moment.
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

#: First words of error replies without a class in redis-py that pass by themselves, or that an operator, not a
#: programmer, has to mend. They stand at the beginning, in quotes in redis-py's error of a pipeline, or behind a dash
#: in the error of Redis 6.2 for a command of a script.
PASSING = re.compile(
    r"(?:^|\(['\"]|-)"
    r"(?:BUSY|CLUSTERDOWN|LOADING|MASTERDOWN|MISCONF|NOAUTH|NOREPLICAS|OOM|READONLY|TRYAGAIN|UNBLOCKED|UNKILLABLE"
    r"|WRONGPASS)\b"
)

#: How the error of one command of several begins, in redis-py and packets.py: the command with its arguments, cut.
PIPELINE = re.compile(r"Command # \d+ \((\S+) ?([^)\s]*)[^)]*\) of pipeline caused error: ")

#: The user may not run a command, from 6.2 on, in a script too; Redis 6.2 does not name the command of a script.
NO_COMMAND = re.compile(r"no permissions to run the '([^']+)' command|executing the script can't run this command")
NO_KEY = re.compile(
    r"[Nn]o permissions to access (?:a|the|one of the) '?[^ ]* ?key|can't access at least one of the keys"
)
#: The command was renamed or switched off, or this is another server than Redis or Valkey.
UNKNOWN = re.compile(r"unknown command ['`]([^'`]+)|unknown (?:Redis )?command called from", re.IGNORECASE)
NO_DATABASE = re.compile(r"DB index is out of range|invalid DB index|SELECT is not allowed")

TEXT_MAX = 300  #: characters of a server's reply in a line of ours
FAULTS_SHOWN = 3  #: of the nodes that named no master
NEEDED = "docs/deployment.md lists what is needed"

#: What a server in protected mode sends on a new connection before it closes it.
DENIED = re.compile(r"(?:^|\(['\"]|: )DENIED\b")
PROTECTED = (
    "it is in protected mode: it has no password, and takes commands from its own machine only. Set one on the server "
    "(requirepass) and put it into REDIS_URL"
)


def plain(error: Exception) -> str:
    """The text of an error, in one line: a server in protected mode explains itself in a thousand characters."""
    text = str(error) or type(error).__name__
    if DENIED.search(text):
        return PROTECTED
    text = text.partition(", with args beginning with")[0]  # the arguments that were sent follow: a job, say
    return "".join(letter if letter.isprintable() else " " for letter in text[:TEXT_MAX])


def outage(error: Exception, asked: str = "") -> QueueUnavailable | None:
    """The outage that `error` is, in our terms; None: it is a bug and must stay what it is.

    `asked`: the command or the script whose answer it is.
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
    """A sentence, where `error` says that this user may not run a command or that the server has no such command."""
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
    """Logs replies that nothing here foresaw as errors, because they may be our own fault; each text once.

    Mutable state: the texts that were logged.
    """

    LOGGED_MAX = 100

    def __init__(self) -> None:
        self._logged: set[str] = set()

    def log(self, failure: QueueUnavailable) -> None:
        text = str(failure)
        if isinstance(failure, UnknownReply) and text not in self._logged and len(self._logged) < self.LOGGED_MAX:
            self._logged.add(text)
            log.error(
                "%s. Unless the server's configuration explains it, this is a fault of WorkQueue: report it", text
            )


# --- what a connection finds out about its server


def check_ping_error(error: exceptions.ResponseError) -> None:
    """Ignore an error reply to PING (an ACL may forbid it); raise it in protected mode, where every command fails."""
    if plain(error) == PROTECTED:
        raise error


def check_role(replication: bytes, at: Address, discovered_by: Address | None) -> None:
    """Raise where INFO replication shows no master. (A server that refuses INFO is used until it refuses a write.)"""
    if b"role:master" not in replication:
        raise exceptions.ConnectionError(f"{at} is no master, though {discovered_by} says so")


def no_host(host: str) -> exceptions.ConnectionError:
    """For the name that a node gave for the master's host."""
    return exceptions.ConnectionError(f"{host!r} is no name of a host")


def no_master_named(faults: list[tuple[Address, Exception]]) -> exceptions.ConnectionError:
    """For nodes of which none knew the master, with what each of the first ones said."""
    texts = []
    for node, error in faults[:FAULTS_SHOWN]:
        text = plain(error).rstrip(".")
        texts.append(text if str(node) in text else f"{node}: {text}")
    if len(faults) > FAULTS_SHOWN:
        texts.append(f"{len(faults) - FAULTS_SHOWN} more")
    return exceptions.ConnectionError(f"no node named a master ({'; '.join(texts)})")
