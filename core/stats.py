"""Statistics: what happened to jobs of each type, in sums that can be added up; quantiles; groups of failures. Pure."""

import re
from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from uuid import UUID

from msgspec import Struct, field

#: Upper bounds of the buckets of times, in seconds; what is above the last has a bucket of its own.
BUCKETS_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 300.0, 1800.0)
OTHER_TYPES = "(other)"
TYPES_MAX = 500  #: that one process counts by name in its life; types come from outside
ERROR_LENGTH_MAX = 200  #: of the text that names a group of failures
GROUPS_MAX = 200  #: of failures between two times of storing; what is more is counted as OTHER_ERRORS
OTHER_ERRORS = "(other errors)"

_ID = r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}"
#: What differs between failures of one kind, and what stands in its place, in this order.
_VARYING = (
    (re.compile(r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b"), "<email>"),
    (re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s'\"<>]+"), "<url>"),
    (re.compile(rf"\b{_ID}\b"), "<id>"),
    (re.compile(r"\b0x[0-9a-fA-F]+\b"), "<hex>"),
    (re.compile(r"\b(?=[0-9a-fA-F]*[0-9])[0-9a-fA-F]{12,}\b"), "<hex>"),
    (re.compile(r"(?<![^\s'\"(=:,])/(?:[\w.@%+-]+/)+[\w.@%+-]*"), "<path>"),
    (re.compile(r"[0-9]+(?:[.,:][0-9]+)*"), "<n>"),
)  # fmt: skip


def no_times() -> list[int]:
    """Buckets without anything in them."""
    return [0] * (len(BUCKETS_SECONDS) + 1)


def bucket_of(seconds: float) -> int:
    """The place of a time among the buckets."""
    return bisect_left(BUCKETS_SECONDS, seconds)


class TypeSums(Struct):
    """What happened to the jobs of one type in some span of time."""

    enqueued: int = 0
    done: int = 0
    failed: int = 0
    retried: int = 0
    cancelled: int = 0
    waits: list[int] = field(default_factory=no_times)  #: from the acceptance to the first claim, of a sample of jobs
    runs: list[int] = field(default_factory=no_times)  #: how long runs took, however they ended

    def add(self, other: "TypeSums") -> None:
        self.enqueued += other.enqueued
        self.done += other.done
        self.failed += other.failed
        self.retried += other.retried
        self.cancelled += other.cancelled
        self.waits = [a + b for a, b in zip(self.waits, other.waits, strict=True)]
        self.runs = [a + b for a, b in zip(self.runs, other.runs, strict=True)]


class FailureSums(Struct):
    """Failures that are alike."""

    failed: int = 0  #: ended their jobs
    retried: int = 0
    last_job: UUID | None = None


FailureKey = tuple[str, str]  #: type and group (group_of)


class Sums(Struct):
    """What one process has seen since it stored it last."""

    types: dict[str, TypeSums] = {}
    failures: dict[FailureKey, FailureSums] = {}
    queues: dict[str, list[int]] = {}  #: besides the default one: how many jobs are done, how many have failed


@lru_cache(maxsize=1000)
def group_of(error: str) -> str:
    """The group of failures that an error belongs to: its first line, without what differs from one to the next.

    Names in quotes stay: they often say what is wrong (KeyError: 'user'). Takes a few microseconds.
    """
    line = error.strip().split("\n", 1)[0][: 4 * ERROR_LENGTH_MAX]
    for pattern, instead in _VARYING:
        line = pattern.sub(instead, line)
    return line if len(line) <= ERROR_LENGTH_MAX else line[: ERROR_LENGTH_MAX - 1] + "…"


def quantile(buckets: Sequence[int], share: float) -> float | None:
    """In seconds, between the bounds of its bucket as if times were spread evenly there; None: there are none."""
    total = sum(buckets)
    if total == 0:
        return None
    rank, below = share * total, 0
    for place, count in enumerate(buckets):
        if count and below + count >= rank:
            if place == len(BUCKETS_SECONDS):
                return BUCKETS_SECONDS[-1]  # it was longer; nothing says how long
            low = BUCKETS_SECONDS[place - 1] if place else 0.0
            return low + (BUCKETS_SECONDS[place] - low) * (rank - below) / count
        below += count
    return BUCKETS_SECONDS[-1]
