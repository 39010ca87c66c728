"""Claimed jobs that have not started yet."""

import trio
from trio.testing import wait_all_tasks_blocked

from tests.worker.claimed import claimed_task
from workqueue.services.worker.running.buffer import Buffer


async def test_a_buffer_is_first_in_first_out_and_wakes_who_waits():
    buffer, taken = Buffer(), []

    async def consume() -> None:
        while (item := await buffer.take()) is not None:
            taken.append(item.number)

    async with trio.open_nursery() as consumers:
        for _ in range(5):
            consumers.start_soon(consume)
        await wait_all_tasks_blocked()
        assert buffer.idle == 5
        buffer.extend([claimed_task(number) for number in range(20)])
        await wait_all_tasks_blocked()
        assert sorted(taken) == list(range(20))
        assert buffer.idle == 5
        buffer.close()
    assert len(buffer) == 0


async def test_a_drained_buffer_gives_back_everything_in_order():
    buffer = Buffer()
    buffer.extend([claimed_task(number) for number in range(3)])
    assert buffer.waiting_since() is not None
    assert [item.number for item in buffer.drain()] == [0, 1, 2]
    assert buffer.waiting_since() is None
