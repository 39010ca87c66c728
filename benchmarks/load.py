"""Load on the producer, or on a bare ASGI app under the same Hypercorn: one client, as cheap as it can be."""

import selectors
import socket
import time
from typing import Any

from benchmarks.processes import cpu_seconds, forget_peak, peak_bytes, resident_bytes
from benchmarks.results import Sample

BODY = b'{"type":"noop","retries":3,"payload":{"to":"someone@example.com","subject":"Welcome!","n":12345}}'
ANSWER = (
    b'{"status":"queued","type":"noop","retries":3,"queue_name":"bench:0123456789abcdef0123456789abcdef",'
    b'"job_id":"01234567-89ab-cdef-0123-456789abcdef"}'
)


async def bare(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The floor: reads the body, answers as many bytes as we do, and does nothing else."""
    if scope["type"] != "http":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": message["type"] + ".complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    while (await receive()).get("more_body", False):
        pass
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(ANSWER)),
        (b"x-content-type-options", b"nosniff"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": ANSWER})


class _Connection:
    """One keep-alive connection with one request under way."""

    def __init__(self, port: int, request: bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._request = request
        self._received = b""

    def send(self) -> None:
        self.socket.sendall(self._request)

    def receive(self) -> bytes | None:
        """The status line of the answer; None: it is not complete yet."""
        piece = self.socket.recv(65536)
        if not piece:
            raise ConnectionError("the server closed a connection")
        self._received += piece
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found:
            return None
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(body) < length:
            return None
        self._received = b""
        return head.split(b"\r\n", 1)[0]


def load(port: int, pid: int, *, connections: int, seconds: float, headers: bytes = b"", body: bytes = BODY) -> Sample:
    """Answers per second at so many connections, each asking again as soon as it was answered, and CPU an answer.

    Raises RuntimeError where an answer was not 200. About 10 us of our own CPU a request.
    """
    request = b"POST /enqueue HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n%b\r\n%b" % (
        len(body),
        headers,
        body,
    )
    selector = selectors.DefaultSelector()
    opened = [_Connection(port, request) for _ in range(connections)]
    try:
        for connection in opened:
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            connection.send()
        answered = 0
        begun, cpu = time.perf_counter(), cpu_seconds(pid)
        end = begun + seconds
        while (now := time.perf_counter()) < end:
            for key, _ in selector.select(1):
                connection = key.data
                if (status := connection.receive()) is not None:
                    if b" 200" not in status:
                        raise RuntimeError(f"not accepted: {status.decode()}")
                    answered += 1
                    connection.send()
        return Sample(answered / (now - begun), (cpu_seconds(pid) - cpu) / max(1, answered) * 1e6)
    finally:
        for connection in opened:
            connection.socket.close()
        selector.close()


def bulk(port: int, pid: int, jobs: int) -> tuple[Sample, int]:
    """Jobs per second of one client that sends `jobs` in one request of NDJSON and reads an answer for each, and by how
    many bytes the memory of the process grew at most.

    Raises RuntimeError where one was not accepted.
    """
    line = BODY + b"\n"
    block = line * min(1000, jobs)
    forget_peak(pid)
    before = resident_bytes(pid)
    begun, cpu = time.perf_counter(), cpu_seconds(pid)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        head = b"POST /api/jobs/batch HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
        connection.sendall(head % (len(line) * jobs))
        left = jobs
        while left:
            part = min(left, 1000)
            connection.sendall(block[: part * len(line)])
            left -= part
        with connection.makefile("rb") as answer:
            status = answer.readline()
            length = 0
            while (header := answer.readline().strip().lower()) != b"":
                if header.startswith(b"content-length:"):
                    length = int(header.partition(b":")[2])
            accepted = refused = 0
            while length > 0:
                said = answer.readline()
                length -= len(said)
                accepted += 1
                refused += b'"error"' in said
    seconds = time.perf_counter() - begun
    if b" 200" not in status or accepted != jobs or refused:
        raise RuntimeError(f"{status.decode().strip()}: {accepted} answers, {refused} refused")
    grown = peak_bytes(pid) - before
    return Sample(jobs / seconds, (cpu_seconds(pid) - cpu) / jobs * 1e6), grown
