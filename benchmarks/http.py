"""Requests per second of the real producer under Hypercorn, beside a bare ASGI app under the same Hypercorn."""

import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.results import Rate

ROOT = Path(__file__).parent.parent
BODY = b'{"type":"noop","retries":3,"payload":{"to":"someone@example.com","subject":"Welcome!","n":12345}}'
START_SECONDS = 30.0
END_SECONDS = 15.0
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


@contextmanager
def hypercorn(app: str, environ: Mapping[str, str]) -> Iterator[tuple[int, int]]:
    """`hypercorn -k trio app` as a process of its own; yields its port and the pid of the process that serves."""
    command = [sys.executable, "-m", "hypercorn", "-k", "trio", "-b", "127.0.0.1:0", app]
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    process = subprocess.Popen(
        command, cwd=ROOT, env={**kept, "PYTHONUNBUFFERED": "1", **environ}, stderr=subprocess.PIPE, text=True
    )
    try:
        yield _port(process), _serving_pid(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _port(process: "subprocess.Popen[str]") -> int:
    assert process.stderr is not None
    deadline = time.monotonic() + START_SECONDS
    said = ""
    while time.monotonic() < deadline:
        line = process.stderr.readline()
        said += line
        if match := re.search(r"Running on http://127\.0\.0\.1:(\d+)", line):
            return int(match[1])
        if not line:
            break
    raise RuntimeError(f"hypercorn did not start: {said}")


def _serving_pid(parent: int) -> int:
    """Hypercorn's command is a parent with a resource tracker and a process that serves: the one that imported most."""
    children = [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    return max(children, key=resident_bytes)


def resident_bytes(pid: int) -> int:
    """Memory that a process holds now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


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


def load(port: int, pid: int, *, connections: int, seconds: float, headers: bytes = b"", body: bytes = BODY) -> Rate:
    """Answers per second at so many connections, each asking again as soon as it was answered, and CPU an answer.

    Raises RuntimeError where an answer was not 200. About 10 us of our own CPU a request.
    """
    request = b"POST /enqueue HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n%b\r\n%b" % (len(body), headers, body)
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
        return Rate(answered / (now - begun), (cpu_seconds(pid) - cpu) / max(1, answered) * 1e6)
    finally:
        for connection in opened:
            connection.socket.close()
        selector.close()


def bulk(port: int, pid: int, jobs: int) -> tuple[Rate, int]:
    """Jobs per second of one client that sends `jobs` in one request of NDJSON and reads an answer for each, and by how
    many bytes the memory of the process grew at most.

    Raises RuntimeError where one was not accepted.
    """
    line = BODY + b"\n"
    block = line * min(1000, jobs)
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak is counted from here on
    before = resident_bytes(pid)
    begun, cpu = time.perf_counter(), cpu_seconds(pid)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        head = b"POST /api/jobs/batch HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n\r\n"
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
    grown = _peak_bytes(pid) - before
    return Rate(jobs / seconds, (cpu_seconds(pid) - cpu) / jobs * 1e6), grown


def _peak_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the kernel tells no peak of memory")
