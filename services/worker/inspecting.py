"""Inspecting: answers what goes on inside of a running job, where a control message asks for it."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from uuid import UUID

import trio

from workqueue.core.control import ClaimedJob, TreeRequest
from workqueue.core.errors import QueueUnavailable
from workqueue.core.queue import Queue
from workqueue.core.steps.lease import Lease
from workqueue.services.job_tree import BYTES_MAX, JobTree, TreeAnswer, write_answer
from workqueue.services.worker.running.tree import with_source

log = logging.getLogger(__name__)

WAITING_MAX = 16  #: questions; more are left without an answer
KEEP_SECONDS = 10.0  #: an answer that is not read by then is not waited for any more
SOURCE_SECONDS = 0.5  #: to read the lines; a folder that hangs must not keep the answer back

Inspect = Callable[[ClaimedJob], JobTree | None]


class Inspecting:
    """One for each worker; one question at a time. Mutable state: the questions that wait."""

    def __init__(self, queue: Queue, inspect: Inspect, lease: Callable[[], Lease | None]) -> None:
        """`inspect`: what goes on inside of a run, None where it does not run. `lease`: that we claim under."""
        self._queue = queue
        self._inspect = inspect
        self._lease = lease
        self._reading = trio.CapacityLimiter(1)
        self._enter, self._exit = trio.open_memory_channel[TreeRequest](WAITING_MAX)

    def ask(self, requests: Sequence[TreeRequest]) -> None:
        """Answer, soon, what is asked of our own jobs. Every worker hears of every question."""
        lease = self._lease()
        mine = set() if lease is None else lease.pairs()
        for answer, token, job_id in requests[:WAITING_MAX]:
            if (token, job_id) in mine:
                try:
                    self._enter.send_nowait((answer, token, job_id))
                except trio.WouldBlock:
                    log.info("more than %d ask what goes on inside of jobs: not answered", WAITING_MAX)

    async def run(self) -> None:
        """Answer until cancelled. Not watched: no job waits for it."""
        async for answer, token, job_id in self._exit:
            text = await self._written((token, job_id))
            try:
                await self._queue.answer(answer, text, keep_seconds=KEEP_SECONDS)
            except QueueUnavailable as error:  # the person who asked is told that there was no answer
                log.info("what goes on inside of job %s could not be told: %s", job_id, error)

    async def _written(self, run: ClaimedJob) -> bytes:
        tree = self._tree(run)
        without_source = write_answer(TreeAnswer(tree))
        if tree is None:
            return without_source
        with trio.move_on_after(SOURCE_SECONDS):
            shown = await trio.to_thread.run_sync(
                partial(with_source, tree), abandon_on_cancel=True, limiter=self._reading
            )
            with_lines = write_answer(TreeAnswer(shown))
            return with_lines if len(with_lines) <= BYTES_MAX else without_source
        return without_source

    def _tree(self, run: tuple[UUID, UUID]) -> JobTree | None:
        try:
            return self._inspect(run)
        except Exception:
            log.exception("a look inside of job %s met a bug", run[1])
            return None
