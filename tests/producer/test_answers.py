"""Requests that wait for workers: one look for all, bounded in number and in time."""

from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

import pytest
import trio
import trio.testing

from workqueue.core.errors import QueueUnavailable
from workqueue.services.producer import answers
from workqueue.services.producer.answers import WAITING_MAX, Answers, TooManyAsk


class Redis:
    """Mutable state: the answers that are there, and what was asked for."""

    def __init__(self) -> None:
        self.there: dict[UUID, bytes] = {}
        self.looks: list[int] = []
        self.is_away = False

    async def look(self, requests: Sequence[UUID]) -> dict[UUID, bytes]:
        await trio.lowlevel.checkpoint()
        self.looks.append(len(requests))
        if self.is_away:
            raise QueueUnavailable("away")
        return {request: text for request, text in self.there.items() if request in requests}


async def say_nothing(request: UUID) -> None:
    await trio.lowlevel.checkpoint()


def answer_after(redis: Redis, seconds: float) -> Callable[[UUID], Awaitable[None]]:
    async def send(request: UUID) -> None:
        await trio.sleep(seconds)
        redis.there[request] = str(request).encode()

    return send


async def test_all_that_wait_are_asked_for_together_and_none_while_none_waits(autojump_clock, nursery):
    redis = Redis()
    waiting = Answers(redis.look)
    nursery.start_soon(waiting.run)
    await trio.sleep(10)
    assert redis.looks == []
    got: list[bytes | None] = []

    async def ask() -> None:
        got.append(await waiting.ask(answer_after(redis, 0), seconds=3))

    async with trio.open_nursery() as asking:
        for _ in range(WAITING_MAX):
            asking.start_soon(ask)
    assert redis.looks == [WAITING_MAX]
    assert len(set(got)) == WAITING_MAX
    assert len(waiting) == 0
    await trio.sleep(10)
    assert redis.looks == [WAITING_MAX]


async def test_no_answer_is_none_and_no_request_is_left(autojump_clock, nursery):
    waiting = Answers(Redis().look)
    nursery.start_soon(waiting.run)
    began = trio.current_time()
    assert await waiting.ask(say_nothing, seconds=3) is None
    assert trio.current_time() - began == pytest.approx(3)
    assert len(waiting) == 0


async def test_one_more_than_allowed_is_refused_before_it_asks(autojump_clock, nursery):
    redis = Redis()
    waiting = Answers(redis.look)
    nursery.start_soon(waiting.run)
    for _ in range(WAITING_MAX):
        nursery.start_soon(lambda: waiting.ask(say_nothing, seconds=3))
    await trio.testing.wait_all_tasks_blocked()

    async def send(request: UUID) -> None:
        raise AssertionError("asked")

    with pytest.raises(TooManyAsk):
        await waiting.ask(send, seconds=3)
    await trio.sleep(4)
    assert await waiting.ask(answer_after(redis, 0), seconds=3)


async def test_an_outage_is_waited_out(autojump_clock, nursery):
    redis = Redis()
    redis.is_away = True
    waiting = Answers(redis.look)
    nursery.start_soon(waiting.run)

    async def come_back() -> None:
        await trio.sleep(answers.AWAY_SECONDS)
        redis.is_away = False

    nursery.start_soon(come_back)
    assert await waiting.ask(answer_after(redis, 0), seconds=3) is not None


async def test_what_the_question_meets_is_raised(nursery):
    waiting = Answers(Redis().look)

    async def send(request: UUID) -> None:
        raise QueueUnavailable("away")

    with pytest.raises(QueueUnavailable):
        await waiting.ask(send, seconds=3)
    assert len(waiting) == 0
