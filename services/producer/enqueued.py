"""How many jobs of each type this process has accepted, for the stored statistics."""

from collections import Counter
from collections.abc import Iterable

from workqueue.core.stats import OTHER_TYPES, TYPES_MAX, Sums, TypeSums


class Enqueued:
    """Mutable state: what was accepted since it was taken, and which types have a name of their own."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._named: set[str] = set()

    def add(self, types: Iterable[str]) -> None:
        """Jobs of these types were accepted. Beyond TYPES_MAX further types are counted together."""
        self._counts.update(types)

    def take(self) -> Sums:
        """What was accepted since the last time."""
        counts, self._counts = self._counts, Counter()
        sums: dict[str, TypeSums] = {}
        for job_type, count in counts.items():
            sums.setdefault(self._name(job_type), TypeSums()).enqueued += count
        return Sums(sums)

    def _name(self, job_type: str) -> str:
        if job_type not in self._named:
            if len(self._named) >= TYPES_MAX:
                return OTHER_TYPES
            self._named.add(job_type)
        return job_type
