"""Which queues a worker takes jobs from, and how many from each: QUEUES. Pure."""

import math
import re
from collections.abc import Collection, Iterable, Mapping

from msgspec import Struct

from workqueue.core.errors import InvalidSettings
from workqueue.core.options import DEFAULT_QUEUE, is_queue_name

ALL = "all"
WEIGHT_MAX = 1000
_WEIGHTED = re.compile(r"([^:]*)(?::([0-9]{1,4}))?")

Quotas = list[tuple[str, int]]


class QueueChoice(Struct, frozen=True):
    """What QUEUES says."""

    weights: Mapping[str, int] | None = None  #: in order; None: all queues that there are, equally
    strict: bool = False  #: a queue gives jobs only while those before it have none


def read_queues(text: str) -> QueueChoice:
    """`all`; `a:6,b:3` with weights; `a,b` in strict order. Raises InvalidSettings, which says what is allowed."""
    parts = [part.strip() for part in text.split(",")]
    if parts == [ALL]:
        return QueueChoice()
    weights: dict[str, int] = {}
    weighted = 0
    for part in parts:
        match = _WEIGHTED.fullmatch(part)
        name, weight = (match[1], match[2]) if match else ("", None)
        if not is_queue_name(name) or name in weights or (weight is not None and not 0 < int(weight) <= WEIGHT_MAX):
            raise InvalidSettings([f"QUEUES={text[:200]!r}: {_ALLOWED}"])
        weighted += weight is not None
        weights[name] = int(weight or 1)
    if weighted not in {0, len(weights)}:
        raise InvalidSettings([f"QUEUES={text[:200]!r}: {_ALLOWED}"])
    return QueueChoice(weights, strict=not weighted)


_ALLOWED = (
    f"allowed are `{ALL}`, names in strict order (`critical,default`), or names with weights from 1 to {WEIGHT_MAX} "
    "(`critical:6,default:3`); a name has 1 to 64 letters, digits, - and _, and comes once"
)


class Served:
    """How many tasks to ask of each queue: over many claims, as the weights say.

    Each claim adds to the credit of each queue what it has a right to, and takes away what it has given. What a queue
    does not use while it is empty is forgotten.
    Mutable state: the queues that are known, the credit of each, and what the last claim was offered.
    """

    def __init__(self, choice: QueueChoice) -> None:
        self._choice = choice
        self._credit: dict[str, float] = {}
        self._offered: dict[str, int] = {}
        self.learn({DEFAULT_QUEUE})

    def learn(self, known: Iterable[str]) -> None:
        """These queues are there; of use only where all are served."""
        names = self._choice.weights if self._choice.weights is not None else sorted({*known, *self._credit})
        self._credit = {name: self._credit.get(name, 0.0) for name in names}

    @property
    def names(self) -> Collection[str]:
        return self._credit.keys()

    @property
    def takes_default(self) -> bool:
        return DEFAULT_QUEUE in self._credit

    @property
    def takes_others(self) -> bool:
        """Are there queues besides the default one?"""
        return len(self._credit) > self.takes_default

    def quotas(self, count: int) -> Quotas:
        """As Queue.claim takes them; none where the default queue is the only one."""
        if not self.takes_others:
            return []
        if self._choice.strict:
            return [(name, count) for name in self._credit]
        weights = self._choice.weights or dict.fromkeys(self._credit, 1)
        total = sum(weights[name] for name in self._credit)
        for name in self._credit:
            self._credit[name] += count * weights[name] / total
        left = count
        self._offered = {}
        for name in sorted(self._credit, key=lambda name: -self._credit[name]):
            self._offered[name] = quota = max(0, min(left, math.floor(self._credit[name])))
            left -= quota
        return list(self._offered.items())

    def took(self, taken: Mapping[str, int], count: int) -> None:
        """So many came from each, of `count` that were asked for."""
        if sum(taken.values()) < count:  # all of them are empty
            self._credit = dict.fromkeys(self._credit, 0.0)
            return
        for name, credit in self._credit.items():
            given = taken.get(name, 0)
            # One that gave less than it owed is empty, and has no right to more later. What was given because others
            # were empty is no debt.
            self._credit[name] = max(-1.0, credit - given) if given >= self._offered.get(name, 0) else 0.0
