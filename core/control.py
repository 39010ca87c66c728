"""Control messages: what the producers and the command line tell every worker of a queue, over a channel of Redis.

A message is the fast way, never the only one: Redis keeps none, and one that is lost costs seconds. What it says stands
in a row or a key, too, where the worker looks from time to time. A question is asked by a message alone: without an
answer the person who asks is told so.
"""

import logging
from enum import StrEnum
from uuid import UUID

import msgspec
from msgspec import Struct

from workqueue.core.pauses import Paused

log = logging.getLogger(__name__)


ClaimedJob = tuple[UUID, UUID]  #: claim token and job: together they name one run
TreeRequest = tuple[UUID, UUID, UUID]  #: where the answer goes (Keys.answer), then claim token and job


class Wish(StrEnum):
    """What a person asks of a worker. Unknown ones, of another version, are passed over."""

    QUIET = "quiet"  #: claim no more, give back what has not started, finish what runs
    RESUME = "resume"  #: claim again
    STOP = "stop"  #: as SIGTERM


class ControlMessage(Struct, frozen=True, omit_defaults=True):
    """Another version may leave members out, or have more."""

    cancel: list[ClaimedJob] = []  #: runs that are to be cancelled, and not the job: it may run anew when this comes
    workers: list[
        tuple[UUID, str]
    ] = []  #: leases, and what their workers are to do (Wish); it stands in Keys.asked too
    paused: Paused | None = None  #: what is paused now
    limits: int | None = None  #: the version of the limits that were changed just now: it is time to look at them
    queues: list[str] = []  #: names of queues that are used for the first time
    tree: list[TreeRequest] = []  #: runs whose tasks are to be shown (services/job_tree.py)


_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(ControlMessage)


def write_message(message: ControlMessage) -> bytes:
    """As it is sent."""
    return _encode(message)


def read_message(text: bytes) -> ControlMessage:
    """What was sent; a message that says nothing where it cannot be read, because another program wrote it."""
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        log.warning("a message in the control channel of this queue cannot be read, and is passed over")
        return ControlMessage()
