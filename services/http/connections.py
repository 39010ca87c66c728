"""All connections of one server: how many there may be, which go first at the limit, and how much is buffered for them.

Pure but for trio's clock: services/http/connection.py acts on what is decided here.
"""

import resource
from collections.abc import Iterator
from typing import Protocol

import trio
from msgspec import Struct

from workqueue.services.logs import Seldom

#: Of descriptors, left for files, for Redis and Postgres, and for what handlers open.
DESCRIPTORS_KEPT = 128
PATIENCE_SECONDS = 5.0  #: at the limit, a request whose body has not arrived by then makes room for others
STALLED_SECONDS = 1.0  #: at the limit, an answer of which nothing was taken for so long makes room for others

SMALL_BYTES = 64 * 1024  #: of a body or an answer, for which there is always room


class Limits(Struct, frozen=True):
    """Of one server."""

    connections: int = 1000
    buffered_bytes: int = 128 << 20  #: bodies that arrive and answers that leave, of all connections together


class Client(Protocol):
    """What is known of one connection. Times are trio's clock; None: it is not so now."""

    idle_since: float | None  #: no request is under way
    body_since: float | None  #: the body of a request has not arrived whole
    stalled_since: float | None  #: an answer is leaving; when something of it was taken last

    def end(self) -> None:
        """Close it at once."""


class Budget:
    """Bytes that are in memory for clients. Mutable state: how many."""

    def __init__(self, bytes_max: int) -> None:
        self._max = bytes_max
        self.bytes = 0

    def has_room(self, more: int, kept: int = 0) -> bool:
        """May so many bytes more be kept, of a client that has `kept` already?

        What is small always may: the number of clients bounds it, and those who fill the rest with large bodies must
        not keep others from a small request and its answer. One that is larger than everything is let in alone.
        """
        return kept + more <= SMALL_BYTES or self.bytes + more <= self._max or self.bytes == 0


class Connections:
    """The connections of one server.

    Mutable state: the set of them, changed as they come and go; the budget's bytes; when the log was told.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        limits = limits or Limits()
        self.limit = min(limits.connections, max(_descriptors() - DESCRIPTORS_KEPT, 16))
        self.budget = Budget(limits.buffered_bytes)
        self.refusals = Seldom()
        self.faults = Seldom()
        self._clients: set[Client] = set()

    def __len__(self) -> int:
        return len(self._clients)

    def admit(self, client: Client) -> bool:
        """Take a new one in, in the place of an old one where there is no room; False: it must be refused."""
        if len(self._clients) >= self.limit and not self._end_one():
            return False
        self._clients.add(client)
        return True

    def leave(self, client: Client) -> None:
        self._clients.discard(client)

    def make_room(self, more: int) -> bool:
        """Is there room for so many bytes more? Answers that no client takes are given up for it, the oldest first."""
        if self.budget.has_room(more):
            return True
        patience = trio.current_time() - STALLED_SECONDS
        stalled = [(since, client) for client in self._clients if (since := client.stalled_since) is not None]
        for since, client in sorted(stalled, key=lambda pair: pair[0]):
            if since > patience or self.budget.has_room(more):
                break
            client.end()
        return self.budget.has_room(more)

    def _end_one(self) -> bool:
        """The one that has been idle for the longest; else the one whose request or whose client is the slowest."""
        idle = [(client.idle_since, client) for client in self._clients if client.idle_since is not None]
        waiting = idle or list(self._slow(trio.current_time()))
        if not waiting:
            return False
        _, client = min(waiting, key=lambda pair: pair[0])
        client.end()
        self._clients.discard(client)
        return True

    def _slow(self, now: float) -> Iterator[tuple[float, Client]]:
        for client in self._clients:
            for since, patience in ((client.body_since, PATIENCE_SECONDS), (client.stalled_since, STALLED_SECONDS)):
                if since is not None and now - since > patience:
                    yield since, client


def _descriptors() -> int:
    """How many this process may open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 20 if soft == resource.RLIM_INFINITY else soft
