"""Bodies of requests: read whole, read while they arrive, or read and dropped; each bounded in bytes and in time.

Every body is read to its end before the response leaves, or the connection is closed: Hypercorn 0.18 does not take the
next request of a keep-alive connection while a body lies unread (its queue of 10 messages is full, and the task that
would read the connection waits for room).
"""

import trio

from workqueue.services.http.connections import Budget
from workqueue.services.http.messages import Receive, Scope

BODY_SECONDS = 60.0  #: how long a body may take to arrive; a stream of any length gets more by its bytes
STREAM_BYTES_PER_SECOND = 16 * 1024  #: what a stream must bring on the average, beyond BODY_SECONDS
STREAM_SECONDS = 3600.0  #: how long we wait for the sender of a stream in all; our own work does not count
DRAIN_BYTES_MAX = 8 * 1024 * 1024  #: of a body that is too large: read and dropped, so that the connection lives on
DRAIN_SECONDS = 5.0


class ClientGone(Exception):
    """The client has closed the connection before its body was complete."""


class NoRoom(Exception):
    """The buffered bytes of all clients together leave no room for this body."""


class BodyTooLarge(Exception):
    """The body is larger than it may be."""

    def __init__(self, *, read_to_its_end: bool) -> None:
        self.read_to_its_end = read_to_its_end


class BufferedBody:
    """The body of one request, buffered in memory. Mutable state: how many bytes of the budget it holds."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._bytes = 0

    async def read(self, scope: Scope, receive: Receive, bytes_max: int) -> bytes:
        """The whole body. Raises ClientGone, BodyTooLarge, NoRoom, and TooSlowError after BODY_SECONDS.

        The bytes count as buffered until `release`.
        """
        with trio.fail_after(BODY_SECONDS):
            length = _content_length(scope)
            if length > bytes_max:
                raise BodyTooLarge(read_to_its_end=length <= DRAIN_BYTES_MAX and await drain(receive, DRAIN_BYTES_MAX))
            body = bytearray()
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                piece = message.get("body", b"")
                self._add(len(piece))
                body += piece
                if len(body) > bytes_max:
                    more = message.get("more_body", False)
                    raise BodyTooLarge(read_to_its_end=not more or await drain(receive, DRAIN_BYTES_MAX))
                if not message.get("more_body", False):
                    return bytes(body)

    def release(self) -> None:
        """The request has its response: its body is buffered no more."""
        self._budget.bytes -= self._bytes
        self._bytes = 0

    def _add(self, more: int) -> None:
        if more and not self._budget.has_room(more, self._bytes):
            raise NoRoom
        self._bytes += more
        self._budget.bytes += more


class Body:
    """A body that is read while it arrives. While `read` is not called, Hypercorn soon stops reading the connection.

    Mutable state: whether it has ended, how many bytes have come, how long they were waited for, and the current wait.
    """

    def __init__(self, receive: Receive) -> None:
        self.ended = False
        self._receive = receive
        self._bytes = 0
        self._waited = 0.0
        self._wait: tuple[float, trio.CancelScope] | None = None  #: when it began, and its scope

    @property
    def slow_seconds(self) -> float:
        """How far the sender lies behind STREAM_BYTES_PER_SECOND; 0 while we work and do not wait for it."""
        if self._wait is None:
            return 0.0
        waited = self._waited + trio.current_time() - self._wait[0]
        return max(0.0, waited - self._bytes / STREAM_BYTES_PER_SECOND)

    def give_up(self) -> None:
        """Make the current `read` raise TooSlowError: another request needs the place."""
        if self._wait is not None:
            self._wait[1].cancel()

    async def read(self) -> bytes:
        """The next bytes; b"" at the end, and ever after.

        Raises ClientGone, or TooSlowError for a sender that takes longer than BODY_SECONDS in all, plus the time that
        its bytes so far have earned: a sender that drips is ended as well.
        """
        while not self.ended:
            allowed = min(BODY_SECONDS + self._bytes / STREAM_BYTES_PER_SECOND, STREAM_SECONDS)
            began = trio.current_time()
            try:
                with trio.fail_after(max(0.0, allowed - self._waited)) as scope:
                    self._wait = began, scope
                    message = await self._receive()
            finally:
                self._wait = None
            self._waited += trio.current_time() - began
            self._bytes += len(message.get("body", b""))
            if message["type"] == "http.disconnect":
                raise ClientGone
            self.ended = not message.get("more_body", False)
            if piece := message.get("body", b""):
                return bytes(piece)
        return b""


async def drain(receive: Receive, bytes_max: float) -> bool:
    """Read and drop up to `bytes_max` bytes, for DRAIN_SECONDS at most; True: the body has ended."""
    with trio.move_on_after(DRAIN_SECONDS):
        while bytes_max >= 0:
            message = await receive()
            bytes_max -= len(message.get("body", b""))
            if not message.get("more_body", False):  # the end, or the client has gone
                return True
    return False


async def drop_all(receive: Receive) -> None:
    """Read and drop until cancelled."""
    while True:
        await receive()


def _content_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():  # Hypercorn has refused any other value
            return int(value[:20])
    return 0
