"""What those who watch are told, and what it costs: the poller alone, on a clock that jumps."""

from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
import trio

from workqueue.core.errors import StoreUnavailable
from workqueue.core.store import ChangedRow, Changes, ProgressRow, WatchedRow
from workqueue.services.health import DependencyHealth
from workqueue.services.producer.events import (
    CHANGED_MAX,
    MICROSECONDS,
    OVERLAP_US,
    STREAMS_MAX,
    Events,
    Subscription,
    TooManyStreams,
)
from workqueue.services.producer.views import Overview

NO_JOBS: frozenset[UUID] = frozenset()
BEGINNING = 1_700_000_000 * MICROSECONDS
MANY = 1_000_000  #: a limit that plays no part in a test


class Rows:
    """A table of jobs. Mutable state: its rows, what was asked, and how Postgres does."""

    def __init__(self) -> None:
        self.changed: dict[UUID, ChangedRow] = {}
        self.watched: dict[UUID, WatchedRow] = {}
        self.overviews: list[float] = []
        self.looks: list[int | None] = []
        self.watches: list[int] = []
        self.away = False
        self.look_seconds = 0.0
        self.more = False
        self.done = 0

    @property
    def now(self) -> int:
        return BEGINNING + round(trio.current_time() * MICROSECONDS)

    def change(self, state: str = "pending", job_id: UUID | None = None, *, seconds_ago: float = 0.0) -> UUID:
        job_id = job_id or uuid4()
        at = self.now - round(seconds_ago * MICROSECONDS)
        self.changed[job_id] = ChangedRow(job_id, "a", state, at)
        self.watched[job_id] = WatchedRow(job_id, state, 0, False, None, None)
        return job_id

    async def overview(self) -> Overview:
        await trio.lowlevel.checkpoint()
        self.overviews.append(trio.current_time())
        health = DependencyHealth(True, 1.0, None)
        numbers: dict[str, Any] = dict.fromkeys(
            ("waiting", "scheduled", "dead", "workers", "concurrency", "running", "jobs_failed"), 0
        )
        return Overview(
            queue_name="q", version="", kept=None, oldest_seconds=None, paused=[], redis=health, postgres=health,
            jobs_done=self.done, **numbers,
        )  # fmt: skip

    async def since(self, position: int | None, *, max_seconds: float, limit: int) -> Changes:
        self.looks.append(position)
        await trio.sleep(self.look_seconds)
        if self.away:
            raise StoreUnavailable("away")
        first = max(self.now if position is None else position, self.now - round(max_seconds * MICROSECONDS))
        rows = [row for row in self.changed.values() if row.at_us >= first - OVERLAP_US]
        return Changes(self.now, rows[:limit], self.more or len(rows) > limit)

    async def read(self, ids: Sequence[UUID]) -> dict[UUID, WatchedRow]:
        self.watches.append(len(ids))
        await trio.lowlevel.checkpoint()
        if self.away:
            raise StoreUnavailable("away")
        return {job_id: self.watched[job_id] for job_id in ids if job_id in self.watched}


@pytest.fixture
def rows() -> Rows:
    return Rows()


@pytest.fixture
async def events(rows: Rows, nursery: trio.Nursery) -> Events:
    """Its poller runs."""
    ours = Events(rows.overview, rows.since, rows.read)
    nursery.start_soon(ours.run)
    return ours


def parse(piece: bytes) -> list[tuple[str, int | None, dict[str, Any]]]:
    """Name, id and data of each event."""
    found = []
    for event in piece.decode().split("\n\n")[:-1]:
        lines = dict(line.split(": ", 1) for line in event.split("\n"))
        number = int(lines["id"]) if "id" in lines else None
        found.append((lines["event"], number, msgspec.json.decode(lines["data"])))
    return found


async def jobs_of(subscription: Subscription, seconds: float = 2.5) -> list[dict[str, Any]]:
    """The data of all `jobs` that come within some seconds."""
    found = []
    with trio.move_on_after(seconds):
        while True:
            found += [data for name, _, data in parse(await subscription.take()) if name == "jobs"]
    return found


def states(found: list[dict[str, Any]]) -> dict[str, str]:
    return {job["id"]: job["status"] for data in found for job in data["changed"]}


# --- what it costs


async def test_a_hundred_cost_one_poll_and_none_cost_nothing(autojump_clock, events, rows):
    await trio.sleep(10)
    assert (rows.overviews, rows.looks, rows.watches) == ([], [], [])
    ids = [rows.change() for _ in range(2 * STREAMS_MAX)]
    with ExitStack() as stack:
        for number in range(STREAMS_MAX):
            watched = frozenset(ids[2 * number : 2 * number + 2])
            stack.enter_context(events.subscribe(watched, rows.now, limit=MANY))
        await trio.sleep(10.3)
    assert len(rows.overviews) == 11
    assert len(rows.looks) == 12, "one more for all who came back"
    assert 20 <= len(rows.watches) <= 22
    assert set(rows.watches) == {2 * STREAMS_MAX}
    asked = len(rows.overviews), len(rows.looks), len(rows.watches)
    await trio.sleep(10)
    assert (len(rows.overviews), len(rows.looks), len(rows.watches)) == asked


async def test_slow_looks_are_rare(autojump_clock, events, rows):
    rows.look_seconds = 0.5
    with events.subscribe(NO_JOBS, None, limit=MANY):
        await trio.sleep(100)
    assert 5 <= len(rows.looks) <= 11, "5 % of the time"


async def test_there_is_a_limit_and_a_place_is_free_again(autojump_clock, events):
    with ExitStack() as stack:
        for _ in range(STREAMS_MAX):
            stack.enter_context(events.subscribe(NO_JOBS, None, limit=MANY))
        with pytest.raises(TooManyStreams), events.subscribe(NO_JOBS, None, limit=MANY):
            pass
        assert len(events) == STREAMS_MAX
    assert len(events) == 0
    with events.subscribe(NO_JOBS, None, limit=1), pytest.raises(TooManyStreams):
        stack.enter_context(events.subscribe(NO_JOBS, None, limit=1))


# --- counts


async def test_counts_come_at_once_and_each_second(autojump_clock, events, rows):
    with events.subscribe(NO_JOBS, None, limit=MANY) as subscription:
        begun = trio.current_time()
        for second in range(5):
            assert [name for name, _, _ in parse(await subscription.take())] == ["counts"]
            assert trio.current_time() - begun == pytest.approx(second, abs=0.1)
        await trio.sleep(0.5)
        with events.subscribe(NO_JOBS, None, limit=MANY) as late, trio.fail_after(0.1):
            await late.take()


async def test_for_a_client_that_does_not_read_the_newest_counts_replace_the_older_ones(autojump_clock, events, rows):
    with events.subscribe(NO_JOBS, None, limit=MANY) as subscription:
        for rows.done in range(1, 31):
            await trio.sleep(1)
        counts = [data for name, _, data in parse(await subscription.take()) if name == "counts"]
    assert [each["jobs_done"] for each in counts] in ([29], [30])


async def test_counts_are_told_once(autojump_clock, events, rows):
    with events.subscribe(NO_JOBS, None, limit=MANY) as subscription:
        await trio.sleep(3.5)
        assert [name for name, _, _ in parse(await subscription.take())] == ["counts"]
        subscription.add_changes([], True, rows.now)
        assert [name for name, _, _ in parse(await subscription.take())] == ["jobs"]


async def test_the_id_of_counts_is_how_far_changes_are_told(autojump_clock, events, rows):
    with events.subscribe(NO_JOBS, None, limit=MANY) as subscription:
        await trio.sleep(30)
        [(_, position, _)] = parse(await subscription.take())
        assert position is not None
        assert rows.now - 2 * MICROSECONDS <= position <= rows.now


# --- changes


async def test_each_change_is_told_once(autojump_clock, events, rows):
    with events.subscribe(NO_JOBS, None, limit=MANY) as subscription:
        await trio.sleep(3)
        job_id = rows.change()
        [told] = await jobs_of(subscription)
        assert told == {"changed": [{"id": str(job_id), "type": "a", "status": "pending"}], "more": False}
        assert await jobs_of(subscription, 10) == []
        rows.change("completed", job_id)
        assert states(await jobs_of(subscription)) == {str(job_id): "completed"}


async def test_what_is_committed_late_is_told(autojump_clock, events, rows):
    with events.subscribe(NO_JOBS, None, limit=MANY) as subscription:
        await trio.sleep(30)
        job_id = rows.change(seconds_ago=4.5)  # its transaction began then
        assert states(await jobs_of(subscription)) == {str(job_id): "pending"}


async def test_what_happens_while_a_client_comes_is_told(autojump_clock, events, rows):
    """The first look may begin long after the subscription: the pool may have no connection free."""
    rows.look_seconds = 3
    with events.subscribe(NO_JOBS, None, limit=MANY) as first:
        await trio.sleep(1)
        job_id = rows.change()
        with events.subscribe(NO_JOBS, None, limit=MANY) as second:
            other = rows.change()
            for subscription in (first, second):
                assert set(states(await jobs_of(subscription, 5))) == {str(job_id), str(other)}


async def test_jobs_are_merged_up_to_a_limit_and_then_there_are_more(autojump_clock, events, rows):
    with events.subscribe(NO_JOBS, None, limit=MANY) as subscription:
        await trio.sleep(1)
        job_id = rows.change()
        for state in ("processing", "completed"):
            await trio.sleep(2)
            rows.change(state, job_id)
        await trio.sleep(2)
        assert [job["status"] for data in await jobs_of(subscription) for job in data["changed"]] == ["completed"]
        for _ in range(10):
            for _ in range(CHANGED_MAX // 5):
                rows.change()
            await trio.sleep(2)
        [told] = await jobs_of(subscription)
        assert (len(told["changed"]), told["more"]) == (CHANGED_MAX, True)
        assert await jobs_of(subscription) == []


@pytest.mark.parametrize("how", ["many at once", "more than were read"])
async def test_of_many_changes_the_newest_are_told_and_that_there_are_more(autojump_clock, events, rows, how):
    with events.subscribe(NO_JOBS, None, limit=MANY) as subscription:
        await trio.sleep(3)
        newest = {str(rows.change()) for _ in range(50)}
        if how == "many at once":
            for number in range(60):
                rows.change(seconds_ago=1 + number / 100)
        rows.more = how == "more than were read"
        [told] = (await jobs_of(subscription, 1))[:1]
        assert told["more"]
        assert newest <= set(states([told]))
        assert len(told["changed"]) <= CHANGED_MAX


async def test_after_an_outage_there_are_more(autojump_clock, events, rows):
    with events.subscribe(NO_JOBS, None, limit=MANY) as subscription:
        await trio.sleep(3)
        rows.away = True
        assert await jobs_of(subscription, 120) == []
        assert len(rows.overviews) > 100, "counts go on"
        with events.subscribe(NO_JOBS, None, limit=MANY) as late:
            await trio.sleep(2)
            rows.away = False
            for each in (subscription, late):
                assert [data["more"] for data in await jobs_of(each)] == [True]


# --- a client that comes back


async def test_a_client_that_comes_back_is_told_what_it_missed(autojump_clock, events, rows):
    with events.subscribe(NO_JOBS, None, limit=MANY):
        await trio.sleep(100)
        before, missed = rows.change(seconds_ago=40), rows.change(seconds_ago=10)
        position = rows.now - 20 * MICROSECONDS
        with events.subscribe(NO_JOBS, position, limit=MANY) as back:
            [told] = await jobs_of(back)
            assert (states([told]), told["more"]) == ({str(missed): "pending"}, False)
            assert str(before) not in states([told])
            new = rows.change()
            assert states(await jobs_of(back)) == {str(new): "pending"}


@pytest.mark.parametrize("ago", [0, 3600, 61, -10])
async def test_what_is_too_long_ago_or_of_another_clock_is_fetched_anew(autojump_clock, events, rows, ago):
    await trio.sleep(100)
    rows.change(seconds_ago=1)
    position = rows.now - ago * MICROSECONDS if ago else 0
    with events.subscribe(NO_JOBS, position, limit=MANY) as back:
        assert await jobs_of(back) == [{"changed": [], "more": True}]
        assert position not in rows.looks, "no statement looks that far back"


async def test_clients_that_come_back_together_are_told_each_what_it_missed(autojump_clock, events, rows):
    await trio.sleep(100)
    long_ago, lately = rows.change(seconds_ago=40), rows.change(seconds_ago=10)
    with (
        events.subscribe(NO_JOBS, rows.now - 50 * MICROSECONDS, limit=MANY) as first,
        events.subscribe(NO_JOBS, rows.now - 20 * MICROSECONDS, limit=MANY) as second,
        events.subscribe(NO_JOBS, rows.now - 90 * MICROSECONDS, limit=MANY) as third,
    ):
        assert set(states(await jobs_of(first))) == {str(long_ago), str(lately)}
        assert set(states(await jobs_of(second))) == {str(lately)}
        assert await jobs_of(third) == [{"changed": [], "more": True}]


async def test_more_than_can_be_told_is_fetched_anew(autojump_clock, events, rows):
    await trio.sleep(100)
    for _ in range(CHANGED_MAX + 1):
        rows.change(seconds_ago=10)
    with events.subscribe(NO_JOBS, rows.now - 20 * MICROSECONDS, limit=MANY) as back:
        assert await jobs_of(back) == [{"changed": [], "more": True}]


async def test_a_client_that_comes_back_in_an_outage_is_told_after_it(autojump_clock, events, rows):
    await trio.sleep(100)
    missed = rows.change(seconds_ago=1)
    rows.away = True
    with events.subscribe(NO_JOBS, rows.now - 2 * MICROSECONDS, limit=MANY) as back:
        assert await jobs_of(back, 10) == []
        rows.away = False
        assert states(await jobs_of(back)) == {str(missed): "pending"}


# --- jobs that are watched


async def watched(subscription: Subscription, seconds: float) -> list[dict[str, Any]]:
    found = []
    with trio.move_on_after(seconds):
        while True:
            found += [data for name, _, data in parse(await subscription.take()) if name == "job"]
    return found


async def test_a_watched_job_is_told_at_once_and_when_it_changes(autojump_clock, events, rows):
    job_id, missing = rows.change(), uuid4()
    with events.subscribe(NO_JOBS, None, limit=MANY):
        await trio.sleep(10.2)
        with events.subscribe(frozenset({job_id, missing}), None, limit=MANY) as subscription:
            told = {each["id"]: each for each in await watched(subscription, 0.01)}
            assert told == {
                str(job_id): {"id": str(job_id), "status": "pending", "attempts": 0, "cancelling": False,
                              "run_at": None, "progress": None, "missing": False},
                str(missing): {"id": str(missing), "status": None, "attempts": None, "cancelling": None,
                               "run_at": None, "progress": None, "missing": True},
            }  # fmt: skip
            assert await watched(subscription, 5) == []
            progress = ProgressRow(0.5, "half", datetime(2026, 1, 1, tzinfo=UTC))
            rows.watched[job_id] = WatchedRow(job_id, "processing", 0, False, None, progress)
            [told] = await watched(subscription, 0.6)
            assert [told["status"], told["progress"]["fraction"]] == ["processing", 0.5]
            del rows.watched[job_id]
            assert [told["missing"] for told in await watched(subscription, 0.6)] == [True]


async def test_many_who_come_together_are_told_at_once_by_few_statements(autojump_clock, events, rows):
    ids = [rows.change() for _ in range(50)]
    with ExitStack() as stack:
        for job_id in ids:
            subscription = stack.enter_context(events.subscribe(frozenset({job_id}), None, limit=MANY))
            await trio.sleep(0.001)
        [told] = await watched(subscription, 0.1)
        assert told["id"] == str(ids[-1])
        assert len(rows.watches) <= 4


async def test_another_job_is_told_at_once_where_some_are_watched_already(autojump_clock, events, rows):
    with events.subscribe(frozenset({rows.change()}), None, limit=MANY):
        for wait in (10.2, 0.01, 0.3):
            await trio.sleep(wait)
            with events.subscribe(frozenset({rows.change()}), None, limit=MANY) as subscription:
                assert len(await watched(subscription, 0.1)) == 1


async def test_each_client_is_told_of_its_own_jobs_alone(autojump_clock, events, rows):
    one, two = rows.change(), rows.change()
    with (
        events.subscribe(frozenset({one}), None, limit=MANY) as first,
        events.subscribe(frozenset({two}), None, limit=MANY) as second,
    ):
        assert [each["id"] for each in await watched(first, 3)] == [str(one)]
        assert [each["id"] for each in await watched(second, 3)] == [str(two)]


async def test_an_outage_is_waited_out(autojump_clock, events, rows):
    job_id = rows.change()
    rows.away = True
    with events.subscribe(frozenset({job_id}), None, limit=MANY) as subscription:
        assert await watched(subscription, 20) == []
        assert len(rows.watches) <= 21
        rows.away = False
        assert len(await watched(subscription, 2)) == 1


async def test_a_subscription_that_is_ended_tells_nothing_more(autojump_clock, events, rows):
    with events.subscribe(NO_JOBS, None, limit=MANY) as subscription:
        await trio.sleep(1)
        subscription.end()
        assert await subscription.take() == b""
        assert await subscription.take() == b""
