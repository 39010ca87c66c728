"""Who goes first where there is no room: pure but for the clock."""

import pytest
import trio

from workqueue.services.http import connections
from workqueue.services.http.connections import Budget, Connections, Limits

KIB = 1024


class Client:
    """A connection as Connections sees it."""

    def __init__(self, *, idle: float | None = None, body: float | None = None, stalled: float | None = None) -> None:
        self.idle_since, self.body_since, self.stalled_since = idle, body, stalled
        self.ended = False

    def end(self) -> None:
        self.ended = True


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_descriptors", lambda: 100_000)


@pytest.mark.usefixtures("many")
async def test_the_one_that_was_idle_longest_makes_room(autojump_clock):
    await trio.sleep(100)
    of_all = Connections(Limits(connections=3))
    old, young, busy = Client(idle=10), Client(idle=20), Client()
    assert all(of_all.admit(client) for client in (young, old, busy))
    assert of_all.admit(Client())
    assert [client.ended for client in (old, young, busy)] == [True, False, False]
    assert len(of_all) == 3


@pytest.mark.usefixtures("many")
async def test_a_slow_body_and_an_answer_that_is_not_taken_make_room_after_a_while(autojump_clock):
    await trio.sleep(100)
    now = trio.current_time()
    of_all = Connections(Limits(connections=2))
    drips, stalls = Client(body=now - 1), Client(stalled=now - 0.5)
    assert of_all.admit(drips)
    assert of_all.admit(stalls)
    refused = Client(idle=now)
    assert not of_all.admit(refused)
    await trio.sleep(2)
    assert of_all.admit(Client())
    assert (drips.ended, stalls.ended) == (False, True)
    await trio.sleep(10)
    assert of_all.admit(Client())
    assert drips.ended


@pytest.mark.usefixtures("many")
async def test_where_all_are_at_work_a_new_one_is_refused(autojump_clock):
    of_all = Connections(Limits(connections=1))
    first = Client()
    assert of_all.admit(first)
    assert not of_all.admit(Client(idle=0))
    of_all.leave(first)
    assert of_all.admit(Client(idle=0))


async def test_the_descriptors_of_the_process_bound_the_connections(monkeypatch):
    monkeypatch.setattr(connections, "_descriptors", lambda: 1024)
    assert Connections(Limits(connections=5000)).limit == 1024 - connections.DESCRIPTORS_KEPT
    assert Connections(Limits(connections=100)).limit == 100
    monkeypatch.setattr(connections, "_descriptors", lambda: 64)
    assert Connections().limit == 16


def test_a_budget_lets_one_in_that_is_larger_than_everything():
    budget = Budget(100 * KIB)
    assert budget.has_room(1000 * KIB)
    budget.bytes = 1000 * KIB
    assert not budget.has_room(65 * KIB)


def test_what_is_small_has_room_though_others_have_filled_it():
    budget = Budget(100 * KIB)
    budget.bytes = 100 * KIB
    assert budget.has_room(64 * KIB)
    assert budget.has_room(32 * KIB, kept=32 * KIB)
    assert not budget.has_room(1, kept=64 * KIB)


@pytest.mark.usefixtures("many")
async def test_answers_that_are_not_taken_are_given_up_for_others(autojump_clock):
    await trio.sleep(100)
    now = trio.current_time()
    of_all = Connections(Limits(buffered_bytes=1000 * KIB))
    clients = [Client(stalled=now - age) for age in (0.5, 30, 20)]

    class Freeing(Client):
        def end(self) -> None:
            of_all.budget.bytes -= 500 * KIB * (not self.ended)
            super().end()

    slowest = Freeing(stalled=now - 40)
    for client in (*clients, slowest):
        of_all.admit(client)
    of_all.budget.bytes = 1000 * KIB
    assert of_all.make_room(500 * KIB)
    assert slowest.ended
    assert not any(client.ended for client in clients)
    assert not of_all.make_room(600 * KIB)
    assert [client.ended for client in clients] == [False, True, True]  # the first one is still being read
