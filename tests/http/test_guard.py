"""What every request passes: bodies that no route reads, early responses, connections that live on, bugs."""

import contextlib
import logging

import pytest
import trio

from tests.producer.serving import connect, post, serving
from workqueue.core.settings import Settings
from workqueue.services.http.guard import Guard
from workqueue.services.http.messages import Message, Receive, Scope, Send

MIB = 1 << 20


@pytest.mark.parametrize(
    ("status", "request_"),
    [
        (404, post(b"x" * MIB, "/nope")),
        (405, post(b"x" * MIB, "/enqueue", method="PUT")),
        (405, post(b"x" * MIB, "/health")),
        (413, post(b"x" * (3 * MIB))),
        (400, post(b"x" * (MIB // 2))),
        (413, b"POST /enqueue HTTP/1.1\r\nHost: [::1]\r\nTransfer-Encoding: chunked\r\n\r\n" + b"40000\r\n"
         + b"x" * 0x40000 + b"\r\n" + (b"100000\r\n" + b"x" * MIB + b"\r\n") * 2 + b"0\r\n\r\n"),
    ],
)  # fmt: skip
async def test_the_next_request_of_a_connection_is_answered(redis_only, status, request_):
    # Hypercorn stalls there when an answer leaves before the body was read.
    async with await connect(redis_only) as connection:
        await connection.send(request_)
        assert (await connection.answer()).status == status
        assert (await connection.get()).body == b"ok"


async def test_a_body_without_end_is_answered_and_the_connection_closed(redis_only):
    async with await connect(redis_only) as connection:
        await connection.send(
            b"POST /enqueue HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 999999999\r\n\r\n" + b"x" * MIB
        )
        answer = await connection.answer()
        assert (answer.status, answer.body) == (413, b"body too large")
        assert answer.headers["connection"] == "close"
        assert await connection.is_closed()


async def test_a_client_that_sends_for_ever_gets_its_answer(redis_only):
    async with await connect(redis_only) as connection, trio.open_nursery() as nursery:

        async def send() -> None:
            try:
                await connection.send(b"POST /enqueue HTTP/1.1\r\nHost: [::1]\r\nTransfer-Encoding: chunked\r\n\r\n")
                while True:
                    await connection.send(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            except trio.BrokenResourceError:
                pass

        nursery.start_soon(send)
        assert (await connection.answer(10)).status == 413
        assert await connection.is_closed()
        nursery.cancel_scope.cancel()


async def test_an_early_answer_ends_though_the_queue_of_its_request_is_full(monkeypatch):
    """Hypercorn tells us that the stream is closed through that queue, inside of our last `send`."""
    monkeypatch.setattr("workqueue.services.http.guard.LINGER_SECONDS", 0.05)
    put, receive = trio.open_memory_channel[Message](1)
    sent = []

    async def send(message: Message) -> None:
        sent.append(message)
        if not message.get("more_body", True):
            with contextlib.suppress(trio.WouldBlock):  # the client has filled the queue again
                put.send_nowait({"type": "http.request", "body": b"xx", "more_body": True})
            await put.send({"type": "http.disconnect"})

    async def upload() -> None:
        while True:
            await put.send({"type": "http.request", "body": b"xx", "more_body": True})

    async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError

    scope = {"type": "http", "method": "POST", "path": "/", "http_version": "1.1", "headers": []}
    monkeypatch.setattr("workqueue.services.http.body.DRAIN_BYTES_MAX", 10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(upload)
        with trio.fail_after(30):
            await Guard(nothing, Settings(max_body_bytes=1))(scope, receive.receive, send)
        nursery.cancel_scope.cancel()
    assert [message.get("status") for message in sent] == [413, None, None]


async def test_an_idle_connection_is_closed_after_an_answer(redis_only):
    # Quart-Trio used to cancel Hypercorn's idle timer (5 s): such connections stayed for ever.
    async with await connect(redis_only) as connection:
        assert (await connection.get()).status == 200
        assert await connection.is_closed(seconds=30)


async def test_a_shutdown_does_not_wait_for_idle_connections(redis_url, queue_name):
    async with serving({"REDIS_URL": redis_url, "QUEUE_NAME": queue_name}, grace_seconds=60) as client:
        async with await connect(client) as connection:
            assert (await connection.get()).status == 200
        connection = await connect(client)
        assert (await connection.get()).status == 200
        began = trio.current_time()
    assert trio.current_time() - began < 30, "the grace is 60 s"
    await connection.stream.aclose()


async def test_a_client_that_hangs_up_in_its_body_leaves_no_trace(redis_only, tasks, caplog):
    async with await connect(redis_only) as connection:
        await connection.send(b'POST /enqueue HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 50\r\n\r\n{"type":')
    assert (await redis_only.get("/health")).text == "ok"
    assert await tasks() == []
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_an_upgrade_to_a_websocket_is_not_taken_up(redis_only):
    async with await connect(redis_only) as connection:
        await connection.send(
            b"GET /api/jobs HTTP/1.1\r\nHost: [::1]\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        answer = await connection.answer()
        assert (answer.status, answer.body) == (200, b"[]")


async def test_a_bug_is_one_answer_and_one_traceback(redis_only, monkeypatch, caplog):
    async def broken(self: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("workqueue.core.queue.Queue.workers", broken)
    answer = await redis_only.get("/api/workers")
    assert (answer.status_code, answer.text) == (500, "internal error")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert caplog.text.count("Traceback") == 1
    assert (await redis_only.get("/health")).status_code == 200
