"""A dead letter as an entry of its list: what cannot run, whole, with the reason. Pure."""

import base64
import binascii
import re
from datetime import UTC, datetime
from hashlib import sha1
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from workqueue.core.counters import NEVER_RUN
from workqueue.core.errors import InvalidTask
from workqueue.core.wire import TYPE_LENGTH_MAX, Task, decode_task

#: An entry has no room for an id: its format is fixed, and other programs read and write the list. So its id is made of
#: its bytes, which stay the same wherever it moves: entries that are the same byte by byte have one id.
ID_LENGTH = 16  #: hexadecimal digits of the SHA-1, which is the hash that Lua has in Redis (read_dead.lua)
_ID = re.compile(f"[0-9a-f]{{{ID_LENGTH}}}")


class _Entry(Struct, omit_defaults=True, gc=False):
    reason: str
    at: Annotated[datetime, Meta(tz=True)]
    task: str | None = None
    task_base64: str | None = None


class _Head(Struct, gc=False):
    type: str | None = None


class DeadLetter(Struct, frozen=True):
    """An entry, as far as it can be understood."""

    id: str
    task: bytes  #: as it lay in the queue; of an entry that is none of ours, all of it
    reason: str | None = None  #: None: another program has put it there
    at: datetime | None = None


_encode = msgspec.json.Encoder().encode
_ENTRY = msgspec.json.Decoder(_Entry)
_HEAD = msgspec.json.Decoder(_Head)


def now() -> datetime:
    """As `dead_letter` takes it."""
    return datetime.now(UTC).replace(microsecond=0)


def dead_letter(line: bytes, reason: str, at: datetime | None = None) -> bytes:
    """An entry of the dead letters: the task whole, as text where it is text, why, and when (for people to read).

    `at`: the same `now` for many.
    """
    at = at or now()
    try:
        return _encode(_Entry(reason, at, line.decode()))
    except UnicodeDecodeError:
        return _encode(_Entry(reason, at, None, base64.b64encode(line).decode()))


def dead_letter_id(entry: bytes) -> str:
    """What an entry is called: the same for the same bytes."""
    return sha1(entry, usedforsecurity=False).hexdigest()[:ID_LENGTH]


def is_dead_letter_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None


def read_dead_letter(entry: bytes) -> DeadLetter:
    """Whatever it is: bytes that are no entry of ours are the task themselves, without a reason."""
    named = dead_letter_id(entry)
    try:
        found: _Entry = _ENTRY.decode(entry)
        if found.task is not None:
            return DeadLetter(named, found.task.encode(), found.reason, found.at)
        if found.task_base64 is not None:
            task = base64.b64decode(found.task_base64, validate=True)
            return DeadLetter(named, task, found.reason, found.at)
    except (msgspec.DecodeError, UnicodeError, RecursionError, binascii.Error):
        pass
    return DeadLetter(named, entry)


def task_to_retry(letter: DeadLetter) -> Task:
    """Its task as if it had never run; else a job that has used up its retries would fail at its first failure.

    Raises InvalidTask where it is none: it would be a dead letter again.
    """
    return msgspec.structs.replace(decode_task(letter.task), counters=NEVER_RUN)


def describe_task(letter: DeadLetter) -> tuple[str | None, UUID | None, bool]:
    """The type, the job's id, and whether it is a task. The type also of what is none, where it has one."""
    try:
        task = decode_task(letter.task)
    except InvalidTask:
        return _type_of(letter.task), None, False
    return task.type, task.job_id, True


def _type_of(text: bytes) -> str | None:
    try:
        text.decode()
        found: _Head = _HEAD.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return found.type if found.type and len(found.type) <= TYPE_LENGTH_MAX else None
