"""Bookkeeping that rides along: marks whose tasks are in Redis by now, and claims that are settled."""

from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import UUID

import trio
from msgspec import Struct

from workqueue.core.store import JobStore

T = TypeVar("T")

ANSWER_SECONDS = 30.0  #: Redis must have answered within this of the statement that made the mark, or the sweep decides
KEPT_MAX = 1000  #: beyond, the oldest stay in Postgres: the sweep meets them


class Leftovers(Struct, frozen=True):
    """What the next statement may delete on its way."""

    marks: list[UUID]
    claims: list[UUID]


class Ledger:
    """Collects what may be deleted, so that the next statement takes it along and none is made for it alone.

    Mutable state: the two lists, filled by the steps, emptied by `take` and refilled by `put_back`.
    Losing it costs nothing: a mark that stays is swept, a claim that stays is found by the audit or the recovery.
    """

    def __init__(self, clock: Callable[[], float] = trio.current_time) -> None:
        self._clock = clock
        self._marks: list[UUID] = []
        self._claims: list[UUID] = []

    def pushed(self, batch: UUID, *, marked_at: float) -> None:
        """The tasks of this mark are in Redis; `marked_at` is when its statement was sent (trio's clock)."""
        if self._clock() - marked_at <= ANSWER_SECONDS and len(self._marks) < KEPT_MAX:
            self._marks.append(batch)

    def settled(self, token: UUID) -> None:
        """Every job of this claim has a verdict."""
        if len(self._claims) < KEPT_MAX:
            self._claims.append(token)

    def take(self) -> Leftovers:
        """Everything collected so far. Give it back with `put_back` if the statement has no answer."""
        taken = Leftovers(self._marks, self._claims)
        self._marks, self._claims = [], []
        return taken

    def put_back(self, leftovers: Leftovers) -> None:
        self._marks = (leftovers.marks + self._marks)[:KEPT_MAX]
        self._claims = (leftovers.claims + self._claims)[:KEPT_MAX]

    async def carry_marks(self, statement: Callable[[list[UUID]], Awaitable[T]]) -> T:
        """Make a statement that deletes the marks collected so far; without an answer they still have to go."""
        riding = self.take()
        try:
            answer = await statement(riding.marks)
        except BaseException:  # whatever it was
            self.put_back(riding)
            raise
        self.put_back(Leftovers([], riding.claims))
        return answer

    async def clear(self, store: JobStore) -> None:
        """Delete what no other statement has taken along by now. Deleting twice does no harm."""
        leftovers = self.take()
        if not leftovers.marks and not leftovers.claims:
            return
        try:
            await store.drop_marks(leftovers.marks, leftovers.claims)
        except BaseException:  # whatever it was: nothing is forgotten
            self.put_back(leftovers)
            raise
