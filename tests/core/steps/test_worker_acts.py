"""A worker is asked by a key and a message; without the message it hears of it with its next renewal."""

import logging

import trio

from workqueue.core.control import ControlMessage, Wish, read_message
from workqueue.core.errors import QueueUnavailable
from workqueue.core.steps.worker_acts import ask_worker


async def test_what_was_asked_last_stands_in_a_key_and_is_sent(queue, lease, redis, nursery):
    heard: list[ControlMessage] = []

    async def listen() -> None:
        async with queue.listen() as receive:
            while True:
                if (text := await receive()) is not None:
                    heard.append(read_message(text))

    nursery.start_soon(listen)
    while not heard:
        await ask_worker(queue, lease.id, Wish.QUIET)
        await trio.sleep(0.05)
    assert heard[0] == ControlMessage(workers=[(lease.id, "quiet")])
    await ask_worker(queue, lease.id, Wish.RESUME)
    assert await queue.asked([lease.id]) == {lease.id: "resume"}
    assert 0 < await redis("PTTL", queue.keys.asked(lease.id)) <= 3_600_000
    assert await queue.asked([]) == {}


async def test_a_message_that_is_refused_is_no_failure(queue, lease, monkeypatch, caplog):
    async def refuse(message: bytes) -> None:
        raise QueueUnavailable("no channel for you")

    monkeypatch.setattr(queue, "tell_workers", refuse)
    with caplog.at_level(logging.INFO):
        await ask_worker(queue, lease.id, Wish.STOP)
    assert await queue.asked([lease.id]) == {lease.id: "stop"}
    assert "no channel for you" in caplog.text
