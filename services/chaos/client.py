"""A client that posts and reads the answer, and nothing else.

httpx takes 1 ms of a processor for each request, which is more than the producer takes for the job: a run of several
hundred jobs a second would measure its client.
"""

import trio

ANSWER_BYTES_MAX = 64 * 1024


class NotSent(Exception):
    """No server was there: the request was not sent."""


class NoAnswer(Exception):
    """The request may have arrived, and its answer did not."""


class Client:
    """One connection to one server on loopback, opened when it is needed. Mutable state: the connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._stream: trio.SocketStream | None = None

    async def post(self, path: str, body: bytes, *, seconds: float, hang_up: bool = False) -> tuple[int, bytes]:
        """`request`, with POST."""
        return await self.request("POST", path, body, seconds=seconds, hang_up=hang_up)

    async def request(
        self, method: str, path: str, body: bytes, *, seconds: float, hang_up: bool = False, content_type: str = ""
    ) -> tuple[int, bytes]:
        """Status and body of the answer. Raises NotSent, NoAnswer. `hang_up`: send, do not wait, and raise NoAnswer."""
        answered = False
        try:
            with trio.fail_after(seconds):
                if self._stream is None:
                    self._stream = await self._connect()
                head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
                if content_type:
                    head += f"Content-Type: {content_type}\r\n"
                await self._stream.send_all(head.encode() + b"\r\n" + body)
                if hang_up:
                    raise NoAnswer("we hung up")
                status, content, keep = await self._answer(self._stream)
            answered = keep
            return status, content
        except (OSError, trio.BrokenResourceError, trio.TooSlowError, ValueError) as error:
            raise NoAnswer(repr(error)) from error
        finally:
            if not answered:
                self.close()

    async def _connect(self) -> trio.SocketStream:
        try:
            return await trio.open_tcp_stream("127.0.0.1", self._port)
        except OSError as error:
            raise NotSent(str(error)) from error

    async def _answer(self, stream: trio.SocketStream) -> tuple[int, bytes, bool]:
        received = b""
        while b"\r\n\r\n" not in received:
            received += await self._more(stream, len(received))
        head, _, content = received.partition(b"\r\n\r\n")
        status, *lines = head.lower().split(b"\r\n")
        headers = dict(line.split(b": ", 1) for line in lines)
        length = int(headers[b"content-length"]) if b"content-length" in headers else 0
        while len(content) < length:
            content += await self._more(stream, len(content))
        return int(status.split()[1]), content, headers.get(b"connection") != b"close"

    async def _more(self, stream: trio.SocketStream, so_far: int) -> bytes:
        piece = bytes(await stream.receive_some())
        if not piece or so_far > ANSWER_BYTES_MAX:
            raise ValueError("no whole answer")
        return piece

    def close(self) -> None:
        """Forget the connection."""
        if self._stream is not None:
            self._stream.socket.close()
            self._stream = None
