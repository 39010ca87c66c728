"""What the full dead letters drop is told by type, and seldom."""

from workqueue.core.steps.dropped import TELL_SECONDS, Dropped


def test_types_are_summed_and_told_once_in_a_while(caplog):
    now = 100.0
    dropped = Dropped(lambda: now)
    dropped.add({})
    dropped.tell(at_once=True)
    assert caplog.messages == []
    dropped.add({"a": 2, "": 1})
    for number in range(1000):
        dropped.add({f"type {number % 10}": number % 10 + 1})
    assert caplog.messages == ["dead letters are full: the oldest 3 were dropped (2 of a, 1 of no known type)"]
    now += TELL_SECONDS
    dropped.tell()
    assert caplog.messages[1:] == [
        "dead letters are full: the oldest 5500 were dropped (1000 of type 9, 900 of type 8, 800 of type 7, "
        "700 of type 6, 600 of type 5, 1500 of others)"
    ]
    dropped.add({"a\nb\x1b": 1})
    dropped.tell(at_once=True)
    assert caplog.messages[2:] == ["dead letters are full: the oldest 1 were dropped (1 of a?b?)"]
    assert dropped.total == 5504
