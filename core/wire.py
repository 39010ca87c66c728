"""Task JSON <-> Task. Pure. Bytes that are not ours to understand are passed on as they came."""

import json
import re
from itertools import accumulate
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta, Raw, Struct

from workqueue.core.counters import NEVER_RUN, Counters
from workqueue.core.errors import InvalidTask, TypeMissing
from workqueue.core.options import (
    DEFAULTS,
    JobOptions,
    PlainRequestedOptions,
    PlainTaskOptions,
    RequestedOptions,
    TaskOptions,
    check_options,
    choose_options,
    members,
    options_of,
    plain_options,
    read_options,
    values_of,
)

TYPE_LENGTH_MAX = 200
DEPTH_MAX = 500
EMPTY_OBJECT = b"{}"

#: Their sum + 1 is the number of a run, which has to fit into an int4 of Postgres.
Count = Annotated[int, Meta(ge=0, le=500_000_000)]


class Task(Struct, frozen=True, gc=False):  # nothing in it leads back to it; so in others that are made for each job
    """One element of a Redis list, understood as far as we need it."""

    type: str
    payload: bytes = EMPTY_OBJECT  #: the JSON text of an object, as it came in
    options: JobOptions = DEFAULTS
    counters: Counters = NEVER_RUN
    job_id: UUID | None = None
    extra: bytes = b""  #: members that we do not know, as `"key":value,...` without braces


class Submission(Struct, frozen=True):
    """What a client asks for with POST /enqueue."""

    type: str
    payload: bytes
    options: JobOptions = DEFAULTS
    delay: float | None = None  #: seconds; `options.run_at` is what that comes to on the clock of this machine


class _PlainWireTask(PlainTaskOptions, forbid_unknown_fields=True, kw_only=True):
    """The fields of a task that we know, with few of its options; null counts as absent."""

    type: Annotated[str, Meta(min_length=1, max_length=TYPE_LENGTH_MAX)]
    payload: Raw = Raw()
    attempts: Count | None = None
    recoveries: Count | None = None
    interruptions: Count | None = None
    job_id: UUID | None = None


#: Those of the other options.
_MORE_OPTIONS = [
    (each.name, each.type, each.default)
    for each in msgspec.structs.fields(TaskOptions)
    if each.name not in PlainTaskOptions.__struct_fields__
]
_WireTask = msgspec.defstruct(
    "_WireTask", _MORE_OPTIONS, bases=(_PlainWireTask,), forbid_unknown_fields=True, kw_only=True
)
_WireTaskAndMore = msgspec.defstruct(
    "_WireTaskAndMore", _MORE_OPTIONS, bases=(_PlainWireTask,), forbid_unknown_fields=False, kw_only=True
)


class _PlainWireSubmission(PlainRequestedOptions, forbid_unknown_fields=True, kw_only=True):
    type: str | None = None
    payload: Raw = Raw()


class _WireSubmission(RequestedOptions, kw_only=True):
    type: str | None = None
    payload: Raw = Raw()


_PLAIN_TASK = msgspec.json.Decoder(_PlainWireTask)
_PLAIN_SUBMISSION = msgspec.json.Decoder(_PlainWireSubmission)
_TASK: msgspec.json.Decoder[_PlainWireTask] = msgspec.json.Decoder(_WireTask)
_TASK_AND_MORE: msgspec.json.Decoder[_PlainWireTask] = msgspec.json.Decoder(_WireTaskAndMore)
_MEMBERS = msgspec.json.Decoder(dict[str, Raw])
_SUBMISSION = msgspec.json.Decoder(_WireSubmission)
_ANYTHING = msgspec.json.Decoder()
_KNOWN = frozenset(_WireTask.__struct_fields__)
_encode = msgspec.json.Encoder().encode

_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


def decode_task(line: bytes) -> Task:
    """Raise InvalidTask when `line` is no task; the message names the field and what is allowed."""
    try:
        if not line.isascii():
            line.decode()  # msgspec does not check the UTF-8 inside of a Raw
        wire: _PlainWireTask
        extra = b""
        try:
            wire = _PLAIN_TASK.decode(line)
            options = plain_options(wire.retries)
        except msgspec.ValidationError:  # it has options, or a field that we do not know, or a wrong one
            wire, options, extra = _decode_more(line)
    except UnicodeDecodeError as error:
        raise InvalidTask(f"not UTF-8: byte {error.start}") from None
    except RecursionError:  # msgspec nests to about 1,000
        raise InvalidTask("nested too deep") from None
    except msgspec.DecodeError as error:
        raise InvalidTask(f"no valid task: {error}") from None
    job_type, payload = wire.type, bytes(wire.payload)
    if "\0" in job_type:
        raise InvalidTask("no valid task: `type` has characters that cannot be stored")
    counters = NEVER_RUN
    if wire.attempts or wire.recoveries or wire.interruptions:
        counters = Counters(wire.attempts or 0, wire.recoveries or 0, wire.interruptions or 0)
    return Task(
        job_type,
        payload if payload[:1] == b"{" else _payload(payload),
        options,
        counters,
        wire.job_id,
        extra,
    )


def _decode_more(line: bytes) -> tuple[_PlainWireTask, JobOptions, bytes]:
    """A task that is not as nearly all are: with its options, and the members that we do not know."""
    try:
        known = _TASK.decode(line)
        return known, options_of(values_of(known)), b""
    except msgspec.ValidationError:
        more = _TASK_AND_MORE.decode(line)
        return more, options_of(values_of(more)), _members(_MEMBERS.decode(line))


def encode_task(task: Task, counters: Counters | None = None, job_id: UUID | None = None) -> bytes:
    """The task as an element of a Redis list; every member that came in is there, known or not.

    `counters`, `job_id`: instead of its own.
    """
    counters = counters or task.counters
    job_id = job_id or task.job_id
    parts = [
        b'{"type":%b,"payload":%b,%b,"attempts":%d'
        % (_encode(task.type), task.payload, members(task.options), counters.attempts)
    ]
    if counters.recoveries:
        parts.append(b',"recoveries":%d' % counters.recoveries)
    if counters.interruptions:
        parts.append(b',"interruptions":%d' % counters.interruptions)
    if job_id is not None:
        parts.append(b',"job_id":%b' % _encode(job_id))
    if task.extra:
        parts.append(b"," + task.extra)
    parts.append(b"}")
    return b"".join(parts)


def read_submission(body: bytes) -> Submission:
    """Read the body of POST /enqueue as its contract demands it.

    Raises InvalidTask, TypeMissing or RetriesNegative; the text says what is wrong, for a log, not for the client.
    """
    try:
        body.decode()
        if body.count(b"{") + body.count(b"[") > DEPTH_MAX and depth(body) > DEPTH_MAX:
            raise InvalidTask(f"nested deeper than {DEPTH_MAX}")
        wire: _PlainWireSubmission | _WireSubmission
        try:
            wire = _PLAIN_SUBMISSION.decode(body)
        except msgspec.ValidationError:  # it has options, or members that are ignored, or a wrong one
            wire = _SUBMISSION.decode(body)
    except UnicodeDecodeError as error:
        raise InvalidTask(f"not UTF-8: byte {error.start}") from None
    except RecursionError:
        raise InvalidTask(f"nested deeper than {DEPTH_MAX}") from None
    except msgspec.DecodeError as error:
        raise InvalidTask(str(error)) from None
    payload = _payload(bytes(wire.payload))
    options = read_options(wire)
    if not wire.type:
        raise TypeMissing("type is required")
    if len(wire.type) > TYPE_LENGTH_MAX or "\0" in wire.type:
        raise InvalidTask(f"type: 1 to {TYPE_LENGTH_MAX} characters, no NUL")
    check_options(options)
    if isinstance(wire, _PlainWireSubmission):
        return Submission(wire.type, payload, options)
    chosen = choose_options(options, wire)
    return Submission(wire.type, payload, chosen.options, chosen.delay)


def decode_payload(payload: bytes) -> dict[str, object]:
    """The payload as a handler gets it. Raises InvalidTask where it cannot be represented."""
    try:
        try:
            decoded = _ANYTHING.decode(payload)
        except msgspec.ValidationError:  # 1e999 is valid JSON; Python's own decoder makes it infinite
            decoded = json.loads(payload)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:  # ValueError: an integer of 5,000 digits
        raise InvalidTask(f"payload: {error}") from None
    if not isinstance(decoded, dict):
        raise InvalidTask("payload: expected an object")
    return decoded


def depth(body: bytes) -> int:
    """How deep `body` nests, brackets inside of strings left out. For texts with many brackets: about 30 ns each."""
    brackets = _STRINGS.sub(b"", body).translate(None, _NOT_BRACKETS)
    return max(accumulate(map(_STEP.__getitem__, brackets)), default=0)


def _payload(text: bytes) -> bytes:
    if text.startswith(b"{"):
        return text
    if not text or text == b"null":
        return EMPTY_OBJECT
    raise InvalidTask("payload: expected an object")


def _members(fields: dict[str, Raw]) -> bytes:
    return b",".join(b"%b:%b" % (_encode(name), bytes(value)) for name, value in fields.items() if name not in _KNOWN)
