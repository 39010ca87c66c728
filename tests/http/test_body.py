"""How bodies are read: whole within the budget, while they arrive, or dropped."""

from collections.abc import Sequence

import pytest
import trio

from tests.producer.serving import connect
from workqueue.services.http import body as module
from workqueue.services.http.body import Body, BodyTooLarge, BufferedBody, ClientGone, NoRoom, drain
from workqueue.services.http.connections import SMALL_BYTES, Budget
from workqueue.services.http.messages import Message, Receive

GONE: Message = {"type": "http.disconnect"}


def arriving(pieces: Sequence[bytes | Message]) -> Receive:
    """These pieces, the last one of which ends the body; then nothing comes any more."""
    messages = [
        piece if isinstance(piece, dict) else {"body": piece, "more_body": at < len(pieces) - 1}
        for at, piece in enumerate(pieces)
    ]

    async def receive() -> Message:
        if not messages:
            await trio.sleep_forever()
        return {"type": "http.request", **messages.pop(0)}

    return receive


def scope(*lengths: bytes) -> dict[str, object]:
    return {"headers": [(b"content-length", length) for length in lengths]}


async def test_a_buffered_body_counts_until_it_is_released():
    budget = Budget(1000)
    buffered = BufferedBody(budget)
    assert await buffered.read(scope(), arriving([b"ab", b"", b"c"]), 10) == b"abc"
    assert budget.bytes == 3
    buffered.release()
    buffered.release()
    assert budget.bytes == 0


@pytest.mark.parametrize(
    ("headers", "pieces", "read_to_its_end"),
    [
        (scope(b"11"), [b"x" * 11], True),
        (scope(b"99999999999999999999999"), [b"x"], False),
        (scope(), [b"x" * 11], True),
        (scope(), [b"x" * 11, b"y" * 30], True),
        (scope(), [b"x" * 11, b"y" * 60, b"z" * 60, b""], False),
    ],
)
async def test_a_body_that_is_too_large_is_read_to_its_end_where_that_is_near(
    monkeypatch, headers, pieces, read_to_its_end
):
    monkeypatch.setattr(module, "DRAIN_BYTES_MAX", 100)
    with pytest.raises(BodyTooLarge) as caught:
        await BufferedBody(Budget(1000)).read(headers, arriving(pieces), 10)
    assert caught.value.read_to_its_end == read_to_its_end


async def test_a_large_body_finds_no_room_and_a_small_one_does():
    budget = Budget(SMALL_BYTES)
    budget.bytes = SMALL_BYTES  # of other clients
    small, large = BufferedBody(budget), BufferedBody(budget)
    assert await small.read(scope(), arriving([b"x"]), 1 << 20) == b"x"
    with pytest.raises(NoRoom):
        await large.read(scope(), arriving([b"x" * (SMALL_BYTES + 1)]), 1 << 20)
    large.release()
    small.release()
    assert budget.bytes == SMALL_BYTES


async def test_a_client_that_goes_away_in_its_body_is_told_from_one_that_is_slow(autojump_clock):
    with pytest.raises(ClientGone):
        await BufferedBody(Budget(1000)).read(scope(), arriving([{"body": b"x", "more_body": True}, GONE]), 10)
    unfinished = [{"body": b"x", "more_body": True}]
    with pytest.raises(trio.TooSlowError):
        await BufferedBody(Budget(1000)).read(scope(), arriving(unfinished), 10)
    assert trio.current_time() == pytest.approx(module.BODY_SECONDS)


async def test_a_stream_is_read_piece_by_piece_and_its_end_lasts():
    body = Body(arriving([b"a", b"", b"b"]))
    assert [await body.read() for _ in range(4)] == [b"a", b"b", b"", b""]
    assert body.ended


async def test_a_stream_earns_time_by_its_bytes_and_our_own_work_costs_it_none(autojump_clock):
    pieces: list[Message] = [{"body": bytes(module.STREAM_BYTES_PER_SECOND * 10), "more_body": True}]
    body = Body(arriving(pieces))
    await body.read()
    await trio.sleep(1000)  # we work
    began = trio.current_time()
    with pytest.raises(trio.TooSlowError):
        await body.read()
    assert trio.current_time() - began == pytest.approx(module.BODY_SECONDS + 10)


async def test_a_slow_stream_can_be_given_up(autojump_clock):
    body = Body(arriving([{"body": b"x", "more_body": True}]))
    await body.read()
    assert body.slow_seconds == 0
    body.give_up()  # nothing is waited for: no effect
    began = trio.current_time()

    async def give_up() -> None:
        await trio.sleep(7)
        assert body.slow_seconds == pytest.approx(7, abs=0.1)
        body.give_up()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(give_up)
        with pytest.raises(trio.TooSlowError):
            await body.read()
    assert trio.current_time() - began == pytest.approx(7, abs=0.1)


async def test_draining_ends_by_bytes_by_time_and_with_the_client(autojump_clock):
    assert await drain(arriving([b"x" * 50, b"x" * 50]), 100)
    assert not await drain(arriving([b"x" * 50, b"x" * 51, b"", b""]), 100)
    assert await drain(arriving([{"body": b"x", "more_body": True}, GONE]), 100)
    began = trio.current_time()
    assert not await drain(arriving([{"body": b"x", "more_body": True}]), 100)
    assert trio.current_time() - began == pytest.approx(module.DRAIN_SECONDS)


async def test_a_body_that_does_not_come_is_given_up(redis_only, monkeypatch):
    monkeypatch.setattr(module, "BODY_SECONDS", 0.2)
    async with await connect(redis_only) as connection:
        await connection.send(b"POST /enqueue HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 10\r\n\r\nxx")
        assert (await connection.answer()).status == 408
        assert await connection.is_closed()
