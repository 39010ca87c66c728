"""No clock judges a lease but the observer's own, and only while the observer itself could renew."""

import pytest

from tests.support.replaced import replaced
from workqueue.core.errors import QueueUnavailable
from workqueue.core.queue import LeaseConnection
from workqueue.core.steps.fencing import Fencing

TERM = 15.0


class Clock:
    """The observer's clock, and since when its own renewals have succeeded."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.steady_since = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def observe(queue, other, clock) -> Fencing:
    """`other` is the observer's own lease."""
    return Fencing(
        queue, term_seconds=TERM, mine=lambda: other.id, steady_since=lambda: clock.steady_since, clock=clock
    )


def renew(redis_url, queue, lease) -> bool:
    connection = LeaseConnection(redis_url, queue.keys, seconds=3)
    try:
        return connection.renew(lease.id, b"{}")
    finally:
        connection.close()


async def test_a_lease_that_stands_still_for_a_term_is_fenced_and_recovered(observe, queue, lease, other, clock):
    assert await observe.run_once() == []
    clock.now += TERM - 0.1
    assert await observe.run_once() == []
    clock.now += 0.2
    assert await observe.run_once() == [lease.id]
    scores = await queue.lease_scores()
    assert scores[lease.id] == 0
    assert scores[other.id] > 0, "one's own is never fenced"


async def test_a_lease_that_moves_lives_however_seldom(observe, queue, redis_url, lease, clock):
    for _ in range(5):
        assert await observe.run_once() == []
        clock.now += TERM - 0.1
        assert renew(redis_url, queue, lease)


async def test_a_jump_of_rediss_clock_fences_no_lease(redis, observe, queue, lease, clock):
    """The score is compared with what it was, never with a time."""
    await redis("ZADD", queue.keys.leases, 1, str(lease.id))  # as if its clock had stood in 1970
    assert await observe.run_once() == []
    clock.now += TERM - 0.1
    assert await observe.run_once() == []
    assert (await queue.lease_scores())[lease.id] == 1


async def test_a_clock_of_redis_that_is_set_back_fences_no_lease(redis, observe, queue, redis_url, lease, clock):
    """A failover to a server whose clock is a minute behind: renewals go on from there, and each of them is seen."""
    [ahead, *_] = await redis("TIME")
    await redis("ZADD", queue.keys.leases, (int(ahead) + 60) * 1000, str(lease.id))
    assert await observe.run_once() == []
    before = (await queue.lease_scores())[lease.id]
    clock.now += TERM - 0.1
    assert renew(redis_url, queue, lease)
    assert await observe.run_once() == []
    assert (await queue.lease_scores())[lease.id] < before - 50_000
    clock.now += TERM - 0.1
    assert await observe.run_once() == []
    clock.now += 0.2
    assert await observe.run_once() == [lease.id], "and it is watched as ever"


async def test_a_worker_that_was_away_itself_observes_anew(observe, queue, lease, clock):
    await observe.run_once()
    clock.now += TERM + 1
    clock.steady_since = clock.now - 0.5  # our own renewals succeed again since half a second
    assert await observe.run_once() == [], "it may have been Redis, or we, who were away"
    clock.now += TERM - 0.1
    assert await observe.run_once() == []
    clock.now += 0.2
    assert await observe.run_once() == [lease.id]


async def test_no_lease_is_fenced_while_the_workers_own_renewals_fail(observe, queue, lease, clock):
    clock.steady_since = float("inf")
    for _ in range(5):
        assert await observe.run_once() == []
        clock.now += TERM
    assert (await queue.lease_scores())[lease.id] > 0


async def test_a_look_that_fails_changes_nothing(observe, far_queue, redis_proxy, lease, clock):
    """Scores are compared exactly: while our own renewals succeed, what stood still all the time is gone."""
    observe._queue = far_queue
    await observe.run_once()
    clock.now += TERM - 1
    redis_proxy.go_away()
    with pytest.raises(QueueUnavailable):
        await observe.run_once()
    redis_proxy.heal()
    clock.now += 2
    assert await observe.run_once() == [lease.id]


async def test_a_lease_that_is_renewed_in_the_last_moment_is_not_fenced(redis, queue, redis_url, lease):
    score = (await queue.lease_scores())[lease.id]
    await redis("ZADD", queue.keys.leases, score - 1, str(lease.id))
    assert renew(redis_url, queue, lease)
    assert not await queue.fence(lease.id, score - 1)
    assert (await queue.lease_scores())[lease.id] > 0


async def test_what_others_fenced_or_ended_is_recovered_at_the_second_look(observe, queue, lease, registered_lease):
    ended = registered_lease()
    await queue.fence(lease.id, (await queue.lease_scores())[lease.id])
    await queue.end(ended.id)
    assert await observe.run_once() == [], "they are at it themselves"
    assert await observe.run_once() == sorted([lease.id, ended.id])


async def test_a_term_ends_before_the_question_is_asked(queue, other, lease):
    # The answer may have been on its way for long: what it says was true when it was asked for.
    now = 1000.0
    scores = queue.lease_scores

    async def slow() -> object:
        nonlocal now
        found = await scores()
        now += 4
        return found

    slowly = replaced(queue, lease_scores=slow)
    observe = Fencing(slowly, term_seconds=15, mine=lambda: other.id, steady_since=lambda: 0.0, clock=lambda: now)
    assert await observe.run_once() == []
    now += 12
    assert await observe.run_once() == []
