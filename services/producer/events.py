"""What those who watch are told, as it happens: one poller for all of them, which rests while there are none.

Postgres is asked once a second, however many watch. A message for each job that changes would cost every job, watched
or not.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import NoReturn, Protocol
from uuid import UUID

import msgspec
import trio
from msgspec import Struct

from workqueue.core.errors import StoreUnavailable, WorkQueueError
from workqueue.core.job import JobState
from workqueue.core.store import OVERLAP_SECONDS, ChangedRow, Changes, ProgressRow, WatchedRow
from workqueue.services.producer.views import Overview

STREAMS_MAX = 100  #: of one process
COUNTS_SECONDS = 1.0  #: between two events with the counts
LOOK_SECONDS = 1.0  #: between two looks for changes
LOOK_SHARE = 20  #: a look that takes t is followed by a pause of so many t: it never takes more of Postgres than a 20th
WATCH_SECONDS = 0.5  #: between two looks at the jobs that are watched
WATCH_SECONDS_MIN = 0.05  #: the same, when another one is watched from now on
AWAY_SECONDS = 1.0  #: before the next look while Postgres is away
CHANGED_MAX = 100  #: jobs in one event
ROWS_MAX = 1000  #: of one look: those of the seconds before are among them (OVERLAP_SECONDS)
BACK_SECONDS = 60  #: how long ago a position may be
AHEAD_SECONDS = 1  #: how far ahead of the clock: that of another server, which a standby has replaced
MICROSECONDS = 1_000_000
OVERLAP_US = int(OVERLAP_SECONDS * MICROSECONDS)

_encode = msgspec.json.Encoder().encode


class TooManyStreams(WorkQueueError):
    """No other client may watch: connections are kept for those that do not."""


class ChangedJob(Struct, frozen=True):
    """A job that has changed. A person has deleted it: its type and status are null."""

    id: UUID
    type: str | None
    status: JobState | None


class ChangedJobs(Struct, frozen=True):
    """Jobs that have changed since the last event, or since the position that the client came back with."""

    changed: list[ChangedJob]
    more: bool  #: others have changed as well, or may have: what is shown must be fetched anew


class WatchedJob(Struct, frozen=True, kw_only=True):
    """How a job is that is watched. Of one that is missing all else is null."""

    id: UUID
    status: JobState | None = None
    attempts: int | None = None
    cancelling: bool | None = None
    run_at: datetime | None = None
    progress: ProgressRow | None = None
    missing: bool = False


class Since(Protocol):
    """ChangeStore.since, of one queue."""

    async def __call__(self, position: int | None, *, max_seconds: float, limit: int) -> Changes: ...


class Subscription:
    """What one client is still to be told: events that are alike are one until the client takes them.

    Mutable state: what is to be told, added by Events and taken by `take`; what it was told of the jobs that it
    watches; the position that it came back with, until it was told what happened since.
    """

    def __init__(self, job_ids: frozenset[UUID], since: int | None) -> None:
        self.job_ids = job_ids
        self.since = since
        self._position: int | None = None
        self._counts: bytes | None = None
        self._changed: dict[UUID, ChangedJob] = {}
        self._more = False
        self._watched: dict[UUID, bytes] = {}
        self._told: dict[UUID, bytes] = {}
        self._is_ended = False
        self._wake = trio.Event()

    # --- for Events

    def add_counts(self, counts: bytes) -> None:
        self._counts = counts
        self._wake.set()

    def add_changes(self, changed: Sequence[ChangedJob], more: bool, position: int) -> None:
        """`changed`: the newest first. They are told up to `position`."""
        self._position = position
        for job in changed:
            if job.id in self._changed or len(self._changed) < CHANGED_MAX:
                self._changed[job.id] = job
            else:
                more = True
        self._more |= more
        if self._changed or self._more:
            self._wake.set()

    def add_watched(self, jobs: Mapping[UUID, bytes]) -> None:
        for job_id in self.job_ids:
            if (job := jobs.get(job_id)) is not None and job != self._told.get(job_id):
                self._told[job_id] = self._watched[job_id] = job
                self._wake.set()

    # --- for its client

    def end(self) -> None:
        """From now on `take` returns nothing."""
        self._is_ended = True
        self._wake.set()

    async def take(self) -> bytes:
        """The events that are to be told, as soon as there are some; b"": it has ended."""
        await self._wake.wait()
        if self._is_ended:
            return b""
        self._wake = trio.Event()
        position, pieces = self._position, []
        if self._changed or self._more:
            pieces.append(_event("jobs", _encode(ChangedJobs(list(self._changed.values()), self._more)), position))
            self._changed, self._more = {}, False
        pieces += [_event("job", job, None) for job in self._watched.values()]
        self._watched = {}
        if self._counts is not None:  # it has the position, so that a client that comes back after a quiet hour has it
            pieces.append(_event("counts", self._counts, position))
            self._counts = None
        return b"".join(pieces)


class Events:
    """The events of one queue.

    Mutable state: the subscriptions, changed by `subscribe`; the last counts; how far changes were told, and those of
    the last look, which the next one finds again.
    """

    def __init__(
        self,
        overview: Callable[[], Awaitable[Overview]],
        since: Since,
        watched: Callable[[Sequence[UUID]], Awaitable[Mapping[UUID, WatchedRow]]],
    ) -> None:
        """`since` and `watched` raise StoreUnavailable."""
        self._overview = overview
        self._since = since
        self._read_watched = watched
        self._subscriptions: set[Subscription] = set()
        self._arrival = trio.Event()
        self._counts: tuple[float, bytes] | None = None
        self._position: int | None = None
        self._is_lost = False  #: the position, in an outage
        self._known: dict[UUID, int] = {}

    def __len__(self) -> int:
        return len(self._subscriptions)

    @contextmanager
    def subscribe(self, job_ids: frozenset[UUID], since: int | None, *, limit: int) -> Iterator[Subscription]:
        """A subscription, until the block ends. `since`: a position that was told before. Raises TooManyStreams."""
        if len(self._subscriptions) >= min(limit, STREAMS_MAX):
            raise TooManyStreams(f"{len(self._subscriptions)} clients watch")
        subscription = Subscription(job_ids, since)
        if self._counts is not None and trio.current_time() - self._counts[0] <= COUNTS_SECONDS:
            subscription.add_counts(self._counts[1])
        self._subscriptions.add(subscription)
        self._arrival.set()
        self._arrival = trio.Event()
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    async def run(self) -> None:
        """Poll while there are subscriptions, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._count)
            nursery.start_soon(self._look_for_changes)
            nursery.start_soon(self._watch)

    # --- counts

    async def _count(self) -> NoReturn:
        while True:
            while not self._subscriptions:
                await self._arrival.wait()
            began = trio.current_time()
            counts = _encode(await self._overview())
            self._counts = trio.current_time(), counts
            for subscription in self._subscriptions:
                subscription.add_counts(counts)
            await trio.sleep_until(max(began + COUNTS_SECONDS, trio.current_time() + COUNTS_SECONDS / 10))

    # --- changes

    async def _look_for_changes(self) -> NoReturn:
        while True:
            while not self._subscriptions:
                self._position, self._is_lost, self._known = None, False, {}
                await self._arrival.wait()
            began = trio.current_time()
            try:
                await self._look()
            except StoreUnavailable:  # services/health.py reports it
                self._position, self._is_lost = None, True
                await trio.sleep(AWAY_SECONDS)
            else:
                now = trio.current_time()
                await trio.sleep_until(max(began + LOOK_SECONDS, now + (now - began) * LOOK_SHARE))

    async def _look(self) -> None:
        """Raises StoreUnavailable. At the first look the changes of the seconds before are told: which of them came
        after the subscription is not known."""
        found = await self._since(self._position, max_seconds=BACK_SECONDS, limit=ROWS_MAX)
        changed, is_cut = _newest(row for row in found.rows if self._known.get(row.id) != row.at_us)
        more = self._is_lost or found.more or is_cut
        self._position, self._is_lost = found.position, False
        self._known = {row.id: row.at_us for row in found.rows}
        # Those who have come during the statement as well: what it has found is not found again.
        returning = []
        for subscription in self._subscriptions:
            if subscription.since is None:
                subscription.add_changes(changed, more, found.position)
            else:
                returning.append((subscription, subscription.since))
        if returning:
            await self._tell_what_they_missed(returning, found.position)

    async def _tell_what_they_missed(self, returning: Sequence[tuple[Subscription, int]], now: int) -> None:
        """By one statement for all: after a stop they come together."""
        oldest, newest = now - BACK_SECONDS * MICROSECONDS, now + AHEAD_SECONDS * MICROSECONDS
        known = [since for _, since in returning if oldest <= since <= newest]
        found = Changes(now, [], True)
        if known:
            found = await self._since(min(known), max_seconds=BACK_SECONDS, limit=ROWS_MAX)
        for subscription, since in returning:
            changed, is_cut = _newest(row for row in found.rows if row.at_us >= since - OVERLAP_US)
            more = found.more or is_cut or not oldest <= since <= newest
            subscription.add_changes([] if more else changed, more, found.position)
            subscription.since = None

    # --- jobs that are watched

    async def _watch(self) -> NoReturn:
        while True:
            while not (ids := self._watched_ids()):
                await self._arrival.wait()
            try:
                found = await self._read_watched(list(ids))
            except StoreUnavailable:  # services/health.py reports it
                await trio.sleep(AWAY_SECONDS)
                continue
            jobs = {job_id: _encode(_watched_job(job_id, found.get(job_id))) for job_id in ids}
            for subscription in self._subscriptions:
                subscription.add_watched(jobs)
            await trio.sleep(WATCH_SECONDS_MIN)
            if self._watched_ids() <= ids:
                with trio.move_on_after(WATCH_SECONDS - WATCH_SECONDS_MIN):
                    await self._new_ids(ids)

    def _watched_ids(self) -> set[UUID]:
        return {job_id for subscription in self._subscriptions for job_id in subscription.job_ids}

    async def _new_ids(self, ids: set[UUID]) -> None:
        """Until others are watched as well."""
        while self._watched_ids() <= ids:
            await self._arrival.wait()


def _newest(rows: Iterable[ChangedRow]) -> tuple[list[ChangedJob], bool]:
    """The newest CHANGED_MAX of them, and whether there are others."""
    found = sorted(rows, key=lambda row: row.at_us, reverse=True)
    return [_changed_job(row) for row in found[:CHANGED_MAX]], len(found) > CHANGED_MAX


def _changed_job(row: ChangedRow) -> ChangedJob:
    return ChangedJob(row.id, row.type, None if row.state is None else JobState(row.state))


def _watched_job(job_id: UUID, row: WatchedRow | None) -> WatchedJob:
    if row is None:
        return WatchedJob(id=job_id, missing=True)
    return WatchedJob(
        id=job_id,
        status=JobState(row.state),
        attempts=row.attempts,
        cancelling=row.cancelling,
        run_at=row.run_at,
        progress=row.progress,
    )


def _event(name: str, data: bytes, position: int | None) -> bytes:
    number = b"" if position is None else b"id: %d\n" % position
    return b"event: %s\n%sdata: %s\n\n" % (name.encode(), number, data)
