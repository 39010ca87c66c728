"""Deletions that ride on the next statement: entries that have arrived in Redis, and claims that are finished."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

import trio

from workqueue.core.store import JobStore

ANSWER_SECONDS = 30.0  #: Redis must have answered within this of the insert of an entry, or the relay decides
KEPT_MAX = 1000  #: beyond it entries stay in Postgres: the relay meets them


class Piggyback:
    """Collects what may be deleted, so that no statement is made for it alone.

    Mutable state: the two lists. Losing them costs nothing: an outbox entry that stays is relayed once more, a claim
    that stays is found by the audit or by the recovery.
    """

    def __init__(self, clock: Callable[[], float] = trio.current_time) -> None:
        self._clock = clock
        self._batches = _Riders()
        self._tokens = _Riders()

    def pushed(self, batch: UUID, *, inserted_at: float) -> None:
        """The tasks of this outbox entry are in Redis; `inserted_at` is when its statement was sent (trio's clock)."""
        if self._clock() - inserted_at <= ANSWER_SECONDS:
            self._batches.add(batch)

    def finished(self, token: UUID) -> None:
        """Each job of this claim has a verdict."""
        self._tokens.add(token)

    @contextmanager
    def outbox(self) -> Iterator[list[UUID]]:
        """The batches whose entries the statement in this block deletes; without an answer they are kept."""
        with self._batches.riding() as batches:
            yield batches

    @contextmanager
    def claims(self) -> Iterator[list[UUID]]:
        """The tokens of the claims that the statement in this block deletes; without an answer they are kept."""
        with self._tokens.riding() as tokens:
            yield tokens

    async def clear(self, store: JobStore) -> None:
        """Delete what no other statement has taken along by now. Deleting twice does no harm."""
        if not self._batches and not self._tokens:
            return
        with self.outbox() as batches, self.claims() as tokens:
            await store.delete_outbox(batches, tokens)


class _Riders:
    """At most KEPT_MAX ids. Mutable state: the list."""

    def __init__(self) -> None:
        self._ids: list[UUID] = []

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, rider: UUID) -> None:
        if len(self._ids) < KEPT_MAX:
            self._ids.append(rider)

    @contextmanager
    def riding(self) -> Iterator[list[UUID]]:
        taken, self._ids = self._ids, []
        try:
            yield taken
        except BaseException:  # no answer, a cancellation included: nothing is forgotten
            self._ids = (taken + self._ids)[:KEPT_MAX]
            raise
