"""Workers that are gone: what is noted of each, with what became of the jobs that it had. Kept for an hour."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
from msgspec import Struct

KEEP_SECONDS = 3600.0
ENTRIES_MAX = 200
PUBLISHED_MAX = 64 * 1024  #: characters of what a worker said of itself
MS_MAX = 4102444800000  #: 2100

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Became(Struct, frozen=True):
    """What became of the jobs that a worker had when it ended. After an outage amid a recovery some may be missing."""

    given_back: int = 0  #: wait again
    failed: int = 0  #: their workers died too often
    cancelled: int = 0  #: a person had cancelled them


class Gone(Struct, frozen=True):
    """A worker that is gone. Another version may leave members out, or have more."""

    lease: UUID
    is_clean: bool = False  #: it stopped by itself
    became: Became = Became()
    published: str = ""  #: what it said of itself last (services/published.py)


_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Gone)


def write_gone(gone: Gone) -> bytes:
    """As it is handed to Redis, which puts its time before it."""
    return _encode(gone)


def said(published: bytes) -> str:
    """What a worker said of itself, as text; nothing where it is too long."""
    return published.decode("utf-8", "replace") if len(published) <= PUBLISHED_MAX else ""


def read_gone(entry: bytes) -> tuple[datetime, Gone] | None:
    """When it ended, on Redis's clock, and what was noted. None: another program has written it."""
    milliseconds, _, text = entry.partition(b" ")
    if not (milliseconds.isdigit() and len(milliseconds) <= 15 and int(milliseconds) <= MS_MAX):
        return None
    try:
        return _EPOCH + timedelta(milliseconds=int(milliseconds)), _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
