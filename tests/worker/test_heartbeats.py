"""A loop is watched under the very heartbeat that its steps give, whatever it is called."""

from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock

from workqueue.core.errors import QueueUnavailable
from workqueue.core.steps.heartbeat import beat
from workqueue.core.steps.until_answered import UntilAnswered
from workqueue.services.worker.heartbeats import Heartbeats
from workqueue.services.worker.upkeep import repeat

LIMIT = 30.0  #: seconds; STALL_LIMIT's default


async def test_a_step_beats_for_the_loop_that_runs_it_and_for_no_other(nursery, autojump_clock: MockClock):
    heartbeats = Heartbeats(trio.current_time)

    async def waits_out_an_outage() -> None:
        async def trip() -> None:
            raise QueueUnavailable("away")

        await UntilAnswered()(trip)

    for name, run_once in {"waits": waits_out_an_outage, "hangs": trio.sleep_forever, "quick": _quick}.items():
        await nursery.start(lambda task_status, name=name, run_once=run_once: repeat(
            run_once, every_seconds=1, name=name, heartbeats=heartbeats, task_status=task_status
        ))  # fmt: skip
    for _ in range(20):
        await trio.sleep(20 * LIMIT)
        assert set(heartbeats.overdue(LIMIT)) == {"hangs"}
    nursery.cancel_scope.cancel()


async def _quick() -> None:
    await trio.lowlevel.checkpoint()


async def test_tasks_of_a_step_beat_for_its_loop(autojump_clock: MockClock):
    heartbeats = Heartbeats(trio.current_time)
    with heartbeats.service("parent"):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_beat_for, 100 * LIMIT)
            await trio.sleep(99 * LIMIT)
            assert heartbeats.overdue(LIMIT) == {}


async def _beat_for(seconds: float) -> None:
    with trio.move_on_after(seconds):
        while True:
            beat(1.0)
            await trio.sleep(1.0)


async def test_two_loops_of_one_name_do_not_hide_each_other(autojump_clock: MockClock):
    heartbeats = Heartbeats(trio.current_time)
    with heartbeats.service("same"), heartbeats.service("same") as quick:
        await trio.sleep(2 * LIMIT)
        quick(1.0)
        assert heartbeats.overdue(LIMIT) == {"same": pytest.approx(2 * LIMIT - 1)}


async def test_a_loop_that_has_ended_is_not_watched_and_its_late_signs_are_ignored(autojump_clock: MockClock):
    heartbeats = Heartbeats(trio.current_time)
    late: Callable[[float], None]
    with heartbeats.service("lease") as late:
        pass
    late(1.0)  # from the lease thread, whose last trip may outlive the loop
    await trio.sleep(10 * LIMIT)
    assert heartbeats.overdue(0) == {}


async def test_a_step_that_no_watched_loop_runs_beats_for_nothing():
    beat(1.0)
