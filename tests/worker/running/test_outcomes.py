"""Outcomes between the consumers and the store: they gather, and hold consumers up when there are too many."""

from collections.abc import Sequence

import trio
from trio.testing import wait_all_tasks_blocked

from tests.worker.claimed import claimed_task
from workqueue.core.job import Artifact
from workqueue.core.outcome import Complete
from workqueue.core.steps.settle import Ending, Settle
from workqueue.services.worker.heartbeats import Heartbeats
from workqueue.services.worker.running.outcomes import BATCH_MAX, WAITING_BYTES_MAX, WAITING_MAX, Outcomes


class SlowSettle(Settle):
    """Holds each batch until it may go on."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.go_on = trio.Event()

    async def run_batch(self, batch: Sequence[Ending]) -> None:
        self.batches.append(len(batch))
        await self.go_on.wait()


async def test_outcomes_gather_while_a_batch_is_settled_and_hold_consumers_up_when_full():
    settle = SlowSettle()
    outcomes = Outcomes(settle, Heartbeats())
    async with trio.open_nursery() as nursery:
        await nursery.start(outcomes.run)
        for number in range(WAITING_MAX + 501):
            outcomes.put(Ending(claimed_task(number), Complete(b"1"), 0.1))
            if number == 0:
                await wait_all_tasks_blocked()
        assert settle.batches == [1]
        assert outcomes.full
        has_room = False

        async def wait() -> None:
            nonlocal has_room
            await outcomes.wait_for_room()
            has_room = True

        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        assert not has_room, "a consumer takes its next job only when there is room"
        settle.go_on.set()
        with trio.fail_after(30):
            await outcomes.wait_empty()
        assert has_room
        assert sum(settle.batches) == WAITING_MAX + 501
        assert max(settle.batches) == BATCH_MAX
        nursery.cancel_scope.cancel()


async def test_large_outcomes_hold_consumers_up_long_before_there_are_many():
    """A worker that waits out an outage with results of a MiB each must not grow by gigabytes."""
    settle = SlowSettle()
    outcomes = Outcomes(settle, Heartbeats())
    mebibyte = Complete(b"1", [Artifact("a", "text/plain", b"x" * 2**20)])
    count = 0
    while not outcomes.full:
        outcomes.put(Ending(claimed_task(count), mebibyte, 0.1))
        count += 1
        assert count < WAITING_MAX
    assert count == WAITING_BYTES_MAX // 2**20
    settle.go_on.set()
    async with trio.open_nursery() as nursery:
        await nursery.start(outcomes.run)
        with trio.fail_after(30):
            await outcomes.wait_empty()
        nursery.cancel_scope.cancel()
    assert not outcomes.full, "what has gone counts no longer"
    assert max(settle.batches) < 4, "and a statement carries 4 MiB"
