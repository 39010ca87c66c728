"""Responses that go on until their client has gone, the server ends, or they end by themselves; sent without Quart.

Quart ends each response after 60 s, keeps tasks and contexts for it, and would iterate an async generator, which must
not hold a nursery open across its yields. Here the route is a plain coroutine, cancelled when its client has gone.
"""

from collections.abc import Awaitable, Callable

import trio

from workqueue.services.http.connections import Connections
from workqueue.services.http.messages import Headers, Message, Receive, Scope, Send


class LiveResponse:
    """The response to one request. Mutable state: whether it has begun."""

    def __init__(self, send: Send, headers: Headers, connections: Connections, is_allowed: Callable[[], bool]) -> None:
        self.connections = connections
        self.begun = False
        self._send = send
        self._headers = headers
        self._is_allowed = is_allowed

    @property
    def stopping(self) -> trio.Event:
        """The server is ending: the route is to return."""
        return self.connections.stopping

    def is_allowed(self) -> bool:
        """May the request still do what it does? Its token may have been revoked, and its session may have ended."""
        return self._is_allowed()

    async def send(self, piece: bytes) -> None:
        """Send some bytes, at least one; waits while the client does not take them.

        That is soon: the kernel keeps 16 KiB beside what is on its way (TCP_NOTSENT_LOWAT, which Trio sets). After
        SEND_SECONDS (connection.py) the connection ends, and with it this route. Cancelled: the connection ends.
        """
        if not self.begun:
            await self._begin()
        await self._send({"type": "http.response.body", "body": piece, "more_body": True})

    async def end(self) -> None:
        """The route has returned."""
        if not self.begun:  # to HEAD
            await self._begin()
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _begin(self) -> None:
        self.begun = True
        start: Message = {"type": "http.response.start", "status": 200, "headers": self._headers}
        await self._send(start)


#: Sends a response bit by bit, and returns when it ends by itself. Returns without a piece for HEAD. Raises what the
#: table of error responses knows, before the first piece.
LiveRoute = Callable[[Scope, LiveResponse], Awaitable[None]]


async def run_until_gone(route: LiveRoute, scope: Scope, receive: Receive, response: LiveResponse) -> bool:
    """Run the route, and end its response. False: the client has gone, and there is nothing to send any more.

    Raises what the route raises.
    """
    failure: Exception | None = None
    is_gone = False
    async with trio.open_nursery() as nursery:

        async def end_with_client() -> None:
            nonlocal is_gone
            while (await receive())["type"] != "http.disconnect":
                pass
            is_gone = True
            nursery.cancel_scope.cancel()

        nursery.start_soon(end_with_client)
        try:
            await route(scope, response)
        except Exception as error:  # noqa: BLE001 - raised below: out of the nursery it would come in a group
            failure = error
        # Before the end is sent: Hypercorn says "disconnect" then, too, and is in the middle of its work (guard.py).
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    if not is_gone:
        await response.end()
    return not is_gone
