"""The loops beside the jobs: promote, sweep, recover and so on, one `run_once` each."""

import random
from collections.abc import Awaitable, Callable

import trio

from workqueue.core.errors import QueueUnavailable, StoreUnavailable
from workqueue.core.steps.until_answered import TRIP_SECONDS
from workqueue.services.worker.heartbeats import Heartbeats


async def repeat(
    run_once: Callable[[], Awaitable[bool | None]],
    *,
    every_seconds: float,
    name: str,
    heartbeats: Heartbeats,
    sooner: Callable[[], Awaitable[None]] = trio.sleep_forever,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Call `run_once` every so often; at once again while it returns True (its limit was reached, there is more to do),
    and when `sooner` returns.

    An outage is waited out: services/health.py has reported it. Any other error is a bug and ends the process. The loop
    is watched, and the steps that `run_once` makes beat for it.
    """
    with heartbeats.service(name) as heartbeat:
        task_status.started()
        while True:
            heartbeat(TRIP_SECONDS)
            try:
                more = await run_once()
            except (QueueUnavailable, StoreUnavailable):
                more = False
                await trio.sleep(random.uniform(0.2, 1.0))  # noqa: S311 - jitter, no secret
            heartbeat(2 * every_seconds)
            if more:
                await trio.lowlevel.checkpoint()
            else:  # N workers must not march in step
                with trio.move_on_after(every_seconds * random.uniform(0.8, 1.2)):  # noqa: S311 - jitter, no secret
                    await sooner()
