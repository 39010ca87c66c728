"""Counts of accepted jobs."""

from workqueue.core.stats import OTHER_TYPES, TYPES_MAX, Sums, TypeSums
from workqueue.services.producer.enqueued import Enqueued


def test_counts_are_taken_once_and_types_are_bounded():
    enqueued = Enqueued()
    enqueued.add(["x", "y", "x"])
    assert enqueued.take() == Sums({"x": TypeSums(2), "y": TypeSums(1)})
    assert enqueued.take() == Sums()
    enqueued.add(f"t{number}" for number in range(TYPES_MAX))
    types = enqueued.take().types
    assert types[OTHER_TYPES] == TypeSums(2), "x and y have names already"
    assert len(types) == TYPES_MAX - 1
    enqueued.add(["x"])
    assert enqueued.take().types == {"x": TypeSums(1)}
