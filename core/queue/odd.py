"""Members that other programs have put into our keys: skipped, and logged once a key. Any program may write there."""

import logging
import re
from collections.abc import Callable, Iterable
from typing import TypeVar
from uuid import UUID

T = TypeVar("T")

log = logging.getLogger(__name__)

SHOWN_MAX = 60  #: bytes
NAMED_MAX = 1000  #: keys; each flight has one of its own

_LEASE = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NUMBER = re.compile(rb"[1-9][0-9]{0,17}")
_CHECKPOINT = re.compile(rb"-?[1-9][0-9]{0,15}|0")
CHECKPOINT_MIN, CHECKPOINT_MAX = -(2**31), 2**53


class Odd:
    """Mutable state: the keys of which a member was logged."""

    def __init__(self) -> None:
        self._named: set[str] = set()

    def split(self, key: str, found: Iterable[bytes], read: Callable[[bytes], T | None]) -> tuple[list[T], list[bytes]]:
        """The members that `read` understands, as it returns them, and the others."""
        ours: list[T] = []
        odd: list[bytes] = []
        for each in found:
            understood = read(each)
            if understood is None:
                odd.append(each)
            else:
                ours.append(understood)
        if odd and key not in self._named and len(self._named) < NAMED_MAX:
            self._named.add(key)
            more = f", ... ({len(odd)} of it)" if len(odd) > 1 else ""
            log.warning("the key %s holds a member that WorkQueue did not write, and skips: %r%s", key,
                        odd[0][:SHOWN_MAX], more)  # fmt: skip
        return ours, odd


def read_lease(member: bytes) -> UUID | None:
    """A lease as `str` writes it: a UUID in another spelling is another member."""
    return UUID(member.decode()) if _LEASE.fullmatch(member) else None


def read_number(field: bytes) -> int | None:
    """The number of a task in a flight."""
    return int(field) if _NUMBER.fullmatch(field) else None


def parse_checkpoint(text: bytes) -> int | None:
    """Keys.checkpoint says what it is."""
    if not _CHECKPOINT.fullmatch(text):
        return None
    checkpoint = int(text)
    return checkpoint if CHECKPOINT_MIN <= checkpoint <= CHECKPOINT_MAX else None
