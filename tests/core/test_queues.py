import pytest
from hypothesis import given
from hypothesis import strategies as st

from workqueue.core.errors import InvalidSettings
from workqueue.core.options import DEFAULT_QUEUE
from workqueue.core.queues import QueueChoice, Served, read_queues


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("all", QueueChoice()),
        ("mail", QueueChoice({"mail": 1}, strict=True)),
        ("critical,default , low", QueueChoice({"critical": 1, "default": 1, "low": 1}, strict=True)),
        ("critical:6,default:3,low:1", QueueChoice({"critical": 6, "default": 3, "low": 1})),
    ],
)
def test_what_queues_says(text, choice):
    assert read_queues(text) == choice
    assert list(read_queues(text).weights or []) == list(choice.weights or [])


@pytest.mark.parametrize(
    "text", ["", ",", "a,", "a b", "a:0", "a:1001", "a:x", "a:1,b", "a,a", "a:1,a:2", "ü", "a" * 65, "a::1", "a:-1"]
)
def test_what_it_cannot_say_is_named_with_what_is_allowed(text):
    with pytest.raises(InvalidSettings) as refused:
        read_queues(text)
    [fault] = refused.value.faults
    assert fault.startswith(f"QUEUES={text!r}: allowed are `all`")


def test_the_default_queue_alone_costs_nothing():
    served = Served(QueueChoice())
    assert (served.takes_default, served.takes_others, served.quotas(100)) == (True, False, [])
    served.learn({DEFAULT_QUEUE})
    assert served.quotas(100) == []


def test_of_all_queues_each_gets_as_much():
    served = Served(QueueChoice())
    served.learn({"mail", "pdf"})
    assert dict(served.quotas(9)) == {"default": 3, "mail": 3, "pdf": 3}


def test_strict_order_offers_all_to_each_in_turn():
    served = Served(read_queues("critical,default"))
    served.learn({"mail"})
    assert served.quotas(7) == [("critical", 7), ("default", 7)]
    assert Served(read_queues("mail")).takes_default is False


def drain(served: Served, lengths: dict[str, int], count: int) -> dict[str, int]:
    """As claim.lua does it: what each queue owes, then what is left, in order."""
    quotas = served.quotas(count)
    taken = dict.fromkeys(lengths, 0)
    for first in (True, False):
        for name, quota in quotas:
            more = min(lengths[name], count - sum(taken.values()), quota if first else count)
            taken[name] += more
            lengths[name] -= more
    served.took(taken, count)
    return taken


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 50), min_size=2), st.integers(1, 40))
def test_full_queues_are_drained_as_their_weights_say(weights, count):
    served = Served(QueueChoice(weights))
    lengths = dict.fromkeys(weights, 10**9)
    rounds = 50 * sum(weights.values())
    total = dict.fromkeys(weights, 0)
    for _ in range(rounds):
        for name, taken in drain(served, lengths, count).items():
            total[name] += taken
    for name, weight in weights.items():
        expected = rounds * count * weight / sum(weights.values())
        assert abs(total[name] - expected) <= 2 * count + len(weights)


@given(
    st.dictionaries(st.sampled_from("abcd"), st.integers(1, 9), min_size=2),
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 30), st.integers(1, 20)), max_size=60),
)
def test_nothing_is_left_where_there_is_room_and_no_idle_queue_saves_up(weights, events):
    served = Served(QueueChoice(weights))
    lengths = dict.fromkeys(weights, 0)
    for name, more, count in events:
        if name in lengths:
            lengths[name] += more
        before = sum(lengths.values())
        taken = sum(drain(served, lengths, count).values())
        assert taken == min(before, count)
    lengths = dict.fromkeys(weights, 10**6)
    first = drain(served, lengths, 100 * sum(weights.values()))
    for name, weight in weights.items():
        assert abs(first[name] - 100 * weight) <= 2 * len(weights)
