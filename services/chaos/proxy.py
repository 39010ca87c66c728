"""A TCP proxy that breaks connections on purpose, between any of our processes and its server.

Everything can be switched while connections are open: a command may take effect and its answer never arrive
(`replies_pass = False`), never arrive itself (`requests_pass = False`), be slow (`delay_seconds`), be cut off in the
middle (`cut()`), or meet a server that is not there (`refuse = True`) or accepts and says nothing (`black_hole()`).
"""

import contextlib
from functools import partial
from urllib.parse import urlsplit, urlunsplit

import trio

CHUNK_BYTES = 64 * 1024


class Proxy:
    """Forwards to host:server_port. Mutable state: the switches, set from outside, and the open connections."""

    def __init__(self, server_port: int, host: str = "127.0.0.1") -> None:
        self.server_port = server_port
        self.server_host = host
        self.port = 0  #: set before `run` reports that it has started
        self.requests_pass = True
        self.replies_pass = True
        self.refuse = False  #: new connections are closed at once
        self.delay_seconds = 0.0  #: for each piece of a reply
        self.connections = 0  #: accepted so far
        self.requests_bytes = 0
        self.replies_bytes = 0
        self.requests_swallowed = trio.Event()  #: set when a request was swallowed
        self.replies_swallowed = trio.Event()  #: set when a reply was swallowed: the command has taken effect
        self._open: set[trio.CancelScope] = set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; started() once `port` accepts."""
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(partial(trio.serve_tcp, self._serve, 0, host="127.0.0.1"))
            self.port = listeners[0].socket.getsockname()[1]
            task_status.started()

    def cut(self) -> None:
        """Close every open connection now."""
        for scope in list(self._open):
            scope.cancel()

    def swallow_replies(self) -> None:
        """From now on commands take effect and their answers are lost."""
        self.replies_pass = False
        self.replies_swallowed = trio.Event()

    def swallow_requests(self) -> None:
        """From now on commands vanish on their way."""
        self.requests_pass = False
        self.requests_swallowed = trio.Event()

    def black_hole(self) -> None:
        """Accept, and never answer."""
        self.swallow_requests()
        self.swallow_replies()

    def go_away(self) -> None:
        """As if the server had gone: cut open connections, refuse new ones."""
        self.refuse = True
        self.cut()

    def heal(self) -> None:
        """Everything passes again. What was swallowed is lost, so its connections are cut."""
        swallowed = not (self.requests_pass and self.replies_pass)
        self.requests_pass = self.replies_pass = True
        self.refuse = False
        self.delay_seconds = 0.0
        if swallowed:
            self.cut()

    async def _serve(self, client: trio.SocketStream) -> None:
        self.connections += 1
        if self.refuse:
            await client.aclose()
            return
        with trio.CancelScope() as scope:
            self._open.add(scope)
            try:
                server = await trio.open_tcp_stream(self.server_host, self.server_port)
            except OSError:
                self._open.discard(scope)
                await client.aclose()
                return
            try:
                async with client, server, trio.open_nursery() as pipes:
                    pipes.start_soon(self._requests, client, server, pipes.cancel_scope)
                    pipes.start_soon(self._replies, server, client, pipes.cancel_scope)
            finally:
                self._open.discard(scope)

    async def _requests(self, client: trio.SocketStream, server: trio.SocketStream, both: trio.CancelScope) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while piece := await client.receive_some(CHUNK_BYTES):
                if self.requests_pass:
                    self.requests_bytes += len(piece)
                    await server.send_all(piece)
                else:
                    self.requests_swallowed.set()
        both.cancel()  # one side has gone: end both

    async def _replies(self, server: trio.SocketStream, client: trio.SocketStream, both: trio.CancelScope) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while piece := await server.receive_some(CHUNK_BYTES):
                if self.delay_seconds:
                    await trio.sleep(self.delay_seconds)
                if self.replies_pass:
                    self.replies_bytes += len(piece)
                    await client.send_all(piece)
                else:
                    self.replies_swallowed.set()
        both.cancel()


DEFAULT_PORTS = {"redis": 6379, "postgres": 5432, "postgresql": 5432}


def address(url: str) -> tuple[str, int] | None:
    """Host and port of the one server that `url` leads to; None: there is no such, or it wants to see its own name."""
    parts = urlsplit(url)
    if (
        parts.scheme not in DEFAULT_PORTS
        or not parts.hostname
        or "," in parts.netloc
        or "sslmode=verify" in parts.query
    ):
        return None
    return parts.hostname, parts.port or DEFAULT_PORTS[parts.scheme]


def through(url: str, proxy: Proxy) -> str:
    """`url` of a server, as it is reached through the proxy."""
    parts = urlsplit(url)
    user, at, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}{at}127.0.0.1:{proxy.port}"))
