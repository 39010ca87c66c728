"""The record of faults."""

from workqueue.services.chaos.history import Stretch, joined


def test_stretches_that_touch_are_joined():
    found = joined([Stretch(5, 6), Stretch(1, 3), Stretch(2, 4), Stretch(4, 4.5)])
    assert [(stretch.begun, stretch.ended) for stretch in found] == [(1, 4.5), (5, 6)]
