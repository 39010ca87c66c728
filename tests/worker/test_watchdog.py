"""A blocked loop is reported once; a service without a sign of life ends the process, and one that waits does not."""

import sys
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any
from uuid import uuid4

import pytest
import trio

from tests.support.proxy import Proxy, through
from tests.support.wait import until, until_true
from workqueue.core.steps.until_answered import TRIP_SECONDS
from workqueue.core.store import open_store
from workqueue.services.worker.heartbeats import Heartbeats
from workqueue.services.worker.watchdog import LOOP, Watchdog


def no_job(stack: Sequence[FrameType]) -> None:
    return None


def test_seconds_for_which_the_loop_is_blocked_are_counted_once():
    now = 100.0
    heartbeats = Heartbeats(lambda: now)
    watchdog = Watchdog(heartbeats, limit_seconds=60, describe=str, job_in=no_job, end=sys.exit, clock=lambda: now)
    with heartbeats.service(LOOP) as heartbeat:
        heartbeat(0.0)
        for _ in range(5):
            now += 1.0
            watchdog.look()
    assert watchdog.counts.blocked == 1
    assert watchdog.counts.blocked_seconds == pytest.approx(5.0)


async def test_a_recovery_that_waits_for_postgres_goes_on_giving_signs_of_life_for_its_loop(
    nursery, run_worker, bridge, queue, postgres, postgres_dsn, database_schema, store
):
    """Or an outage longer than STALL_LIMIT would end each worker that has a lease to recover."""
    proxy = Proxy(postgres.port)
    await nursery.start(proxy.run)
    lost = uuid4()
    async with (
        open_store(bridge, through(postgres_dsn, proxy), database_schema) as away,
        run_worker(store=away) as worker,
    ):
        proxy.go_away()
        await queue._command("ZADD", queue.keys.leases, 0, str(lost))  # fenced: its worker has died
        signs, due = 0, 0.0
        with trio.fail_after(30):
            while signs < 4:
                await trio.sleep(0.05)
                before, left = due, -worker.heartbeats.overdue(-1000)["observe"]
                due = time.monotonic() + left
                if left < TRIP_SECONDS / 2:
                    signs = 0  # the loop is between two looks, it does not wait in a trip
                elif due > before + 0.01:
                    signs += 1
        assert lost in await queue.lease_scores(), "the recovery still waits"
        proxy.heal()

        async def is_recovered() -> bool:
            return lost not in await queue.lease_scores()

        await until(is_recovered, seconds=30)


async def test_the_frames_that_a_slot_names_are_those_of_its_handler(run_worker, submit, registry, rows):
    """The watchdog looks for a job in the stack of the loop's thread, while a handler runs there."""
    seen: list[Any] = []

    @registry.handler("looks")
    async def looks(job) -> None:
        frame: FrameType | None = sys._getframe()
        stack = []
        while frame is not None:
            stack.append(frame)
            frame = frame.f_back
        seen.append((job.id, worker.consumers.job_in(stack)))
        await trio.sleep(0.01)

    async with run_worker(worker_concurrency=3) as worker:
        await submit("looks", 20)
        await until_true(lambda: len(seen) == 20)
        assert seen == [(job_id, f"job {job_id} (looks)") for job_id, _ in seen]
        assert worker.consumers.job_in([sys._getframe()]) is None
