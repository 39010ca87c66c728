from random import Random

from workqueue.core.retry import Pauses


def test_pauses_double_up_to_a_cap_until_they_are_reset():
    pauses = Pauses(0.5, 3)
    assert [pauses.next() for _ in range(5)] == [0.5, 1, 2, 3, 3]
    pauses.reset()
    assert [pauses.next() for _ in range(2)] == [0.5, 1]


def test_the_jitter_of_a_pause_takes_its_share_and_never_adds():
    pauses = Pauses(1, 1, jitter=0.5, random=Random(7))
    drawn = [pauses.next() for _ in range(500)]
    assert all(0.5 <= pause <= 1 for pause in drawn)
    assert min(drawn) < 0.55
    assert max(drawn) > 0.95
