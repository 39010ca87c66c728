"""Members and fields that another program wrote into our keys."""

from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workqueue.core.queue import Keys, LeaseConnection
from workqueue.core.queue.odd import Odd, parse_checkpoint, read_lease, read_number


@given(st.binary())
def test_whatever_stands_there_is_read_as_we_write_it_or_not_at_all(text):
    for read in (read_lease, read_number, parse_checkpoint):
        value = read(text)
        assert value is None or str(value).encode() == text


@given(st.integers(-(2**31), 2**53), st.integers(1, 10**18 - 1), st.uuids())
def test_what_we_write_is_read(checkpoint, number, lease):
    assert parse_checkpoint(str(checkpoint).encode()) == checkpoint
    assert read_number(str(number).encode()) == number
    assert read_lease(str(lease).encode()) == lease


def test_each_key_is_named_once(caplog):
    odd = Odd()
    for _ in range(3):
        assert odd.split("k", [b"1", b"\xff" * 1000, b"x"], read_number) == ([1], [b"\xff" * 1000, b"x"])
    [record] = caplog.records
    assert record.getMessage().startswith("the key k holds a member that WorkQueue did not write, and skips: b'\\xff")
    assert len(record.getMessage()) < 400


MARKS = [
    b"hello", b"", b"\xff", b"9" * 400, b"1.5", b" 12 ", b"1_0", b"-9223372036854775809", b"nan", b"1" * 1_000_000,
    b"0x10", b"007", "\u0661".encode(),
]  # fmt: skip


@pytest.mark.parametrize("checkpoint", MARKS, ids=lambda checkpoint: repr(checkpoint[:12]))
async def test_a_checkpoint_that_is_none_is_told_apart_and_can_be_replaced(redis, queue, checkpoint):
    await redis("SET", queue.keys.checkpoint, checkpoint)
    run, seen = await queue.read_checkpoint()
    assert (bool(run), seen) == (True, checkpoint)
    assert not await queue.set_checkpoint(5, 7)
    assert await queue.set_checkpoint(seen, 7)
    assert (await queue.read_checkpoint())[1] == 7


@pytest.mark.parametrize("score", ["inf", "1.5", "5", "1e300"])
async def test_a_lease_with_an_odd_score_can_be_fenced(redis, queue, redis_url, score):
    lease = uuid4()
    await redis("ZADD", queue.keys.leases, score, str(lease))
    scores = await queue.lease_scores()
    assert await queue.fence(lease, scores[lease])
    assert await queue.lease_scores() == {lease: 0}


@pytest.mark.parametrize("at", ["hello", "inf", "nan", "-inf", "1e300", "", "\0", "9" * 400])
async def test_a_flight_whose_start_is_no_number_holds_up_no_claim(redis, queue, redis_url, at):
    lease = uuid4()
    connection = LeaseConnection(redis_url, Keys(queue.name), seconds=3)
    connection.register(lease, b"{}")
    connection.close()
    await redis("HSET", queue.keys.flight(lease), "at", at)
    await queue.push([b"1", b"2"])
    assert await queue.claim(lease, start=1, count=2) == {1: b"1", 2: b"2"}
    assert await queue.claim(lease, start=1, count=2) == {1: b"1", 2: b"2"}


async def test_a_key_whose_name_is_no_text_is_counted_and_removed_with_the_queue(redis, queue):
    await redis("SET", f"{{{queue.name}}}:".encode() + b"\xff", "x")
    await queue.push([b"x"])
    assert len(await queue.key_names()) == 2
    await queue.remove()
    assert await queue.key_names() == set()
