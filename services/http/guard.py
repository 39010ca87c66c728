"""The ASGI wrapper around both services: each request passes access.py, tokens.py, cors.py and body.py on its way.

It lies outside of the whole app, because the response to a preflight on any path, an error of the router and a crash
must carry the same headers as any other response.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import trio
from quart_trio import QuartTrio

from workqueue.core.settings import Settings
from workqueue.services.http.access import Access
from workqueue.services.http.body import (
    DRAIN_BYTES_MAX,
    Body,
    BodyTooLarge,
    BufferedBody,
    ClientGone,
    NoRoom,
    drain,
    drop_all,
)
from workqueue.services.http.connection import EXTENSION, NO_ROOM, harden_hypercorn
from workqueue.services.http.connections import Connections, Limits
from workqueue.services.http.cors import Cors
from workqueue.services.http.live import LiveResponse, LiveRoute, run_until_gone
from workqueue.services.http.messages import App, Headers, Message, Receive, Scope, Send
from workqueue.services.http.responses import ErrorResponses, Streamed, install_error_responses, response_to
from workqueue.services.http.tokens import Gate

#: Takes the whole body and the headers, returns the JSON of a 200. Raises what the table of error responses knows.
FastRoute = Callable[[bytes, Headers], Awaitable[bytes]]
#: Reads a body while it arrives, and responds when it has ended. Raises what the table of error responses knows,
#: Refused among it.
StreamRoute = Callable[[Body, Headers], Awaitable[Streamed]]
RouteKey = tuple[str, str]  #: method, path

BUFFERED_BODIES = 4  #: of the greatest size have room at once, if that is more than Limits has
SEND_BYTES = 64 * 1024  #: of one piece of a long response
LINGER_SECONDS = 2.0  #: after an early response: a client that still sends would see a reset instead of it
HALF_CLOSED_SECONDS = 1.0  #: for the response to a client that has closed its sending half, and may still read

TEXT = b"text/plain; charset=utf-8"
JSON = b"application/json"
#: Of what goes on: a proxy must not keep it back, and nothing may keep it.
LIVE_HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
NOSNIFF = (b"x-content-type-options", b"nosniff")
RETRY_AFTER = (b"retry-after", b"1")
CHALLENGE = (b"www-authenticate", b"Bearer")
BODY_TOO_SLOW = b"the body took too long"
BODY_TOO_LARGE = b"body too large"

log = logging.getLogger(__name__)


def wrap(
    app: QuartTrio,
    settings: Settings,
    errors: ErrorResponses | None = None,
    *,
    fast_routes: Mapping[RouteKey, FastRoute] | None = None,
    streams: Mapping[RouteKey, StreamRoute] | None = None,
    live_routes: Mapping[RouteKey, LiveRoute] | None = None,
    connections: int = Limits().connections,
    gate: Gate | None = None,
) -> QuartTrio:
    """`app`, responding as the contract says: errors in text/plain, CORS, limits. Call it once every route is there.

    `fast_routes` are called without Quart, whose two tasks, contexts and routing take a third of the requests of a
    second. `streams` read their bodies while they arrive: Quart's own body buffers all that comes, however slowly it
    is read. `live_routes` respond as long as their clients listen (live.py). Quart has a rule for the paths of all of
    them all the same, for the 405 of other methods. `connections`: how many there may be. `gate`: checks tokens; None:
    everything is open.
    """
    harden_hypercorn()
    buffered = max(Limits().buffered_bytes, BUFFERED_BODIES * settings.max_body_bytes)
    shared = app.extensions[EXTENSION] = Connections(Limits(connections, buffered))
    install_error_responses(app, errors or {})
    app.url_map.merge_slashes = False  # `/api//jobs` is not a path of ours, and must not become a redirect
    for rule in app.url_map.iter_rules():  # Guard responds to preflights; without CORS, OPTIONS is not allowed
        rule.provide_automatic_options = False  # type: ignore[attr-defined]
        (rule.methods or set()).discard("OPTIONS")
    app.config["MAX_CONTENT_LENGTH"] = None  # Guard has counted
    inner: Any = app.asgi_app
    app.asgi_app = Guard(  # type: ignore[method-assign, assignment]
        inner,
        settings,
        errors,
        fast_routes=fast_routes,
        streams=streams,
        live_routes=live_routes,
        connections=shared,
        gate=gate,
    )
    return app


class Guard:
    """An ASGI app around `app`. Mutable state: none of its own; the budget counts what is buffered."""

    def __init__(
        self,
        app: App,
        settings: Settings,
        errors: ErrorResponses | None = None,
        *,
        fast_routes: Mapping[RouteKey, FastRoute] | None = None,
        streams: Mapping[RouteKey, StreamRoute] | None = None,
        live_routes: Mapping[RouteKey, LiveRoute] | None = None,
        connections: Connections | None = None,
        gate: Gate | None = None,
    ) -> None:
        """`connections`: those of this server, with the bytes that are buffered for all. `gate`: checks tokens."""
        self._app = app
        self._access = Access(settings)
        self._gate = gate
        self._cors = Cors(settings.origins)
        self._connections = Connections() if connections is None else connections
        self._errors = errors or {}
        self._fast_routes = fast_routes or {}
        self._streams = streams or {}
        self._live_routes = live_routes or {}
        self._body_bytes_max = settings.max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        else:  # the lifespan; WebSockets do not come here (connection.py)
            await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        extra = [NOSNIFF, *self._cors.headers(scope)]
        if not scope["path"].startswith("/") or scope.get("root_path"):
            scope = _as_quart_reads_it(scope)
        if (refusal := self._refusal(scope)) is not None:
            more = [*extra, CHALLENGE] if refusal[0] == 401 else extra
            await _refuse(scope, receive, send, *refusal, more)
        elif scope["path"].startswith("//"):  # Quart would drop one of both, and find routes that are ours to call
            await _refuse(scope, receive, send, 404, b"not found", extra)
        elif stream := self._streams.get((scope["method"], scope["path"])):
            await self._call_stream(stream, scope, receive, send, extra)
        elif live_route := self._live_routes.get((scope["method"], scope["path"])):
            await self._call_live_route(live_route, scope, receive, send, extra)
        else:
            body = BufferedBody(self._connections.budget)
            try:
                await self._call_with_body(body, scope, receive, send, extra)
            finally:
                body.release()

    def _refusal(self, scope: Scope) -> tuple[int, bytes] | None:
        """Status and message for a request that is refused, before anything of it is read."""
        if (refusal := self._access.refusal(scope)) is not None:
            return refusal
        if self._gate is None or self._cors.is_preflight(scope):  # a browser sends no token with a preflight
            return None
        return self._gate.refusal(scope, self._access)

    async def _call_with_body(
        self, buffered: BufferedBody, scope: Scope, receive: Receive, send: Send, extra: Headers
    ) -> None:
        try:
            body = await buffered.read(scope, receive, self._body_bytes_max)
        except ClientGone:
            return
        except trio.TooSlowError:
            await _respond_early(scope, receive, send, 408, BODY_TOO_SLOW, extra)
            return
        except NoRoom:
            await _refuse(scope, receive, send, 503, NO_ROOM, [*extra, RETRY_AFTER])
            return
        except BodyTooLarge as error:
            if error.read_to_its_end:
                await _respond(send, 413, BODY_TOO_LARGE, extra)
            else:
                await _respond_early(scope, receive, send, 413, BODY_TOO_LARGE, extra)
            return
        if self._cors.is_preflight(scope):
            await _respond(send, 204, b"", [*extra, *self._cors.preflight_headers])
        elif fast_route := self._fast_routes.get((scope["method"], scope["path"])):
            await self._call_fast_route(fast_route, scope, send, body, extra)
        else:
            await self._call_app(scope, receive, send, body, extra)

    async def _call_fast_route(
        self, fast_route: FastRoute, scope: Scope, send: Send, body: bytes, extra: Headers
    ) -> None:
        """A client that goes away meanwhile is not noticed: the response to it goes nowhere."""
        try:
            response = await fast_route(body, scope["headers"])
        except Exception as error:  # noqa: BLE001 - response_to logs a bug
            status, message = response_to(error, self._errors)
            await _respond(send, status, message.encode(), extra)
        else:
            await _respond(send, 200, response, extra, JSON)

    async def _call_stream(
        self, stream: StreamRoute, scope: Scope, receive: Receive, send: Send, extra: Headers
    ) -> None:
        body = Body(receive)
        try:
            response = await stream(body, scope["headers"])
        except ClientGone:
            return
        except trio.TooSlowError:
            await _respond_early(scope, receive, send, 408, BODY_TOO_SLOW, extra)
            return
        except Exception as error:  # noqa: BLE001 - response_to logs a bug
            status, message = response_to(error, self._errors)
            more = extra if status != 429 else [*extra, RETRY_AFTER]
            if body.ended:
                await _respond(send, status, message.encode(), more)
            else:
                await _refuse(scope, receive, send, status, message.encode(), more)
            return
        await _respond_streamed(receive, send, response, extra, is_whole=body.ended)

    async def _call_live_route(
        self, live_route: LiveRoute, scope: Scope, receive: Receive, send: Send, extra: Headers
    ) -> None:
        if not await drain(receive, DRAIN_BYTES_MAX):
            await _respond_early(scope, receive, send, 413, BODY_TOO_LARGE, extra)
            return

        def is_allowed() -> bool:
            return self._refusal(scope) is None

        response = LiveResponse(send, [*LIVE_HEADERS, *extra], self._connections, is_allowed)
        try:
            await run_until_gone(live_route, scope, receive, response)
        except Exception as error:  # noqa: BLE001 - response_to logs a bug
            status, message = response_to(error, self._errors)
            if not response.begun:  # else Hypercorn closes the connection: the client sees that something is missing
                await _respond(send, status, message.encode(), extra if status != 503 else [*extra, RETRY_AFTER])

    async def _call_app(self, scope: Scope, receive: Receive, send: Send, body: bytes, extra: Headers) -> None:
        request = _BufferedRequest(receive, send, body, extra)
        try:
            await self._app(scope, request.receive, request.send)
        except Exception:
            log.exception("%s %r failed", scope["method"], scope["path"])
            if not request.started:  # else Hypercorn closes the connection: the client sees that something is missing
                await _respond(send, 500, b"internal error", extra)


def _as_quart_reads_it(scope: Scope) -> Scope:
    """The scope with the path that Quart will match, as its own: what Guard decides by must be what is called.

    Quart drops the server of `GET http://host/path`, and the root path of a bare Hypercorn.
    """
    path, root = scope["path"], scope.get("root_path", "")
    if not path.startswith("/"):
        path = urlsplit(path).path
    if root:
        path = path.removeprefix(root) if path.startswith(root) else "//"  # which is nothing of ours
    return {**scope, "path": path if path.startswith("/") else f"/{path}", "root_path": ""}


class _BufferedRequest:
    """One request with its whole body, and its response, as the inner app sees them. Mutable state: their progress."""

    def __init__(self, receive: Receive, send: Send, body: bytes, extra: Headers) -> None:
        self.started = False
        self._ends = False
        self._body: bytes | None = body
        self._extra = extra
        self._receive = receive
        self._send = send

    async def receive(self) -> Message:
        """The body in one piece, then the disconnect of the client."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        message = await self._receive()
        if message["type"] == "http.disconnect" and not self._ends:
            # The client has closed, or closed its half: it may read on. Quart would cancel the request.
            await trio.sleep(HALF_CLOSED_SECONDS)
        if self._ends:
            # Hypercorn says "disconnect" when the response is out, too, and starts the connection's idle timer after
            # it, inside of our `send`. Told so, Quart-Trio cancels that `send`: the timer never starts, an idle
            # connection stays open for ever, and a shutdown waits for it until the grace is over (3.2 s instead of
            # 0.3).
            await trio.sleep_forever()
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            message["headers"] = [*message.get("headers", ()), *self._extra]
        self._ends = message["type"] == "http.response.body" and not message.get("more_body", False)
        await self._send(message)


async def _respond(send: Send, status: int, body: bytes, extra: Headers, content_type: bytes = TEXT) -> None:
    headers = _headers_of(status, body, content_type) + extra
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, body: bytes, extra: Headers) -> None:
    """Respond to a request whose body is not needed: read it to its end if that is near, or close the connection."""
    if await drain(receive, DRAIN_BYTES_MAX):
        await _respond(send, status, body, extra)
    else:
        await _respond_early(scope, receive, send, status, body, extra)


async def _respond_early(scope: Scope, receive: Receive, send: Send, status: int, body: bytes, extra: Headers) -> None:
    """Respond while the client still sends: keep reading beside it, then close the connection.

    Without the reader Hypercorn would hang: it wants to tell us that the stream is closed, and our queue is full.
    """
    close = [(b"connection", b"close")] if scope["http_version"].startswith("1") else []
    headers = _headers_of(status, body) + extra + close
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    with trio.move_on_after(LINGER_SECONDS):
        await drain(receive, float("inf"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(drop_all, receive)
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        nursery.cancel_scope.cancel()


async def _respond_streamed(
    receive: Receive, send: Send, response: Streamed, extra: Headers, *, is_whole: bool
) -> None:
    """Send the file and close it. `is_whole`: the body of the request has ended."""
    is_whole = is_whole or await drain(receive, DRAIN_BYTES_MAX)
    headers = [(b"content-type", response.content_type), (b"content-length", b"%d" % response.file.tell()), *extra]
    if not is_whole:
        headers.append((b"connection", b"close"))
    with response.file:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        response.file.seek(0)
        async with trio.open_nursery() as nursery:
            if not is_whole:  # a client that still sends may read nothing until it has sent everything
                nursery.start_soon(drop_all, receive)
            while piece := response.file.read(SEND_BYTES):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            nursery.cancel_scope.cancel()


def _headers_of(status: int, body: bytes, content_type: bytes = TEXT) -> Headers:
    if status == 204:
        return []
    return [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]
