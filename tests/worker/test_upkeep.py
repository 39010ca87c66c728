"""A loop beside the jobs: outages, bugs, and work that is left over."""

import pytest
import trio
from trio.testing import MockClock

from workqueue.core.errors import QueueUnavailable
from workqueue.services.worker.heartbeats import Heartbeats
from workqueue.services.worker.upkeep import repeat


async def test_a_loop_waits_out_an_outage_and_a_bug_ends_it(autojump_clock: MockClock):
    calls = 0
    called_at: list[float] = []

    async def run_once() -> bool:
        nonlocal calls
        calls += 1
        called_at.append(trio.current_time())
        if calls < 3:
            raise QueueUnavailable("away")
        if calls < 6:
            return True  # there is more to do
        raise ZeroDivisionError

    heartbeats = Heartbeats(trio.current_time)
    with pytest.raises(ZeroDivisionError):
        await repeat(run_once, every_seconds=60, name="mine", heartbeats=heartbeats)
    assert calls == 6
    assert called_at[5] - called_at[2] < 1, "a full piece is repeated at once"
    await trio.sleep(1000)
    assert heartbeats.overdue(0) == {}, "what has ended is not waited for"
