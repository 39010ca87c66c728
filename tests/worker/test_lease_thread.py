"""The thread that keeps a lease: which lease is fresh, and since when this worker is steady."""

from functools import partial
from uuid import UUID

import trio

from tests.support.wait import until_true
from workqueue.core.errors import QueueUnavailable
from workqueue.core.queue import LeaseConnection
from workqueue.core.steps.lease import Lease
from workqueue.services.worker.lease_thread import LeaseThread


def no_look() -> None:
    """The watchdog has nothing to say."""


class Connection(LeaseConnection):
    """Answers as Redis does to a worker that was frozen beyond its lease."""

    def __init__(self) -> None:
        self.renewals = [True, False]
        self.registered = 0

    def register(self, lease: UUID, published: bytes) -> None:
        self.registered += 1

    def renew(self, lease: UUID, published: bytes) -> bool:
        if not self.renewals:
            raise QueueUnavailable("later")
        return self.renewals.pop(0)


async def test_a_lost_lease_is_stale_although_the_next_one_is_there_before_the_loop_hears_of_it():
    """The loop of a worker that wakes from a freeze may get to a consumer first: it must not start the old job."""
    lost: list[Lease] = []
    thread = LeaseThread(Connection, term_seconds=10, took=lost.append, lost=lost.append, look=no_look)
    connection, token = Connection(), trio.lowlevel.current_trio_token()
    old, _ = thread._trip(connection, None, token)
    assert old is not None
    assert thread.is_fresh(old)
    assert thread._trip(connection, old, token)[0] is old
    assert thread._trip(connection, old, token)[0] is None
    new, _ = thread._trip(connection, None, token)
    assert new is not None
    assert not old.lost, "the loop has not run yet"
    assert thread.is_fresh(new)
    assert not thread.is_fresh(old)
    await until_true(partial(lost.__contains__, new))


async def test_a_registration_that_had_no_answer_is_not_repeated_under_the_same_id():
    """It may arrive when that lease is long retired, and would revive it: each send has an id of its own."""
    ids: list[UUID] = []

    class Unanswered(Connection):
        def register(self, lease: UUID, published: bytes) -> None:
            ids.append(lease)
            raise QueueUnavailable("no answer")

    thread = LeaseThread(Unanswered, term_seconds=10, took=print, lost=print, look=no_look)
    connection, token = Unanswered(), trio.lowlevel.current_trio_token()
    for _ in range(3):
        assert thread._trip(connection, None, token)[0] is None
    assert len(set(ids)) == 3


async def test_a_renewal_counts_from_its_sending_and_a_slow_one_not_at_all():
    """Stopped between the answer and its reading, a worker would take a lease for fresh that others have fenced."""
    now = [1000.0]

    class Slow(Connection):
        seconds = 0.0

        def register(self, lease: UUID, published: bytes) -> None:
            now[0] += self.seconds

        def renew(self, lease: UUID, published: bytes) -> bool:
            now[0] += self.seconds
            return True

    thread = LeaseThread(Slow, term_seconds=10, took=print, lost=print, look=no_look, clock=lambda: now[0])
    connection, token = Slow(), trio.lowlevel.current_trio_token()
    connection.seconds = 1.9
    lease, _ = thread._trip(connection, None, token)
    assert lease is not None
    steady = thread.steady_since()
    now[0] += 4.0
    assert thread.is_fresh(lease)
    now[0] += 0.2
    assert not thread.is_fresh(lease), "6.1 s after the sending, 4.2 s after the answer"
    connection.seconds = 2.1  # slower than a fifth of a term
    thread._trip(connection, lease, token)
    assert not thread.is_fresh(lease)
    assert thread.steady_since() == float("inf"), "the gap is too long by now"
    connection.seconds = 0.1
    thread._trip(connection, lease, token)
    assert thread.is_fresh(lease)
    assert thread.steady_since() > steady, "this worker was away: it watches the others from now on"


async def test_what_is_asked_is_told_each_time_that_it_changes():
    told: list[str] = []
    thread = LeaseThread(Connection, term_seconds=10, took=print, lost=print, look=no_look, asked=told.append)
    connection, token = Connection(), trio.lowlevel.current_trio_token()
    lease, _ = thread._trip(connection, None, token)
    connection.renewals = [True] * 6
    for asked in ("", "quiet", "quiet", "resume", "", "quiet"):
        connection.asked = asked
        thread._trip(connection, lease, token)
    await until_true(lambda: told == ["quiet", "resume", "", "quiet"])


async def test_what_must_not_wait_is_published_at_once(nursery):
    published: list[bytes] = []

    class Noted(Connection):
        def renew(self, lease: UUID, published_now: bytes) -> bool:
            published.append(published_now)
            return True

        def close(self) -> None: ...

    took: list[Lease] = []
    thread = LeaseThread(Noted, term_seconds=500, took=took.append, lost=print, look=no_look)
    await nursery.start(thread.run)
    await until_true(lambda: bool(took))
    began = trio.current_time()
    thread.publish(b"in its time")
    thread.publish(b"now", at_once=True)
    await until_true(lambda: published == [b"now"], seconds=1)
    assert trio.current_time() - began < 1
    with trio.fail_after(5):
        await thread.stop()
