"""A response that goes on: it ends with its route, with its client, and with the server; errors before it begins."""

from typing import Any

import pytest
import trio

from workqueue.core.settings import Settings
from workqueue.services.http.connections import Connections
from workqueue.services.http.guard import Guard
from workqueue.services.http.live import LiveResponse, LiveRoute
from workqueue.services.http.messages import Message, Receive, Scope, Send
from workqueue.services.http.responses import Refused

BODY_END: Message = {"type": "http.request", "body": b"", "more_body": False}


class Client:
    """Mutable state: what it has got, and whether it has gone."""

    def __init__(self) -> None:
        self.got: list[Message] = []
        self.gone = trio.Event()
        self._request: list[Message] = [BODY_END]

    async def receive(self) -> Message:
        if self._request:
            await trio.lowlevel.checkpoint()
            return self._request.pop()
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        await trio.lowlevel.checkpoint()
        self.got.append(message)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.got)

    @property
    def status(self) -> int:
        status: int = self.got[0]["status"]
        return status

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.got[0]["headers"])

    @property
    def is_ended(self) -> bool:
        return self.got[-1].get("more_body") is False


async def call(client: Client, route: LiveRoute, method: str = "GET", connections: Connections | None = None) -> None:
    async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError

    guard = Guard(nothing, Settings(), live_routes={(method, "/live"): route}, connections=connections)
    scope: dict[str, Any] = {
        "type": "http", "method": method, "path": "/live", "headers": [], "query_string": b"", "http_version": "1.1",
    }  # fmt: skip
    await guard(scope, client.receive, client.send)


async def test_it_ends_with_its_route():
    async def route(_: Scope, response: LiveResponse) -> None:
        for piece in (b"a", b"b"):
            await response.send(piece)

    await call(client := Client(), route)
    assert (client.status, client.body, client.is_ended) == (200, b"ab", True)
    assert client.headers[b"content-type"] == b"text/event-stream"
    assert client.headers[b"cache-control"] == b"no-store"
    assert client.headers[b"x-accel-buffering"] == b"no"
    assert b"content-length" not in client.headers


async def test_the_route_is_cancelled_when_its_client_has_gone_and_nothing_more_is_sent(autojump_clock):
    ended: list[float] = []

    async def route(_: Scope, response: LiveResponse) -> None:
        await response.send(b"a")
        try:
            await trio.sleep_forever()
        finally:
            ended.append(trio.current_time())

    client = Client()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(call, client, route)
        await trio.sleep(5)
        assert ended == []
        client.gone.set()
        went_at = trio.current_time()
    assert ended == [went_at]
    assert (client.body, client.is_ended) == (b"a", False)


async def test_the_route_learns_of_the_end_of_the_server():
    connections = Connections()

    async def route(_: Scope, response: LiveResponse) -> None:
        await response.send(b"a")
        connections.stopping.set()
        await response.stopping.wait()

    with trio.fail_after(5):
        await call(client := Client(), route, connections=connections)
    assert client.is_ended


@pytest.mark.parametrize(("status", "has_retry"), [(404, False), (503, True)])
async def test_an_error_before_the_first_piece_is_a_response(status, has_retry):
    async def route(_: Scope, __: LiveResponse) -> None:
        raise Refused(status, "no")

    await call(client := Client(), route)
    assert (client.status, client.body, client.is_ended) == (status, b"no", True)
    assert client.headers[b"content-type"].startswith(b"text/plain")
    assert (b"retry-after" in client.headers) == has_retry


async def test_a_bug_in_the_middle_is_no_end(caplog):
    """Without the last chunk the client sees that something is missing."""

    async def route(_: Scope, response: LiveResponse) -> None:
        await response.send(b"a")
        raise ZeroDivisionError

    await call(client := Client(), route)
    assert (client.body, client.is_ended) == (b"a", False)
    assert "a request met a bug" in caplog.text


async def test_head_gets_the_headers_alone():
    async def route(scope: Scope, response: LiveResponse) -> None:
        assert scope["method"] == "HEAD"

    await call(client := Client(), route, "HEAD")
    assert (client.status, client.body, client.is_ended) == (200, b"", True)


async def test_a_route_is_told_what_is_allowed():
    asked: list[bool] = []

    async def route(scope: Scope, response: LiveResponse) -> None:
        asked.append(response.is_allowed())
        scope["headers"] = [(b"host", b"evil.example")]
        asked.append(response.is_allowed())

    await call(Client(), route)
    assert asked == [True, False]
