"""Mangled connections: requests of HTTP/1, HTTP/2 and WebSockets, broken at random. Pure: the seed decides."""

from itertools import pairwise
from random import Random

from msgspec import Struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
BODY = b'{"type":"fuzz","payload":{"a":[1,2,3]}}'

#: Of HTTP/1, each right by itself but where it says so.
REQUESTS = (
    b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: text/plain\r\n\r\n",
    b"GET /api/jobs?limit=5&status=failed HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET http://localhost/ready HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET ?x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"CONNECT localhost:443 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"POST /enqueue HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY),
    b"POST /enqueue HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
    % (len(BODY), BODY),
    b"POST /enqueue HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n%b"
    % (len(BODY), BODY),
    b"POST /enqueue HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /enqueue HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n" + bytes(3000),
    b"POST /api/jobs/batch HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (3 * len(BODY) + 3,
                                                                                        (BODY + b"\n") * 3),
    b"POST /api/jobs/batch HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n[[[[\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: bKdPyn3u98cTfZJSh4TNeQ==\r\n\r\nx",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n" + PREFACE,
)  # fmt: skip
TOKENS = (b"\r\n", b"\0", b":", b" ", b"\xff\xfe", b"\r\n\r\n", b"\n", b"0", b"\x80" * 9, b"Host: x\r\n", b"%00",
          b"Transfer-Encoding: chunked\r\n", b"Content-Length: -1\r\n", b"HTTP/1.1", b"\x16\x03\x01",
          b"A" * 20_000)  # fmt: skip


class Attempt(Struct, frozen=True):
    """What one client does: send the pieces, then read for a while or not at all, then close or reset."""

    pieces: list[bytes]
    pause_seconds: float  #: between two pieces
    read_seconds: float
    resets: bool


def attempt(random: Random) -> Attempt:
    """The next one."""
    kind = random.random()
    if kind < 0.65:
        text = b"".join(random.choice(REQUESTS) for _ in range(random.choice((1, 1, 1, 2, 5, 30))))
    elif kind < 0.9:
        text = PREFACE + b"".join(_frame(random) for _ in range(random.choice((1, 3, 40, 1200))))
    else:
        text = REQUESTS[-2] + b"".join(_websocket_frame(random) for _ in range(random.choice((1, 5, 50))))
    for _ in range(random.choice((0, 1, 1, 2, 5))):
        text = _mutated(text, random)
    pieces = _cut(text, random) if random.random() < 0.3 else [text]
    return Attempt(pieces, random.choice((0.0, 0.0, 0.01)), random.choice((0.0, 0.0, 0.05, 0.5)), random.random() < 0.3)


def _mutated(text: bytes, random: Random) -> bytes:
    at = random.randrange(len(text) + 1)
    match random.randrange(6):
        case 0:
            return text[:at] + random.randbytes(random.choice((1, 1, 8, 200))) + text[at:]
        case 1:
            return text[:at] + text[at + random.choice((1, 1, 7, 50)) :]
        case 2:
            return text[:at]
        case 3:
            return text[:at] + random.choice(TOKENS) + text[at:]
        case 4:
            begin = random.randrange(len(text) + 1)
            return text[:at] + text[begin : begin + 60] + text[at:]
    return text[:at] + bytes([random.randrange(256)]) + text[at + 1 :]


def _cut(text: bytes, random: Random) -> list[bytes]:
    cuts = sorted({0, len(text), *(random.randrange(len(text) + 1) for _ in range(5))})
    return [text[begin:end] for begin, end in pairwise(cuts)]


def _frame(random: Random) -> bytes:
    """Of HTTP/2: the length of its payload, type, flags, stream; now and then one of them wrong."""
    payload = random.choice((b"", random.randbytes(5), random.randbytes(40), b"\x82\x86\x84\x41\x09localhost"))
    length = len(payload) if random.random() < 0.9 else random.randrange(1 << 24)
    stream = random.choice((0, 1, 1, 3, 5, 2, 1 << 31))
    kind, flags = random.randrange(11), random.choice((0, 1, 4, 5, 0xFF))
    return length.to_bytes(3, "big") + bytes([kind, flags]) + (stream & 0xFFFFFFFF).to_bytes(4, "big") + payload


def _websocket_frame(random: Random) -> bytes:
    payload = random.randbytes(random.choice((0, 5, 125)))
    head = bytes([random.choice((0x81, 0x82, 0x88, 0x89, 0x8A, 0x01, 0xFF)), random.choice((0, 0x80)) | len(payload)])
    return head + random.randbytes(4) + payload
