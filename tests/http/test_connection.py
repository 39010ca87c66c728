"""A client can harm its own connection alone: what was seen to end a service or to leave something behind, and more."""

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import httpx
import pytest
import trio
import trio.testing
from hypercorn.config import Config
from hypercorn.trio import serve
from quart import Response
from quart_trio import QuartTrio

from tests.producer.serving import connect, post
from tests.support.wait import until_true
from workqueue.core.settings import Settings
from workqueue.services.http import connection, connections
from workqueue.services.http.connection import EXTENSION
from workqueue.services.http.connections import Connections
from workqueue.services.http.guard import wrap

WEBSOCKET = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: bKdPyn3u98cTfZJSh4TNeQ==\r\n\r\n"
)
H2C = (
    b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: %b\r\n\r\n"
)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\0\0\0\4\0\0\0\0\0"
MIB = 1 << 20


class Served:
    """An app on a real Hypercorn, with what its connections share."""

    def __init__(self, client: httpx.AsyncClient, connections: Connections) -> None:
        self.client, self.connections = client, connections


@asynccontextmanager
async def serving(
    settings: Settings | None = None, *, connections: int = 1000, grace: float = 3.0, idle_seconds: float = 5.0
) -> AsyncIterator[Served]:
    app = QuartTrio(__name__)

    @app.get("/health")
    async def health() -> Response:
        return Response("ok")

    @app.get("/large")
    async def large() -> Response:
        return Response(bytes(32 * MIB))

    @app.post("/enqueue")
    async def enqueue() -> Response:
        return Response("ok")

    @app.get("/quick")
    async def quick() -> Response:
        await trio.sleep(0.05)
        return Response("ok")

    @app.get("/slow")
    async def slow() -> Response:
        await trio.sleep(60)
        return Response("late")

    wrap(app, settings or Settings(), connections=connections)
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.accesslog = config.errorlog = None
    config.graceful_timeout = grace
    config.keep_alive_timeout = idle_seconds
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        binds = await nursery.start(partial(serve, app, config, shutdown_trigger=stop.wait))
        async with httpx.AsyncClient(base_url=binds[0], timeout=10, trust_env=False) as client:
            yield Served(client, app.extensions[EXTENSION])
        stop.set()


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as served:
        yield served


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


ATTACKS = {
    "a byte behind the handshake of a WebSocket": WEBSOCKET + b"x",
    "frames behind it": WEBSOCKET + b"\x81\x85\0\0\0\0hello\xff\xff\xff\xff" * 20,
    "an upgrade to HTTP/2 with wrong settings": H2C % b"AAM",
    "the same with right ones": H2C % b"AAMAAABkAAQAAP__" + PREFACE + SETTINGS,
    "HTTP/2": PREFACE + SETTINGS,
    "HTTP/2 with a path that is no ASCII": PREFACE + SETTINGS + b"\0\0\x06\1\5\0\0\0\1\x04\x04\xc3\xa9xx",
    "CONNECT in HTTP/2 without a path": PREFACE + SETTINGS + b"\0\0\x09\1\5\0\0\0\1\x02\x07CONNECT",
    "1,200 frames of priority": PREFACE + SETTINGS + b"\0\0\5\2\0\0\0\0\3\0\0\0\0\x10" * 1200,
    "CONNECT": b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n",
    "no path": b"GET ?x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a star": b"GET * HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "two lengths": b"POST /enqueue HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "chunks in HTTP/1.0": b"POST /enqueue HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a chunk that is too long": b"POST /enqueue HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"f" * 40 + b"\r\n",
    "a header of 1 MiB": b"GET /health HTTP/1.1\r\nX: " + b"x" * MIB,
    "TLS": b"\x16\x03\x01\x02\0\1\0\1\xfc\x03\x03" + bytes(500),
    "garbage": bytes(range(256)) * 100,
    "a version of its own": b"GET /health HTTP/9.9\r\nHost: localhost\r\n\r\n",
    "HTTP/0.9": b"GET /health\r\n\r\n",
    "two hosts": b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n",
    "a body that is too large, and more": post(bytes(MIB + 1)) + bytes(100_000),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
async def test_whatever_a_client_sends_ends_its_own_connection_at_most(served, attack, caplog):
    beside = await connect(served.client)
    assert (await beside.get()).body == b"ok"
    for _ in range(3):
        async with await connect(served.client) as attacker:
            try:
                await attacker.send(attack)
                await attacker.stream.send_eof()
            except trio.BrokenResourceError:
                pass  # it has heard enough
            assert await attacker.is_closed()
    assert (await beside.get()).body == b"ok"
    await beside.stream.aclose()
    await until_true(lambda: len(served.connections) == 0)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize(
    ("name", "status"),
    [("no path", 400), ("a star", 400), ("CONNECT", 400), ("two lengths", 400), ("chunks in HTTP/1.0", 400),
     ("HTTP/2", 505), ("a version of its own", 505), ("garbage", 400), ("a header of 1 MiB", 431), ("two hosts", 400)],
)  # fmt: skip
async def test_what_is_not_understood_is_said_and_the_connection_closed(served, name, status):
    async with await connect(served.client) as attacker:
        await attacker.send(ATTACKS[name][:100_000])
        answer = await attacker.answer()
        assert (answer.status, answer.headers["connection"]) == (status, "close")
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.body
        assert await attacker.is_closed()


@pytest.mark.parametrize("upgrade", [WEBSOCKET, H2C % b"AAMAAABkAAQAAP__"])
async def test_an_upgrade_is_not_taken_up(served, upgrade):
    async with await connect(served.client) as client:
        await client.send(upgrade.replace(b"GET / ", b"GET /health "))
        assert (await client.answer()).body == b"ok"
        assert (await client.get()).body == b"ok"  # it is still HTTP/1.1


async def test_an_absolute_target_is_that_path_of_that_host(served):
    async with await connect(served.client) as client:
        await client.send(b"GET http://localhost:1/health?x HTTP/1.1\r\nHost: other\r\n\r\n")
        assert (await client.answer()).body == b"ok"
        await client.send(b"GET HTTP://evil.example HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await client.answer()).status == 421


async def test_an_error_of_a_connection_is_one_line_a_while(served, monkeypatch, caplog):
    async def broken(self: object, event: object) -> None:
        raise ZeroDivisionError("a bug")

    beside = await connect(served.client)
    assert (await beside.get()).body == b"ok"
    monkeypatch.setattr(connection.Http1, "_create_stream", broken)
    for _ in range(50):
        async with await connect(served.client) as client:
            await client.send(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert await client.is_closed()
    monkeypatch.undo()
    assert (await beside.get()).body == b"ok"
    await beside.stream.aclose()
    [line] = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert line == "a connection was ended by ZeroDivisionError: a bug"


# --- nothing is left behind


async def test_pipelined_requests_whose_client_has_gone_leave_nothing(served):
    before = descriptors()
    for _ in range(20):
        async with await connect(served.client) as client:
            await client.send(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)
    await until_true(lambda: len(served.connections) == 0 and served.connections.budget.bytes == 0)
    assert descriptors() <= before


async def test_a_client_that_does_not_read_is_given_up(served, monkeypatch):
    monkeypatch.setattr(connection, "SEND_SECONDS", 0.5)
    clients = [await connect(served.client) for _ in range(5)]
    for client in clients:
        await client.send(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await until_true(lambda: len(served.connections) == 5)
    await until_true(lambda: len(served.connections) == 0 and served.connections.budget.bytes == 0)
    for client in clients:
        await client.stream.aclose()


async def test_answers_that_no_one_reads_are_bounded_and_give_way_to_others(served, monkeypatch):
    served.connections.budget._max = 64 * MIB
    monkeypatch.setattr(connections, "STALLED_SECONDS", 0.2)
    clients = [await connect(served.client) for _ in range(12)]
    seen = []
    for client in clients:
        await client.send(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        seen.append(served.connections.budget.bytes)
    await until_true(lambda: len(served.connections) <= 4)
    assert max(seen) <= 64 * MIB
    answer = await served.client.get("/large")
    assert answer.status_code == 503 or len(answer.content) == 32 * MIB
    for client in clients:
        await client.stream.aclose()


async def test_an_answer_without_room_is_refused_and_the_next_one_may_be_given(served):
    served.connections.budget.bytes += served.connections.budget._max
    answer = await served.client.get("/large")
    assert (answer.status_code, answer.text) == (503, "too much is being sent at once")
    assert answer.headers["retry-after"] == "1"
    served.connections.budget.bytes -= served.connections.budget._max
    assert len((await served.client.get("/large")).content) == 32 * MIB


async def test_a_body_without_room_is_refused(served):
    served.connections.budget.bytes += served.connections.budget._max
    answer = await served.client.post("/enqueue", content=b"x" * 100_000)
    assert (answer.status_code, answer.text) == (503, "too much is being sent at once")
    served.connections.budget.bytes -= served.connections.budget._max
    assert (await served.client.post("/enqueue", content=b"x" * 100_000)).text == "ok"
    await until_true(lambda: served.connections.budget.bytes == 0)


async def test_bodies_that_fill_all_the_room_keep_no_one_from_a_small_request(served):
    of_all = served.connections
    of_all.budget._max = 2 * MIB
    clients = [await connect(served.client) for _ in range(3)]
    for client in clients[:2]:
        await client.send(post(bytes(MIB))[:-1])
    await until_true(lambda: of_all.budget.bytes > 2 * MIB - 3)
    await clients[2].send(post(bytes(MIB))[:200])  # the last bytes of the room
    await until_true(lambda: of_all.budget.bytes >= 2 * MIB)
    assert (await served.client.get("/health")).text == "ok"
    assert (await served.client.post("/enqueue", content=b"x" * 1000)).text == "ok"
    for client in clients:
        await client.stream.aclose()
    await until_true(lambda: of_all.budget.bytes == 0)


async def test_a_client_that_has_closed_its_half_is_answered(served):
    for request in (b"GET /quick HTTP/1.1\r\nHost: localhost\r\n\r\n", post(b"x"), post(b"x") * 3):
        async with await connect(served.client) as client:
            await client.send(request)
            await client.stream.send_eof()
            for _ in range(request.count(b" HTTP/1.1")):
                assert (await client.answer()).body == b"ok"
            assert await client.is_closed()


@pytest.mark.parametrize(
    "drip", [b"GET /health HTTP/1.1\r\nX: ", b"", b"\r\n", b"POST /enqueue HTTP/1.1\r\nHost: localhost\r\nContent-"]
)
async def test_a_head_that_drips_is_given_up(drip):
    async with (
        serving(idle_seconds=1.0) as served,
        await connect(served.client) as client,
        trio.open_nursery() as nursery,
    ):

        async def send() -> None:
            try:
                await client.send(drip)
                while True:
                    await client.send(b"x" if drip else b"")
                    await trio.sleep(0.2)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass

        nursery.start_soon(send)
        assert await client.is_closed(seconds=30)
        nursery.cancel_scope.cancel()


async def test_a_request_whose_client_has_gone_ends(served):
    async with await connect(served.client) as client:
        await client.send(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await until_true(lambda: len(served.connections) == 1)
    await until_true(lambda: len(served.connections) == 0)


# --- at the limit


async def test_at_the_limit_an_idle_connection_goes(monkeypatch):
    async with serving(connections=3) as served:
        idle = [await connect(served.client) for _ in range(3)]
        for client in idle:
            assert (await client.get()).body == b"ok"
        async with await connect(served.client) as client:
            assert (await client.get()).body == b"ok"
        assert await idle[0].is_closed()
        assert (await idle[2].get()).body == b"ok"
        for client in idle:
            await client.stream.aclose()


async def test_at_the_limit_a_new_one_is_told_so(caplog):
    async with serving(connections=3, grace=0.2) as served:
        busy = [await connect(served.client) for _ in range(3)]
        for client in busy:
            await client.send(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await until_true(lambda: len(served.connections) == 3)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(20):
            async with await connect(served.client) as client:
                answer = await client.answer()
                assert (answer.status, answer.body) == (503, b"too many connections")
                assert answer.headers["retry-after"] == "1"
                assert await client.is_closed()
        assert len(served.connections) == 3
        for client in busy:
            await client.stream.aclose()
    lines = [record.getMessage() for record in caplog.records if "which is the limit" in record.getMessage()]
    assert lines == ["3 clients are connected, which is the limit: others are refused"]


async def test_an_accept_without_descriptors_is_told_once(served, caplog):
    """What Trio says of it ten times a second, with a traceback each."""
    for _ in range(30):
        try:
            raise OSError(24, "Too many open files")
        except OSError:
            logging.getLogger("trio.serve_listeners").exception("accept returned EMFILE")
    [line] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert line.getMessage().startswith("no more connections are accepted until others have ended: [Errno 24]")
    assert line.exc_info is None


# --- a stop


async def test_a_stop_is_bounded_though_a_client_does_not_read():
    async with serving(grace=0.5) as served:
        stalled = await connect(served.client)
        await stalled.send(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await until_true(lambda: served.connections.budget.bytes > 0)
        drips = await connect(served.client)
        await drips.send(b"POST /enqueue HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nx")
        idle = await connect(served.client)
        assert (await idle.get()).body == b"ok"
        began = trio.current_time()
    assert trio.current_time() - began < 20
    for client in (stalled, drips, idle):
        await client.stream.aclose()


async def test_hypercorn_serves_its_connections_here(served):
    """It looks its TCPServer up by name when it begins to serve: where a newer one does not, this tells."""
    async with await connect(served.client) as client:
        assert (await client.get()).body == b"ok"
        assert len(served.connections) == 1
