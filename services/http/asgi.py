"""What every request of both services passes through: who may ask, CORS, limits on bodies, nosniff, the last resort.

One ASGI wrapper around the whole app, because a preflight on any path, an error of the router and a crash must carry
the same headers as an answer. It also reads the request's body to its end before anybody answers: Hypercorn 0.18 does
not take the next request of a keep-alive connection while a body lies unread (its queue of 10 messages is full, and the
task that would read the connection waits for room).
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import IO, Any

import trio
from msgspec import Struct
from quart_trio import QuartTrio

from workqueue.core.settings import Settings
from workqueue.services.http.access import Access
from workqueue.services.http.answers import Table, answer_to, install_errors
from workqueue.services.http.connection import EXTENSION, harden_hypercorn
from workqueue.services.http.connections import Budget, Connections, Limits
from workqueue.services.http.messages import App, Headers, Message, Receive, Scope, Send

#: Answers a request, body and headers given, with 200 and JSON, or raises what the table of errors knows.
Direct = Callable[[bytes, Headers], Awaitable[bytes]]
#: Reads a body while it arrives, and answers when it has ended. Raises what the table of errors knows, or Refused.
Stream = Callable[["Body", Headers], Awaitable["Streamed"]]
Route = tuple[str, str]  #: method, path

BODY_SECONDS = 60.0  #: how long a body may take to arrive; a stream of any length gets more by its bytes
STREAM_BYTES_PER_SECOND = 16 * 1024  #: of a stream, on the average behind BODY_SECONDS
STREAM_SECONDS = 3600.0  #: for its sender in all; the time that we take does not count
BUFFERED_BODIES = 4  #: of the greatest size have room at once, if that is more than Limits has
DRAIN_BYTES_MAX = 8 * 1024 * 1024  #: of a body that is too large: read and dropped, so that the connection lives on
DRAIN_SECONDS = 5.0
SEND_BYTES = 64 * 1024  #: of one piece of a long answer
LINGER_SECONDS = 2.0  #: after an early answer, or a client that still sends would see a reset instead of it
HALF_CLOSED_SECONDS = 1.0  #: for an answer to a client that sends no more, and may read
PREFLIGHT_SECONDS = b"600"  #: how long a browser may remember a preflight's answer

TEXT = b"text/plain; charset=utf-8"
JSON = b"application/json"
NOSNIFF = (b"x-content-type-options", b"nosniff")
BUSY = b"too much is being sent at once"

log = logging.getLogger(__name__)


def protect(
    app: QuartTrio,
    settings: Settings,
    table: Table | None = None,
    *,
    direct: Mapping[Route, Direct] | None = None,
    streams: Mapping[Route, Stream] | None = None,
    connections: int = Limits().connections,
) -> QuartTrio:
    """`app`, answering as the contract says: errors in text/plain, CORS, limits. Call it once every route is there.

    What is in `direct` is answered without Quart, whose two tasks, contexts and routing take a third of the requests
    of a second; its routes stay for whatever else comes to their paths. What is in `streams` reads its body while it
    arrives: Quart's own takes in all that comes, however slowly it is read. `connections`: how many there may be.
    """
    harden_hypercorn()
    buffered = max(Limits().buffered_bytes, BUFFERED_BODIES * settings.max_body_bytes)
    of_all = app.extensions[EXTENSION] = Connections(Limits(connections, buffered))
    install_errors(app, table or {})
    app.url_map.merge_slashes = False  # `/api//jobs` is no path of ours, and a redirect is no answer of ours
    for rule in app.url_map.iter_rules():  # a preflight is answered outside; without CORS, OPTIONS is not allowed
        rule.provide_automatic_options = False  # type: ignore[attr-defined]
        (rule.methods or set()).discard("OPTIONS")
    app.config["MAX_CONTENT_LENGTH"] = None  # ours has counted
    inner: Any = app.asgi_app
    app.asgi_app = Guard(  # type: ignore[method-assign, assignment]
        inner, settings, table, direct=direct, streams=streams, budget=of_all.budget
    )
    return app


class Guard:
    """An ASGI app around `app`. Mutable state: none."""

    def __init__(
        self,
        app: App,
        settings: Settings,
        table: Table | None = None,
        *,
        direct: Mapping[Route, Direct] | None = None,
        streams: Mapping[Route, Stream] | None = None,
        budget: Budget | None = None,
    ) -> None:
        """`budget`: what is in memory for all clients together."""
        self._app = app
        self._access = Access(settings)
        self._budget = budget or Budget(Limits().buffered_bytes)
        self._table = table or {}
        self._direct = direct or {}
        self._streams = streams or {}
        self._origins = frozenset(origin.encode() for origin in settings.origins)
        self._body_bytes_max = settings.max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        else:  # the lifespan; WebSockets do not come here (connection.py)
            await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        extra = self._headers(scope)
        if (refusal := self._access.refusal(scope)) is not None:
            await _refuse(scope, receive, send, *refusal, extra)
        elif stream := self._streams.get((scope["method"], scope["path"])):
            await self._stream(stream, scope, receive, send, extra)
        else:
            reading = _Reading(self._budget)
            try:
                await self._answer(reading, scope, receive, send, extra)
            finally:
                self._budget.bytes -= reading.bytes

    async def _answer(self, reading: "_Reading", scope: Scope, receive: Receive, send: Send, extra: Headers) -> None:
        try:
            with trio.fail_after(BODY_SECONDS):
                body = await self._read(reading, scope, receive)
        except trio.TooSlowError:
            await _answer_early(scope, receive, send, 408, b"the body took too long", extra)
            return
        except _Busy:
            await _refuse(scope, receive, send, 503, BUSY, [*extra, (b"retry-after", b"1")])
            return
        except _BodyTooLarge as error:
            if error.read_to_its_end:
                await _answer(send, 413, b"body too large", extra)
            else:
                await _answer_early(scope, receive, send, 413, b"body too large", extra)
            return
        if body is None:
            return
        if self._origins and scope["method"] == "OPTIONS":
            await _answer(send, 204, b"", [*extra, (b"access-control-max-age", PREFLIGHT_SECONDS)])
            return
        if direct := self._direct.get((scope["method"], scope["path"])):
            await self._answer_directly(direct, scope, send, body, extra)
        else:
            await self._inner(scope, receive, send, body, extra)

    async def _answer_directly(self, direct: Direct, scope: Scope, send: Send, body: bytes, extra: Headers) -> None:
        """Nobody listens for the client going away: then its answer goes nowhere."""
        try:
            answer = await direct(body, scope["headers"])
        except Exception as error:  # noqa: BLE001 - a bug is logged there
            status, sentence = answer_to(error, self._table)
            await _answer(send, status, sentence.encode(), extra)
        else:
            await _answer(send, 200, answer, extra, JSON)

    async def _stream(self, stream: Stream, scope: Scope, receive: Receive, send: Send, extra: Headers) -> None:
        body = Body(receive)
        try:
            answer = await stream(body, scope["headers"])
        except ClientGone:
            return
        except trio.TooSlowError:
            await _answer_early(scope, receive, send, 408, b"the body took too long", extra)
            return
        except Exception as error:  # noqa: BLE001 - a bug is logged there
            status, sentence = answer_to(error, self._table)
            more = extra if status != 429 else [*extra, (b"retry-after", b"1")]
            if body.ended:
                await _answer(send, status, sentence.encode(), more)
            else:
                await _refuse(scope, receive, send, status, sentence.encode(), more)
            return
        is_whole = body.ended or await _drain(receive, DRAIN_BYTES_MAX)
        headers = [(b"content-type", answer.content_type), (b"content-length", b"%d" % answer.file.tell()), *extra]
        if not is_whole:
            headers.append((b"connection", b"close"))
        with answer.file:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            answer.file.seek(0)
            async with trio.open_nursery() as nursery:
                if not is_whole:  # a client that still sends may read nothing before it could
                    nursery.start_soon(_drop_all, receive)
                while piece := answer.file.read(SEND_BYTES):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                nursery.cancel_scope.cancel()

    async def _inner(self, scope: Scope, receive: Receive, send: Send, body: bytes, extra: Headers) -> None:
        exchange = _Exchange(receive, send, body, extra)
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except Exception:
            log.exception("%s %r failed", scope["method"], scope["path"])
            if not exchange.started:  # else Hypercorn closes the connection: the client sees that something is missing
                await _answer(send, 500, b"internal error", extra)

    def _headers(self, scope: Scope) -> Headers:
        headers = [NOSNIFF]
        if not self._origins:
            return headers
        headers += [
            (b"access-control-allow-methods", b"GET, POST, OPTIONS"),
            (b"access-control-allow-headers", b"Content-Type, Idempotency-Key"),
            (b"access-control-expose-headers", b"Link"),
        ]
        if self._origins == {b"*"}:
            return [*headers, (b"access-control-allow-origin", b"*")]
        headers.append((b"vary", b"Origin"))  # also without a match: a cache must not hand that answer to others
        origins = [value for name, value in scope["headers"] if name == b"origin"]
        if len(origins) == 1 and origins[0] in self._origins:
            headers.append((b"access-control-allow-origin", origins[0]))
        return headers

    async def _read(self, reading: "_Reading", scope: Scope, receive: Receive) -> bytes | None:
        """The whole body; None: the client has gone. Raises _BodyTooLarge, and _Busy where there is no room for it."""
        length = _content_length(scope)
        if length > self._body_bytes_max:
            raise _BodyTooLarge(read_to_its_end=length <= DRAIN_BYTES_MAX and await _drain(receive, DRAIN_BYTES_MAX))
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            piece = message.get("body", b"")
            reading.add(len(piece))
            body += piece
            if len(body) > self._body_bytes_max:
                more = message.get("more_body", False)
                raise _BodyTooLarge(read_to_its_end=not more or await _drain(receive, DRAIN_BYTES_MAX))
            if not message.get("more_body", False):
                return bytes(body)


class ClientGone(Exception):
    """The client has hung up in the middle of its body."""


class Body:
    """A body as it arrives. While nobody reads, Hypercorn soon stops reading the connection.

    Mutable state: whether it has ended, how much has come, for how long it was waited for before, and the wait now.
    """

    def __init__(self, receive: Receive) -> None:
        self.ended = False
        self._receive = receive
        self._bytes = 0
        self._waited = 0.0
        self._wait: tuple[float, trio.CancelScope] | None = None  #: since when, and its scope

    @property
    def slow_seconds(self) -> float:
        """How far its sender, who is waited for now, lies behind STREAM_BYTES_PER_SECOND; 0 where we are at work."""
        if self._wait is None:
            return 0.0
        waited = self._waited + trio.current_time() - self._wait[0]
        return max(0.0, waited - self._bytes / STREAM_BYTES_PER_SECOND)

    def give_up(self) -> None:
        """Others need what it holds: `read` raises TooSlowError."""
        if self._wait is not None:
            self._wait[1].cancel()

    async def read(self) -> bytes:
        """What has arrived; b"" at the end, and ever after.

        Raises ClientGone, or TooSlowError for a sender that takes longer than BODY_SECONDS in all, and more by what it
        has sent: one that drips has its end as well.
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


class Streamed(Struct, frozen=True):
    """An answer of any length: what was written to `file` so far. It is closed when it has been sent."""

    content_type: bytes
    file: IO[bytes]


class _Reading:
    """The bytes of one request that are in memory. Mutable state: how many."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.bytes = 0

    def add(self, more: int) -> None:
        """Raises _Busy where too much is in memory for others."""
        if more and not self._budget.has_room(more, self.bytes):
            raise _Busy
        self.bytes += more
        self._budget.bytes += more


class _Busy(Exception):
    """There is no room for a body."""


class _BodyTooLarge(Exception):
    def __init__(self, *, read_to_its_end: bool) -> None:
        self.read_to_its_end = read_to_its_end


def _content_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():  # Hypercorn has refused anything else
            return int(value[:20])
    return 0


async def _drain(receive: Receive, bytes_max: float) -> bool:
    """Read and drop up to so many bytes, for DRAIN_SECONDS at most; True: that was all."""
    with trio.move_on_after(DRAIN_SECONDS):
        while bytes_max >= 0:
            message = await receive()
            bytes_max -= len(message.get("body", b""))
            if not message.get("more_body", False):  # the end, or the client has gone
                return True
    return False


class _Exchange:
    """One request and its answer, as the inner app sees them. Mutable state: how far they have come."""

    def __init__(self, receive: Receive, send: Send, body: bytes, extra: Headers) -> None:
        self.started = False
        self._ends = False
        self._body: bytes | None = body
        self._extra = extra
        self._receive = receive
        self._send = send

    async def receive(self) -> Message:
        """The body in one piece, then what comes after it: the client going away."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        message = await self._receive()
        if message["type"] == "http.disconnect" and not self._ends:
            # The client has closed, or closed its half: it may read on. Quart would cancel the request.
            await trio.sleep(HALF_CLOSED_SECONDS)
        if self._ends:
            # Hypercorn says "disconnect" when the answer is out, too, and starts the connection's idle timer after it,
            # inside of our `send`. Told so, Quart-Trio cancels that `send`: the timer never starts, an idle connection
            # stays open for ever, and a shutdown waits for it until the grace is over (3.2 s instead of 0.3).
            await trio.sleep_forever()
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            message["headers"] = [*message.get("headers", ()), *self._extra]
        self._ends = message["type"] == "http.response.body" and not message.get("more_body", False)
        await self._send(message)


async def _answer(send: Send, status: int, body: bytes, extra: Headers, content_type: bytes = TEXT) -> None:
    headers = _headers_of(status, body, content_type) + extra
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, body: bytes, extra: Headers) -> None:
    """Answer a request whose body is of no interest: read to its end if that is near, or the connection is closed."""
    if await _drain(receive, DRAIN_BYTES_MAX):
        await _answer(send, status, body, extra)
    else:
        await _answer_early(scope, receive, send, status, body, extra)


async def _answer_early(scope: Scope, receive: Receive, send: Send, status: int, body: bytes, extra: Headers) -> None:
    """Answer while the client still sends: keep reading beside it, then close the connection.

    Without the reader Hypercorn would hang: it wants to tell us that the stream is closed, and our queue is full.
    """
    close = [(b"connection", b"close")] if scope["http_version"].startswith("1") else []
    headers = _headers_of(status, body) + extra + close
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    with trio.move_on_after(LINGER_SECONDS):
        await _drain(receive, float("inf"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_drop_all, receive)
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        nursery.cancel_scope.cancel()


async def _drop_all(receive: Receive) -> None:
    while True:
        await receive()


def _headers_of(status: int, body: bytes, content_type: bytes = TEXT) -> Headers:
    if status == 204:
        return []
    return [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]
