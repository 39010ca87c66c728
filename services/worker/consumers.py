"""Consumers: tasks that run claimed jobs one after the other and hand their outcomes over."""

import contextvars
import logging
from collections.abc import Callable
from functools import partial
from random import Random
from uuid import UUID

import trio

from core.errors import InvalidTask, QueueUnavailable
from core.handlers import Registry
from core.job import Job
from core.outcome import Bury, Complete, Failed, Interrupted, NotStarted, Outcome, Retry, judge
from core.queue import Queue
from core.steps.again import Again
from core.steps.lease import Held, Lease
from core.steps.settle import Settled
from core.wire import decode_payload
from services.worker.attempt import Attempt
from services.worker.buffer import Buffer
from services.worker.metrics import Counts
from services.worker.outcomes import Outcomes
from services.worker.peers import Peers, RunningJob

log = logging.getLogger(__name__)

UNKNOWN_TYPE_DELAY_MS = 1000
LAST_CHANCE_DELAY_MS = 1000
RUNNING_SHOWN_MAX = 100


class Running:
    """A job that runs now."""

    __slots__ = ("attempt", "held", "started_at")

    def __init__(self, held: Held, attempt: Attempt) -> None:
        self.held = held
        self.attempt = attempt
        self.started_at = trio.current_time()

    @property
    def seconds(self) -> float:
        return trio.current_time() - self.started_at


class Consumers:
    """Takes jobs from the buffer, runs them and puts what follows into the outcomes.

    Mutable state: the jobs that run, how many of them are at their last chance, and the threads that outlived theirs.
    """

    def __init__(
        self,
        queue: Queue,
        registry: Registry,
        buffer: Buffer,
        outcomes: Outcomes,
        counts: Counts,
        *,
        keeps_artifacts: bool,
        max_recoveries: int,
        may_start: Callable[[], bool],
        random: Random,
    ) -> None:
        """`may_start`: is the lease fresh? A worker that wakes from a freeze must not start what others may run."""
        self._queue = queue
        self._registry = registry
        self._buffer = buffer
        self._outcomes = outcomes
        self._counts = counts
        self._keeps_artifacts = keeps_artifacts
        self._last_chance = max_recoveries - 1  #: with so many deaths of its worker behind it, a job runs alone
        self._may_start = may_start
        self._random = random
        self._again = Again()
        self._peers = Peers(queue)
        self._threads = trio.CapacityLimiter(10_000)
        self._running: dict[UUID, Running] = {}
        self._last_chances = 0
        self.threads_left = 0
        self.let_others_first = False  #: a task of a type that others know came by: they should be at the list first

    def __len__(self) -> int:
        return len(self._running)

    def start(self, nursery: trio.Nursery, count: int) -> None:
        """Start `count` consumers; every job runs in a task of this nursery."""
        for _ in range(count):
            nursery.start_soon(self._consume, nursery, contextvars.copy_context())

    def interrupt(self, lease: Lease) -> None:
        """The lease is lost: cancel its jobs. Their outcomes are refused, or give the rows back."""
        for running in self._running.values():
            if running.held.lease is lease:
                running.attempt.interrupt()

    def put_back(self, items: list[Held]) -> None:
        """Give back what has not started."""
        for held in items:
            self._counts.given_back += 1
            self._outcomes.put(self._judged(held, NotStarted(), None))

    def abandon(self) -> None:
        """The last resort at a stop: what does not let itself be cancelled is given back and ends with the process."""
        for running in self._running.values():
            log.error("job %s (%s) ignores its cancellation: it is given back and ends with the process",
                      running.held.job_id, running.held.task.type)  # fmt: skip
            self._outcomes.put(self._judged(running.held, Interrupted(), running.seconds))

    def shown(self) -> list[RunningJob]:
        """What runs now, for people; at most RUNNING_SHOWN_MAX."""
        shown = list(self._running.values())[:RUNNING_SHOWN_MAX]
        return [RunningJob(str(run.held.job_id), run.held.task.type, round(run.seconds, 1)) for run in shown]

    def described(self) -> str:
        """The same in words; may be called from any thread."""
        shown = [f"job {run.held.job_id} ({run.held.task.type})" for run in list(self._running.values())[:5]]
        return ", ".join(shown) or "no jobs"

    async def _consume(self, nursery: trio.Nursery, context: contextvars.Context) -> None:
        """Run jobs one after the other until the buffer is closed."""
        clean = dict(context)
        while (held := await self._buffer.take()) is not None:
            await self._run(held)
            if dict(contextvars.copy_context()) != clean:
                # A handler set context variables: they must not reach the next job, so another task goes on.
                context.copy().run(nursery.start_soon, self._consume, nursery, context)
                return

    async def _run(self, held: Held) -> None:
        is_last_chance = held.counters.recoveries >= self._last_chance
        if is_last_chance and self._last_chances:  # if this worker dies, one of them alone is to blame
            self._outcomes.put(self._judged(held, NotStarted(LAST_CHANCE_DELAY_MS), None))
            await self._outcomes.wait_for_room()
            return
        self._last_chances += is_last_chance
        try:
            await self._run_alone(held)
        finally:
            self._last_chances -= is_last_chance

    async def _run_alone(self, held: Held) -> None:
        try:
            prepared = await self._prepare(held)
        except trio.Cancelled:
            self._outcomes.put(self._judged(held, NotStarted(), None))
            raise
        if not isinstance(prepared, Attempt):
            self._outcomes.put(self._judged(held, prepared, None))
            await self._outcomes.wait_for_room()
            return
        running = self._running[held.job_id] = Running(held, prepared)
        outcome: Outcome = Interrupted()  # if we are cancelled: the grace is over
        try:
            outcome = await prepared.run()
        finally:
            del self._running[held.job_id]
            self._outcomes.put(self._judged(held, outcome, running.seconds))
        if not prepared.thread_ended.is_set():
            await self._wait_for_thread(held, prepared)
        await self._outcomes.wait_for_room()

    async def _prepare(self, held: Held) -> Attempt | Outcome:
        """What has to be true before a job starts; else its outcome."""
        if held.counters.recoveries and not await self._note_start(held):
            return NotStarted()
        # An outage, or we woke from a freeze: the lease thread finds out which, and has no event to tell by.
        while not (self._may_start() or held.lease.lost):  # noqa: ASYNC110
            await trio.sleep(0.1)
        if held.lease.lost:
            return NotStarted()
        handler = self._registry.get(held.task.type)
        if handler is None:
            return await self._without_handler(held)
        try:
            payload = decode_payload(held.task.payload)
        except InvalidTask as error:
            return Failed(str(error), permanent=True)
        job = Job(
            id=str(held.job_id),
            type=held.task.type,
            payload=payload,
            attempt=held.counters.run,
            retries=held.task.retries,
            keeps_artifacts=self._keeps_artifacts,
        )
        return Attempt(handler, job, self._threads)

    async def _note_start(self, held: Held) -> bool:
        """A worker has died of this job or beside it: note that it starts, or it could not be blamed again."""
        return await self._again(partial(self._queue.note_start, held.lease.id, held.number))

    async def _without_handler(self, held: Held) -> Outcome:
        try:
            known = await self._peers.know(held.task.type)
        except QueueUnavailable:
            known = True  # nobody knows; it comes again
        if not known:
            return Failed(f"unsupported task type: {held.task.type}")
        self.let_others_first = True
        return NotStarted(int(UNKNOWN_TYPE_DELAY_MS * self._random.uniform(0.5, 1.5)))

    async def _wait_for_thread(self, held: Held, attempt: Attempt) -> None:
        """A thread that outlives its job keeps its place, and is counted."""
        log.warning("job %s (%s) has ended, its thread goes on and keeps its place", held.job_id, held.task.type)
        self.threads_left += 1
        try:
            await attempt.thread_ended.wait()
        finally:
            self.threads_left -= 1

    def _judged(self, held: Held, outcome: Outcome, seconds: float | None) -> Settled:
        """What follows from an outcome; counted here, once."""
        if seconds is not None:
            self._counts.ran(held.task.type, seconds)
        verdict = judge(outcome, failures=held.counters.attempts, retries=held.task.retries)
        counts = self._counts.of(held.task.type)
        match verdict:
            case Complete():
                self._counts.done += 1
                counts.done += 1
            case Bury(error):
                self._counts.failed += 1
                counts.failed += 1
                log.error("job %s (%s) failed: %s", held.job_id, held.task.type, error,
                          extra={"traceback": verdict.traceback})  # fmt: skip
            case Retry(error):
                self._counts.retried += 1
                counts.retried += 1
                log.warning("job %s (%s) failed and will be retried: %s", held.job_id, held.task.type, error,
                            extra={"traceback": verdict.traceback})  # fmt: skip
        return Settled(held, verdict, seconds)
