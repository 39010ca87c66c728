"""Cuts the body of a batch into jobs while it arrives: lines of NDJSON, or elements of one JSON array.

Pure, and bounded: a job that is too large is not kept, and the job behind it is found all the same.
"""

import re
from typing import Protocol

TOO_LARGE = None  #: in place of a job that is too large

#: The text before the next bracket (or comma, in the second) outside of strings. Possessive, so that a string whose end
#: has not arrived yet is not tried again from each of its characters.
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_TO_BRACKET = re.compile(rb'[^"\[\]{}]*+(?:' + _STRING + rb'[^"\[\]{}]*+)*+', re.DOTALL)
_TO_COMMA = re.compile(rb'[^"\[\]{},]*+(?:' + _STRING + rb'[^"\[\]{},]*+)*+', re.DOTALL)
_TO_QUOTE = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_OPENING, _COMMA, _QUOTE, _BACKSLASH = b"[{", ord(","), ord('"'), ord("\\")
_SPACE = b" \t\r\n"


class Cutter(Protocol):
    """Finds the jobs in a stream of bytes."""

    def feed(self, piece: bytes) -> list[bytes | None]:
        """The jobs that this piece completes; TOO_LARGE for one that was too large."""

    def end(self) -> list[bytes | None]:
        """The body has ended: the jobs that were not complete before."""


class _Growing:
    """A job that has not arrived whole. Mutable state: its size and its parts; none where it is too large."""

    def __init__(self, bytes_max: int) -> None:
        self._max = bytes_max
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > self._max:
            self._parts.clear()
        elif part:
            self._parts.append(part)

    def take(self) -> bytes | None:
        """The whole job, or TOO_LARGE; then begin the next one."""
        taken = TOO_LARGE if self._size > self._max else b"".join(self._parts)
        self._parts, self._size = [], 0
        return taken


class Lines:
    """NDJSON. Lines of white space are skipped. Mutable state: the line that has no end yet."""

    def __init__(self, line_bytes_max: int) -> None:
        self._max = line_bytes_max
        self._growing = _Growing(line_bytes_max)

    def feed(self, piece: bytes) -> list[bytes | None]:
        first, *lines = piece.split(b"\n")
        self._growing.add(first)
        if not lines:
            return []
        found = [self._growing.take()]
        self._growing.add(lines.pop())
        found += [line if len(line) <= self._max else TOO_LARGE for line in lines]
        return [line for line in found if line is TOO_LARGE or (line and not line.isspace())]

    def end(self) -> list[bytes | None]:
        return self.feed(b"\n")


class Elements:
    """One JSON array. The text between two of its commas is taken for a job; its decoder refuses what is none. So a
    broken element harms no other, as long as its brackets are in pairs and its strings have an end.

    Mutable state: the element that has no end yet, the position in it, and the text behind the array.
    """

    def __init__(self, element_bytes_max: int) -> None:
        self._growing = _Growing(element_bytes_max)
        self._depth = 0
        self._in_string = False
        self._backslash = b""  #: at the end of a piece: the character that it escapes has not arrived
        self._any = False
        self._behind = b""  #: the first character after the array
        self._ended = False

    def feed(self, piece: bytes) -> list[bytes | None]:
        text, self._backslash = self._backslash + piece, b""
        found: list[bytes | None] = []
        begin = at = 0
        depth = self._depth
        while not self._ended and at < len(text):
            pattern = _TO_QUOTE if self._in_string else _TO_COMMA if depth == 1 else _TO_BRACKET
            at = pattern.match(text, at).end()  # type: ignore[union-attr]
            if at == len(text):
                break
            byte = text[at]
            if byte == _QUOTE:
                self._in_string = not self._in_string
            elif byte == _BACKSLASH:
                text, self._backslash = text[:at], text[at:]
                break
            elif byte in _OPENING:
                depth += 1
                if depth == 1:
                    begin = at + 1
            else:
                depth -= byte != _COMMA
                if byte == _COMMA or depth == 0:
                    self._ended = depth == 0
                    self._growing.add(text[begin:at])
                    found += self._cut()
                    begin = at + 1
            at += 1
        self._depth = depth
        if self._ended:
            self._behind = self._behind or text[begin:].strip(_SPACE)[:1]
        elif self._depth:
            self._growing.add(text[begin:])
        return found

    def end(self) -> list[bytes | None]:
        if self._ended:
            return [self._behind] if self._behind else []
        [rest] = self._cut()
        if rest and self._depth == 1 and not self._in_string:
            return [rest, b""]  # this one is whole; the empty one stands for the missing end of the array
        return [rest]

    def _cut(self) -> list[bytes | None]:
        element = self._growing.take()
        if element is not TOO_LARGE:
            element = element.strip(_SPACE)
        if self._ended and not self._any and element == b"":
            return []  # an empty array
        self._any = True
        return [element]
