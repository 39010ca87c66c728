"""One attempt in a slot of its own, without a worker around it."""

from typing import NoReturn
from uuid import uuid4

import trio

from workqueue.core.handlers import Handler
from workqueue.core.job import Job
from workqueue.core.outcome import Outcome
from workqueue.core.steps.lease import ClaimedTask, Lease
from workqueue.core.wire import Task
from workqueue.services.worker.running.attempt import Attempt
from workqueue.services.worker.running.runtimes import Threads
from workqueue.services.worker.running.slot import WATCH_SECONDS, Slot


class OneAttempt:
    """Runs one job. Mutable state: whether it was taken, its outcome, and the thread that it left behind."""

    def __init__(self, handler: Handler, job: Job) -> None:
        held = ClaimedTask.of(Lease(), 1, Task(handler.type), uuid4(), 0.0)
        self._attempt: Attempt | None = Attempt(handler, job, held, handler.timeout_seconds)
        self.slot = Slot(
            lambda: None, self._take, self._ended, self._outlived, self._left_nursery, Threads(trio.CapacityLimiter(10))
        )
        self.outcome: Outcome | None = None
        self.thread: trio.Event | None = None

    async def run(self) -> Outcome:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch)
            await self.slot.serve()
            nursery.cancel_scope.cancel()
        assert self.outcome is not None
        return self.outcome

    async def _take(self) -> Attempt | None:
        attempt, self._attempt = self._attempt, None
        return attempt

    def _ended(self, attempt: Attempt, outcome: Outcome, seconds: float) -> None:
        assert self.outcome is None, "an attempt ends once"
        self.outcome = outcome

    async def _outlived(self, attempt: Attempt, thread: trio.Event) -> None:
        self.thread = thread  # a consumer waits for it; who tests goes on

    def _left_nursery(self, attempt: Attempt) -> NoReturn:
        raise AssertionError(f"{attempt.job.type} has left a nursery open")

    async def _watch(self) -> None:
        while True:
            self.slot.watch()
            await trio.sleep(WATCH_SECONDS)


async def run_attempt(handler: Handler, job: Job) -> Outcome:
    return await OneAttempt(handler, job).run()
