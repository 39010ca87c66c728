"""One connection of a client, in place of Hypercorn's own: an error in it ends this connection, and nothing else.

Hypercorn 0.18 catches OSError alone, so that any other error of a connection ends the server (a WebSocket handshake
with a byte behind it, a header of HTTP/2 that is not ASCII). It sends under a shield without a time limit, so that a
client that does not read keeps its memory and blocks the stop for ever. And it waits for ever for the response to a
client that has gone. Its HTTP/1.1 and its streams are used as they are. HTTP/2 and WebSockets, which no route needs,
are off: an upgrade is ignored (RFC 9110, 7.8), HTTP/2 with prior knowledge gets 505.
"""

import logging
import socket
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import h11
import hypercorn.trio.run
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol import events
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.trio.task_group import TaskGroup
from hypercorn.typing import ConnectionState
from hypercorn.utils import parse_socket_addr

from workqueue.services.http.connections import Connections
from workqueue.services.logs import Seldom

SEND_SECONDS = 10.0  #: for a client to take one piece of a response
PIECE_BYTES = 64 * 1024
RECEIVE_BYTES = 64 * 1024
HANDSHAKE_SECONDS = 10.0
GONE_SECONDS = 5.0  #: for a request to end after its client has gone
LINGER_SECONDS = 1.0  #: for a client to read the response that closes the connection, before a reset overtakes it
LINGER_BYTES = 4 << 20
REFUSAL_SECONDS = 0.05  #: for the same, where the connection itself is refused
VERSIONS = {b"1.0", b"1.1"}

#: The key of an app's Connections in its extensions, set by services/http/guard.py.
EXTENSION = "workqueue.connections"

TOO_MANY_CLIENTS = b"too many connections"
NO_ROOM = b"too much is being sent at once"

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]
HeaderList = list[tuple[bytes, bytes]]

log = logging.getLogger(__name__)


def harden_hypercorn() -> None:
    """From now on Hypercorn's Trio worker serves its connections here, and offers HTTP/1.1 alone over TLS.

    Called where our apps are made, so that it holds under a bare `hypercorn` as well: hypercorn.trio.run looks its
    TCPServer up by name when it begins to serve.
    """
    hypercorn.trio.run.TCPServer = _serve  # type: ignore[assignment, attr-defined]
    Config.alpn_protocols = ["http/1.1"]
    accepting = logging.getLogger("trio.serve_listeners")
    if not any(isinstance(known, _NoDescriptors) for known in accepting.filters):
        accepting.addFilter(_NoDescriptors())


async def _serve(app: Any, config: Config, context: Any, state: Any, stream: Stream) -> None:
    """Serve one connection; Hypercorn calls it. `app` is Hypercorn's wrapper around our app."""
    connections = getattr(app.app, "extensions", {}).get(EXTENSION)
    if connections is None:  # the app is not one of ours
        connections = context.__dict__.setdefault("connections", Connections())
    await Connection(app, config, context, state, stream, connections).run()


class Connection:
    """A connection from its acceptance to its end.

    Mutable state: the three times of connections.Client; the scopes of the reader and of the whole; `_is_closed`, set
    when nothing can be sent any more, because the client has gone or the last response is out.
    """

    def __init__(
        self, app: Any, config: Config, context: Any, state: Any, stream: Stream, connections: Connections
    ) -> None:
        self.connections = connections
        self.idle_since: float | None = trio.current_time()
        self.body_since: float | None = None
        self.stalled_since: float | None = None
        self._app = app
        self._config = config
        self._context = context
        self._state = state
        self._stream = stream
        self._sending = trio.Lock()
        self._whole = trio.CancelScope()
        self._reading = trio.CancelScope(deadline=self.idle_since + config.keep_alive_timeout)
        self._is_closed = False

    def end(self) -> None:
        self._whole.cancel()

    async def run(self) -> None:
        """Serve until either side closes it. Raises nothing but Cancelled."""
        try:
            if not self.connections.admit(self):
                await self._refuse()
                return
            with self._whole:
                await self._run()
        except OSError:
            pass
        except BaseExceptionGroup as group:
            cancelled, errors = group.split(trio.Cancelled)
            if errors is not None:
                self._log_fault(errors)
            if cancelled is not None:
                raise cancelled from None
        except Exception as error:  # noqa: BLE001 - it would end all the other connections
            self._log_fault(error)
        finally:
            self.connections.leave(self)
            await trio.aclose_forcefully(self._stream)

    async def _run(self) -> None:
        sock, ssl = await self._handshake()
        client = parse_socket_addr(sock.family, sock.getpeername())
        server = parse_socket_addr(sock.family, sock.getsockname())
        async with trio.open_nursery() as watching:
            watching.start_soon(self._end_with_server)
            requests = _Requests()
            async with requests:
                protocol = Http1(
                    self, self._app, self._config, self._context, requests, ConnectionState(self._state.copy()),
                    ssl, client, server, self._send,
                )  # fmt: skip
                with self._reading:
                    await self._read(protocol)
                self.idle_since = self.idle_since or trio.current_time()  # at the limit it is ended first
                requests.end_within(GONE_SECONDS)
                await protocol.handle(Closed())
            watching.cancel_scope.cancel()

    async def _handshake(self) -> "tuple[trio.socket.SocketType, bool]":
        """The TCP socket, and whether the connection uses TLS. Raises OSError."""
        if isinstance(self._stream, trio.SocketStream):
            return self._stream.socket, False
        try:
            with trio.fail_after(HANDSHAKE_SECONDS):
                await self._stream.do_handshake()
        except (trio.BrokenResourceError, trio.TooSlowError) as error:
            raise OSError("no TLS") from error
        return self._stream.transport_stream.socket, True

    async def _read(self, protocol: "Http1") -> None:
        dropped = 0
        while dropped < LINGER_BYTES:
            try:
                data = await self._stream.receive_some(RECEIVE_BYTES)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self._is_closed = True
                return
            if self._is_closed:  # the last response is out
                dropped += len(data)
            else:
                await protocol.handle(RawData(bytes(data)))
            if not data:
                return

    async def _end_with_server(self) -> None:
        """At a stop, an idle connection ends at once; one with a request ends with its response."""
        await self._context.terminated.wait()
        self.connections.stopping.set()
        if self.idle_since is not None:
            self._reading.cancel()

    # --- events of Hypercorn's protocol

    async def _send(self, event: Event) -> None:
        if isinstance(event, RawData):
            await self._send_bytes(event.data)
        elif isinstance(event, Closed):
            await self._close()
        elif isinstance(event, Updated):
            now = trio.current_time()
            self.idle_since, self.body_since = (now, None) if event.idle else (None, now)
            self._reading.deadline = now + self._config.keep_alive_timeout if event.idle else float("inf")

    async def _send_bytes(self, data: bytes) -> None:
        """Returns without an error where the client has gone, or does not take the bytes: then the connection ends."""
        budget = self.connections.budget
        left = len(data)
        budget.bytes += left
        try:
            async with self._sending:
                while left and not self._is_closed:
                    self.stalled_since = trio.current_time()
                    piece = memoryview(data)[len(data) - left :][:PIECE_BYTES]
                    with trio.fail_after(SEND_SECONDS):
                        await self._stream.send_all(piece)
                    left -= len(piece)
                    budget.bytes -= len(piece)
        except (trio.TooSlowError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self.stalled_since = None
            budget.bytes -= left
            if left:
                self._is_closed = True
                self._reading.cancel()

    async def _close(self) -> None:
        """The last response is out. The reader goes on for a moment: a close with unread bytes would be a reset."""
        now = trio.current_time()
        self.idle_since = self.idle_since or now
        if self._is_closed or self._context.terminated.is_set():
            self._reading.cancel()
        else:
            self._reading.deadline = now + LINGER_SECONDS
        self._is_closed = True
        with trio.move_on_after(LINGER_SECONDS), suppress(OSError, trio.BrokenResourceError, trio.ClosedResourceError,
                                                          trio.BusyResourceError):  # fmt: skip
            await (self._stream.send_eof() if isinstance(self._stream, trio.SocketStream) else self._stream.aclose())

    # --- at the limit

    async def _refuse(self) -> None:
        """Send a 503, as far as the client takes it at once."""
        self.connections.refusals.warning(
            log, "%d clients are connected, which is the limit: others are refused", self.connections.limit
        )
        if not isinstance(self._stream, trio.SocketStream):
            return  # before the TLS handshake nothing can be sent
        with trio.move_on_after(REFUSAL_SECONDS), suppress(trio.BrokenResourceError):
            await self._stream.send_all(_plain_response(503, TOO_MANY_CLIENTS, close=True))
            self._stream.socket.shutdown(socket.SHUT_WR)
            while await self._stream.receive_some(RECEIVE_BYTES):
                pass

    def _log_fault(self, error: BaseException) -> None:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        self.connections.faults.warning(
            log, "a connection was ended by %s: %s", type(error).__name__, error, exc_info=error
        )


class _Requests(TaskGroup):
    """The task group of a connection's requests."""

    def end_within(self, seconds: float) -> None:
        if self._nursery is not None:
            self._nursery.cancel_scope.deadline = trio.current_time() + seconds


class Http1(H11Protocol):
    """Hypercorn's HTTP/1.1, without upgrades.

    Mutable state of its own: `_head`, the head of a response that waits for its first bytes; `_is_dropping`, set while
    the rest of the app's response is dropped because a 503 went out instead.
    """

    def __init__(self, connection: Connection, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._connection = connection
        self._head: events.Response | None = None
        self._is_dropping = False

    async def _check_protocol(self, event: h11.Request) -> None:
        """Does nothing: Hypercorn would switch to HTTP/2 here."""

    async def _create_stream(self, request: h11.Request) -> None:
        target, headers = _origin_form(request)
        if (status := _fault(request, target)) is not None:
            await self._send_error_response(status)
            await self.send(Closed())
            return
        self.stream = _HttpStream(
            self._connection, self.app, self.config, self.context, self.task_group, self.ssl, self.client, self.server,
            self.stream_send, STREAM_ID,
        )  # fmt: skip
        await self.stream.handle(
            events.Request(
                stream_id=STREAM_ID,
                headers=headers,
                http_version=request.http_version.decode(),
                method=request.method.decode("ascii").upper(),
                raw_path=target,
                state=self.connection_state,
            )
        )
        self.keep_alive_requests += 1
        await self.context.mark_request()

    async def stream_send(self, event: events.Event) -> None:
        """Send the head of a response with its first bytes: in one packet, and only where there is room for them."""
        if isinstance(event, events.Response) and event.status_code >= 200:
            self._head, self._is_dropping = event, False
            return
        if self._is_dropping and isinstance(event, events.Body | events.EndBody):
            return
        if self._head is not None and isinstance(event, events.Body | events.EndBody):
            head, self._head = self._head, None
            if isinstance(event, events.Body) and not self._connection.connections.make_room(len(event.data)):
                self._is_dropping = True
                await self._send_error_response(503, NO_ROOM)
                return
            headers = [*head.headers, *self.config.response_headers("h11")]
            if self.keep_alive_requests >= self.config.keep_alive_max_requests:
                headers.append((b"connection", b"close"))
            parts: list[Any] = [h11.Response(headers=headers, status_code=head.status_code)]
            parts.append(h11.Data(data=event.data) if isinstance(event, events.Body) else h11.EndOfMessage())
            await self._send_h11_events(parts)
            return
        await super().stream_send(event)

    async def _send_h11_event(self, event: Any) -> None:
        await self._send_h11_events([event])

    async def _send_h11_events(self, parts: list[Any]) -> None:
        data = b""
        try:
            for part in parts:
                data += self.connection.send(part) or b""
        except h11.LocalProtocolError:
            if self.connection.their_state != h11.ERROR:
                raise
        if data:
            await self.send(RawData(data))

    async def _send_error_response(self, status_code: int, message: bytes | None = None) -> None:
        message = message or HTTPStatus(status_code).phrase.lower().encode()
        headers = [*_plain_headers(status_code, message, close=True), *self.config.response_headers("h11")]
        await self._send_h11_events(
            [h11.Response(status_code=status_code, headers=headers), h11.Data(data=message), h11.EndOfMessage()]
        )


class _HttpStream(HTTPStream):
    """A request that resets `body_since` of its connection when its body is complete."""

    def __init__(self, connection: Connection, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._connection = connection

    async def handle(self, event: events.Event) -> None:
        if isinstance(event, events.EndBody):
            self._connection.body_since = None
        await super().handle(event)


def _fault(request: h11.Request, target: bytes) -> int | None:
    """The status for a request that is not understood, or that a proxy may understand differently; None: no fault."""
    if request.http_version not in VERSIONS:
        return 505
    names = {bytes(name) for name, _ in request.headers}
    if b"transfer-encoding" in names and (b"content-length" in names or request.http_version == b"1.0"):
        return 400  # RFC 9112, 6.1: two lengths; a proxy before us may have used the other one
    return None if target.startswith(b"/") else 400


def _origin_form(request: h11.Request) -> tuple[bytes, HeaderList]:
    """Target and headers with `GET http://host/path` rewritten to `GET /path` for that host (RFC 9112, 3.2.2)."""
    target, headers = bytes(request.target), list(request.headers)
    scheme, found, rest = target.partition(b"://")
    if not found or scheme.lower() not in {b"http", b"https"}:
        return target, headers
    at = min((index for index in map(rest.find, (b"/", b"?")) if index >= 0), default=len(rest))
    path = rest[at:] if rest[at : at + 1] == b"/" else b"/" + rest[at:]
    return path, [(name, rest[:at] if name == b"host" else value) for name, value in headers]


def _plain_headers(status: int, message: bytes, *, close: bool) -> HeaderList:
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(message)),
        (b"x-content-type-options", b"nosniff"),
    ]
    if status == 503:
        headers.append((b"retry-after", b"1"))
    return [*headers, (b"connection", b"close")] if close else headers


def _plain_response(status: int, message: bytes, *, close: bool) -> bytes:
    lines = [b"HTTP/1.1 %d %b" % (status, HTTPStatus(status).phrase.encode())]
    lines += [b"%b: %b" % header for header in _plain_headers(status, message, close=close)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + message


class _NoDescriptors(logging.Filter):
    """Trio logs an accept that fails with EMFILE ten times a second, with a traceback: one line a minute is enough."""

    def __init__(self) -> None:
        super().__init__()
        self._line = Seldom(60.0)

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.ERROR and record.exc_info:
            self._line.warning(log, "no more connections are accepted until others have ended: %s", record.exc_info[1])
            return False
        return True
