"""All connections of one server: their limit, which are closed first at the limit, and the bytes buffered for them.

Pure but for trio's clock: decides, and services/http/connection.py acts.
"""

import resource
from collections.abc import Iterator
from typing import Protocol

import trio
from msgspec import Struct

from workqueue.services.logs import Seldom

#: File descriptors that are kept free for files, for Redis and Postgres, and for handlers.
DESCRIPTORS_KEPT = 128
PATIENCE_SECONDS = 5.0  #: at the limit, a request whose body has not arrived by then is ended for a new connection
STALLED_SECONDS = 1.0  #: at the limit, a response of which the client took nothing for so long is ended as well

SMALL_BYTES = 64 * 1024  #: of a body or a response, for which there is always room


class Limits(Struct, frozen=True):
    """Of one server."""

    connections: int = 2000
    buffered_bytes: int = 128 << 20  #: request bodies and responses, of all connections together


class Client(Protocol):
    """The state of one connection. Times are trio's clock; None: not in this state."""

    idle_since: float | None  #: no request is under way
    body_since: float | None  #: the body of a request has not arrived whole
    stalled_since: float | None  #: a response is being sent; when the client last took bytes of it

    def end(self) -> None:
        """Close it at once."""


class Budget:
    """Bytes that are buffered for clients. Mutable state: their number, changed by those who buffer."""

    def __init__(self, bytes_max: int) -> None:
        self._max = bytes_max
        self.bytes = 0

    def has_room(self, more: int, kept: int = 0) -> bool:
        """May `more` bytes be buffered for a client for which `kept` are buffered already?

        A small request or response always may: the number of clients bounds these, and clients that fill the budget
        with large bodies must not block small requests. A body that is larger than the budget is admitted when it is
        the only one.
        """
        return kept + more <= SMALL_BYTES or self.bytes + more <= self._max or self.bytes == 0


class Connections:
    """The connections of one server.

    Mutable state: the set of them, changed by `admit` and `leave`; the budget's bytes; when refusals and faults were
    last logged; whether the server is ending, set by the first connection that learns of it.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        limits = limits or Limits()
        self.limit = min(limits.connections, max(_descriptors() - DESCRIPTORS_KEPT, 16))
        self.budget = Budget(limits.buffered_bytes)
        self.refusals = Seldom()
        self.faults = Seldom()
        self.stopping = trio.Event()  #: the server is ending: a request that waits for something answers now
        self._clients: set[Client] = set()

    def __len__(self) -> int:
        return len(self._clients)

    def admit(self, client: Client) -> bool:
        """Admit a new connection, at the limit in the place of an old one; False: it must be refused."""
        if len(self._clients) >= self.limit and not self._end_one():
            return False
        self._clients.add(client)
        return True

    def leave(self, client: Client) -> None:
        self._clients.discard(client)

    def make_room(self, more: int) -> bool:
        """Is there room for `more` bytes? Ends connections whose clients take nothing of their responses, the longest
        stalled first, until there is."""
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
        """End the connection that has been idle for the longest; without an idle one, the slowest. False: none is."""
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
    """The number of file descriptors that this process may open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 20 if soft == resource.RLIM_INFINITY else soft
