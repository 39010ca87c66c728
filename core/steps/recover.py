"""Recover: what a lease that is gone leaves behind goes back."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from copy import copy
from functools import partial
from typing import Protocol, TypeVar
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from workqueue.core.dead_letter import dead_letter
from workqueue.core.errors import KeyOfAnotherType
from workqueue.core.gone import Became, Gone, said, write_gone
from workqueue.core.queue import Inspection, Queue
from workqueue.core.steps.dropped import Dropped
from workqueue.core.steps.until_answered import UntilAnswered

T = TypeVar("T")

log = logging.getLogger(__name__)

PIECE_MAX = 20  #: tasks read from a flight at a time: they may have 1 MiB each


class Recoveries(Struct):
    """What was recovered since the start."""

    leases: int = 0
    jobs: int = 0  #: that wait again
    failed: int = 0  #: whose worker died too often
    cancelled: int = 0  #: that a person had cancelled

    def since(self, before: "Recoveries") -> Became:
        """What has been added."""
        return Became(self.jobs - before.jobs, self.failed - before.failed, self.cancelled - before.cancelled)


class Farewell(Struct, frozen=True):
    """What a worker that stops says last."""

    published: bytes  #: of itself, as with each renewal
    given_back: int  #: jobs, while it stopped


class Flight:
    """The trips of one recoverer to flights of leases that are gone. Each lasts as long as an outage does, but a key of
    another type is raised."""

    def __init__(self, queue: Queue, until_answered: UntilAnswered, dropped: Dropped) -> None:
        self.queue = queue
        self._until_answered = until_answered
        self._dropped = dropped
        self.counts = Recoveries()

    async def ask(self, trip: Callable[[], Awaitable[T]]) -> T:
        """The answer of `trip`. Raises KeyOfAnotherType."""
        return await self._until_answered(trip, unless=(KeyOfAnotherType,))

    async def bury(
        self,
        lease: UUID,
        entries: Sequence[tuple[int | bytes, bytes]],
        unique: Mapping[int | bytes, tuple[str, UUID]] | None = None,
    ) -> None:
        """Move (number or field, dead letter) to the dead letters; `unique`: as Queue.bury takes it."""
        self._dropped.add(await self.ask(partial(self.queue.bury, lease, entries, unique or {})))

    async def bury_odd(self, lease: UUID, fields: list[bytes]) -> None:
        """Fields that another program wrote: whole into the dead letters, or the lease could never be retired."""
        for begin in range(0, len(fields), PIECE_MAX):
            found = await self.ask(partial(self.queue.odd_tasks, lease, fields[begin : begin + PIECE_MAX]))
            reason = f"it lay in the flight of lease {lease} under a name that is no number"
            entries = [(field, dead_letter(value, reason)) for field, value in found.items()]
            if entries:
                await self.bury(lease, entries)


class Recovery(Protocol):
    """What becomes of the jobs of a lease: with rows the row decides, without them the task is all there is."""

    async def empty(self, lease: UUID, found: Inspection, *, blameless: bool) -> None:
        """Give back, or end, each job of the lease; its numbers are not in the flight then.

        `blameless`: it ended by itself, or Redis lost it, so no worker has died.
        """


class Recover:
    """Gives back the jobs of a lease that is fenced, ended or absent, in order, to the head of the queue.

    Each step may be the last one of this worker, and two workers may do it at once: what is left then lies in the
    flight, in an outbox entry or under a claim, where the next one finds it. Mutable state: the counts, and the leases
    that were named because they cannot be recovered.
    """

    def __init__(self, flight: Flight, recovery: Recovery) -> None:
        self._flight = flight
        self._queue = flight.queue
        self._recovery = recovery
        self._named: set[UUID] = set()
        self.counts = flight.counts

    async def run_once(self, lease: UUID, farewell: Farewell | None = None) -> None:
        """Recover one lease; nothing is done to one that lives. Lasts as long as an outage does.

        Its worker is noted as gone, with what became of its jobs; `farewell`: it is our own, and we stop. A lease with
        a key of another type is named once and left as it is: the others wait behind it.
        """
        try:
            await self._run_once(lease, farewell)
        except KeyOfAnotherType as error:
            if lease not in self._named:
                self._named.add(lease)
                log.error("the jobs of lease %s cannot be given to others yet: %s (look at %s)",
                          lease, error, self._queue.keys.flight(lease))  # fmt: skip

    async def _run_once(self, lease: UUID, farewell: Farewell | None) -> None:
        found = await self._flight.ask(partial(self._queue.inspect, lease))
        if found.score is not None and found.score > 0:
            return
        # Ended clean: it stopped by itself. Absent: Redis lost it, and no worker is to blame.
        blameless = found.score is None or found.score == -1
        before = copy(self.counts)
        await self._recovery.empty(lease, found, blameless=blameless)
        await self._flight.bury_odd(lease, found.odd)
        became = self.counts.since(before)
        note = write_gone(_gone(lease, found, became, farewell))
        await self._flight.ask(partial(self._queue.retire, lease, note))
        self.counts.leases += 1
        if became.given_back or found.numbers:
            log.warning("recovered %d jobs of the lease %s, which %s", became.given_back, lease, _end(found.score))


def pieces(numbers: set[int]) -> list[list[int]]:
    """The highest first: each piece goes to the head of the list, so that the order is kept."""
    ordered = sorted(numbers, reverse=True)
    return [ordered[begin : begin + PIECE_MAX] for begin in range(0, len(ordered), PIECE_MAX)]


def _gone(lease: UUID, found: Inspection, became: Became, farewell: Farewell | None) -> Gone:
    published = found.published
    if farewell is not None:
        published = farewell.published
        became = replace(became, given_back=became.given_back + farewell.given_back)
    return Gone(lease, found.score == -1, became, said(published))


def _end(score: float | None) -> str:
    if score is None:
        return "Redis does not know any more"
    return "had ended with them" if score == -1 else "was not renewed"
