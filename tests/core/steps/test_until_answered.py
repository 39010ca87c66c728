from collections import Counter
from itertools import pairwise

import pytest
import trio
from trio.testing import MockClock

from workqueue.core.errors import LeaseLost, QueueUnavailable, StoreBusy, StoreUnavailable
from workqueue.core.steps.heartbeat import beating_for
from workqueue.core.steps.until_answered import LONGEST_PAUSE_SECONDS, UntilAnswered


async def test_a_trip_is_repeated_with_pauses_that_grow_to_a_second(autojump_clock: MockClock):
    tries: list[float] = []

    async def trip() -> str:
        tries.append(trio.current_time())
        if len(tries) < 12:
            raise (QueueUnavailable, StoreUnavailable, StoreBusy)[len(tries) % 3]("away")
        return "there"

    assert await UntilAnswered()(trip) == "there"
    pauses = [after - before for before, after in pairwise(tries)]
    assert pauses[0] <= 0.05
    assert all(0.5 <= pause <= LONGEST_PAUSE_SECONDS for pause in pauses[6:])


async def test_those_that_wait_for_one_server_do_not_march_in_step(autojump_clock: MockClock):
    """Or a hundred workers would all knock in the moment of its return, and each second before."""
    tries: list[float] = []

    async def trip() -> None:
        tries.append(trio.current_time())
        raise QueueUnavailable("away")

    with trio.move_on_after(3):
        async with trio.open_nursery() as workers:
            for _ in range(50):
                workers.start_soon(UntilAnswered(), trip)
    at_once = Counter(int((at - tries[0]) * 10) for at in tries if at - tries[0] > 1)
    assert max(at_once.values()) < 25, "half of them in a tenth of a second"


async def test_what_is_no_outage_is_not_repeated(autojump_clock: MockClock):
    async def trip() -> None:
        raise LeaseLost("lost")

    with pytest.raises(LeaseLost):
        await UntilAnswered()(trip)


async def test_it_can_be_cancelled_while_it_waits(autojump_clock: MockClock):
    async def trip() -> None:
        raise QueueUnavailable("away")

    with trio.move_on_after(60) as scope:
        await UntilAnswered()(trip)
    assert scope.cancelled_caught


async def test_a_trip_that_goes_on_failing_is_told_of(autojump_clock: MockClock):
    """A full disk does not show in a check of whether the server answers."""
    told: list[float] = []
    begun = trio.current_time()

    async def trip() -> str:
        if trio.current_time() - begun < 20:
            raise StoreUnavailable("no space left")
        return "done"

    until_answered = UntilAnswered(lambda error: told.append(trio.current_time() - begun))
    assert await until_answered(trip) == "done"
    assert 5 < told[0] < 7
    assert len(told) > 10, "each time: the listener logs it once"


async def test_there_is_a_sign_of_life_before_each_try(autojump_clock):
    # One sign for the whole trip: a worker would be ended with status 70 some 45 s into any outage.
    signs: list[float] = []
    tries = 0

    async def trip() -> str:
        nonlocal tries
        tries += 1
        assert len(signs) == tries
        if tries < 4:
            raise QueueUnavailable("away")
        return "answered"

    with beating_for(signs.append):
        assert await UntilAnswered()(trip) == "answered"
    assert tries == 4
