"""The producer's app on a real Hypercorn, inside of the test's own loop; and a client that sees the bare bytes."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Any

import h11
import httpx
import trio
from hypercorn.config import Config
from hypercorn.trio import serve

from workqueue.core.settings import load_settings
from workqueue.services.producer.app import create_app


@asynccontextmanager
async def serving(
    environ: Mapping[str, str], *, grace_seconds: float = 3.0, **options: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a producer with this environment; at the end the producer is shut down."""
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.accesslog = config.errorlog = None
    config.graceful_timeout = grace_seconds
    app = create_app(load_settings(environ), **options)
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        binds = await nursery.start(partial(serve, app, config, shutdown_trigger=stop.wait))
        async with httpx.AsyncClient(base_url=binds[0], timeout=30, trust_env=False) as client:
            yield client
        stop.set()


class RawAnswer:
    def __init__(self, status: int, headers: dict[str, str]) -> None:
        self.status, self.headers, self.body = status, headers, b""


class Connection:
    """One TCP connection. What is sent is up to the test; answers are read by h11."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._h11 = h11.Connection(h11.CLIENT)

    async def send(self, content: bytes) -> None:
        await self.stream.send_all(content)

    async def get(self, path: str = "/health") -> RawAnswer:
        await self.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        return await self.answer()

    async def answer(self, seconds: float = 30) -> RawAnswer:
        """The next answer. The request was written by hand, so h11 is told of one that never was on the wire."""
        if self._h11.our_state is h11.DONE:
            self._h11.start_next_cycle()
        self._h11.send(h11.Request(method="GET", target="/", headers=[("Host", "test")]))
        self._h11.send(h11.EndOfMessage())
        answer: RawAnswer | None = None
        with trio.fail_after(seconds):
            while True:
                event = self._h11.next_event()
                if event is h11.NEED_DATA:
                    self._h11.receive_data(await self.stream.receive_some(65536))
                elif isinstance(event, h11.Response):
                    headers = {name.decode(): value.decode() for name, value in event.headers}
                    answer = RawAnswer(event.status_code, headers)
                elif isinstance(event, h11.Data):
                    assert answer is not None
                    answer.body += bytes(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    assert answer is not None
                    return answer
                elif isinstance(event, h11.ConnectionClosed):
                    raise EOFError("closed without an answer")

    async def is_closed(self, seconds: float = 30) -> bool:
        with trio.move_on_after(seconds):
            try:
                while await self.stream.receive_some(65536):
                    pass
            except trio.BrokenResourceError:
                pass
            return True
        return False

    async def __aenter__(self) -> "Connection":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stream.aclose()


async def connect(client: httpx.AsyncClient) -> Connection:
    port = client.base_url.port
    assert port is not None
    return Connection(await trio.open_tcp_stream("127.0.0.1", port))


def post(body: bytes, path: str = "/enqueue", *, method: str = "POST") -> bytes:
    """A request with a Content-Length, as bytes."""
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
