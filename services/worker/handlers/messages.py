"""The messages between a worker and a process that works for it, over two pipes: JSON, followed by bytes.

Nothing is unpickled, and every length is checked before so much is read: what a decoder can be made to write into the
pipe must not do more to the worker than to its own job.
"""

import json
import struct
from typing import Literal

import msgspec
from msgspec import Struct

from workqueue.core.errors import PermanentFailure
from workqueue.core.job import ARTIFACT_BYTES_MAX, Job, Standalone

ORDER_BYTES_MAX = 32 * 1024 * 1024  #: a picture of 20 MiB is 27 MiB of base64
HEAD_BYTES_MAX = 2 * 1024 * 1024  #: a result has 1 MiB at most
LENGTHS = struct.Struct(">II")  #: of the JSON, and of the bytes behind it
GO = b"\0"  #: the worker's answer to Needs

#: permanent, artifact: PermanentFailure, ArtifactRefused. unable: what the order needs could not be loaded, and nothing
#: of it has begun. broken: any other error; the process may be damaged.
Kind = Literal["permanent", "artifact", "unable", "broken"]


class Ready(Struct, tag=True):
    """The process has started."""


class Needs(Struct, tag=True):
    """The order is understood, and will take so much memory. The work begins when the worker sends GO."""

    memory_bytes: int


class Part(Struct):
    """An artifact; its content stands in the bytes behind the message."""

    name: str
    content_type: str
    length: int


class Done(Struct, tag=True):
    """What the handler returned and attached."""

    result: object
    artifacts: list[Part]


class Failed(Struct, tag=True):
    """What the handler raised."""

    kind: Kind
    text: str


Message = Ready | Needs | Done | Failed

_encode = msgspec.json.Encoder().encode
_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)


def order(job: Job, image_folder: str | None) -> bytes:
    """A job as a message. Raises PermanentFailure for a payload that cannot be sent."""
    try:  # not by msgspec: it would make null of a number such as 1e999
        head = json.dumps([job.type, job.payload, job.keeps_artifacts, image_folder]).encode()
    except (ValueError, RecursionError) as error:
        raise PermanentFailure(f"payload: {error}") from None
    if len(head) > ORDER_BYTES_MAX:
        raise PermanentFailure(f"payload: {len(head)} bytes of JSON, at most {ORDER_BYTES_MAX} are read")
    return LENGTHS.pack(len(head), 0) + head


def job_of(head: bytes) -> tuple[Job, str | None]:
    """The job of an order, and IMAGE_FOLDER."""
    job_type, payload, keeps_artifacts, image_folder = json.loads(head)
    return Job("", job_type, payload, 1, 0, Standalone(keeps_artifacts=keeps_artifacts)), image_folder


def frame(message: Message, body: bytes = b"") -> bytes:
    head = _encode(message)
    return LENGTHS.pack(len(head), len(body)) + head + body


def lengths(prefix: bytes) -> tuple[int, int]:
    """Raises ValueError for a message that is longer than any of ours."""
    head, body = LENGTHS.unpack(prefix)
    if head > HEAD_BYTES_MAX or body > ARTIFACT_BYTES_MAX:
        raise ValueError(f"a message of {head} and {body} bytes")
    return head, body


def message_of(head: bytes) -> Message:
    """Raises ValueError for anything else."""
    return _decoder.decode(head)
