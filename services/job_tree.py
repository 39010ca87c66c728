"""What goes on inside a running job: made by its worker on request, kept in Redis for seconds, shown by the producer.

It says where each task waits, and no value of any variable: those may be secrets.
"""

from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

BYTES_MAX = 4 << 20  #: of an answer

Number = Annotated[int, Meta(ge=0, le=2**53)]


class TreeFrame(Struct, frozen=True):
    """One line of a stack."""

    file: str
    line: Number
    function: str
    source: str = ""  #: the text of the line; empty where its file cannot be read


class TreeScope(Struct, frozen=True):
    """A cancel scope that a task is in."""

    deadline: float | None  #: in so many seconds; null: none
    cancelled: bool
    shield: bool


class TreeTask(Struct, frozen=True):
    """A Trio task."""

    name: str
    frames: list[TreeFrame]  #: from the outermost call to where it waits
    frames_left_out: Number  #: in the middle of a long stack
    scopes: list[TreeScope]  #: from the outermost one; those of its nurseries are there
    thread: list[TreeFrame]  #: of the thread that it waits for
    nurseries: list["TreeNursery"]  #: that it has open, from the outermost one


class TreeNursery(Struct, frozen=True):
    """A nursery with the tasks that run in it."""

    scope: TreeScope
    tasks: list[TreeTask]
    tasks_left_out: Number  #: more tasks are in it, and are not shown


class JobTree(Struct, frozen=True):
    """A running job at one moment."""

    job_id: UUID
    type: str
    run: Number
    worker: str
    seconds: float  #: it has been running
    deadline: float | None  #: it times out in so many seconds; null: never
    cancelling: bool  #: a person has cancelled it
    task: TreeTask  #: that runs the handler


class TreeAnswer(Struct, frozen=True, omit_defaults=True):
    """What a worker says of a run that was asked for."""

    tree: JobTree | None = None  #: None: it has claimed the job, and does not run it at the moment


_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(TreeAnswer)


def write_answer(answer: TreeAnswer) -> bytes:
    """As it is kept in Redis."""
    return _encode(answer)


def read_answer(text: bytes) -> TreeAnswer | None:
    """None: it cannot be read, because another version of ours, or another program, has written it."""
    if len(text) > BYTES_MAX:
        return None
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
