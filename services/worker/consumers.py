"""Consumers: tasks that each run claimed jobs, one after the other, and hand over the outcomes."""

import contextvars
import inspect
import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from random import Random
from types import FrameType

import trio

from workqueue.core.errors import InvalidTask, QueueUnavailable
from workqueue.core.handlers import Registry
from workqueue.core.job import Job
from workqueue.core.outcome import Complete, Fail, Failed, Interrupted, NotStarted, Outcome, Retry, Verdict, decide
from workqueue.core.queue import Queue
from workqueue.core.steps.lease import ClaimedTask, Lease
from workqueue.core.steps.settle import Ending
from workqueue.core.steps.until_answered import UntilAnswered
from workqueue.core.wire import decode_payload
from workqueue.services.published import RunningJob
from workqueue.services.worker.attempt import Attempt
from workqueue.services.worker.buffer import Buffer
from workqueue.services.worker.environment import Environment
from workqueue.services.worker.failure_log import FailureLog
from workqueue.services.worker.metrics import Counts
from workqueue.services.worker.outcomes import Outcomes
from workqueue.services.worker.peers import Peers
from workqueue.services.worker.slot import WATCH_SECONDS, Slot

log = logging.getLogger(__name__)

UNKNOWN_TYPE_DELAY_MS = 1000
LAST_CHANCE_DELAY_MS = 1000
RUNNING_SHOWN_MAX = 100


class Consumers:
    """Takes jobs from the buffer, runs each in a slot and puts the verdicts into the outcomes.

    Mutable state: the slots, how many of their jobs are at their last chance, and the threads that outlived theirs.
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
        max_interruptions: int,
        may_start: Callable[[Lease], bool],
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
        self._max_interruptions = max_interruptions
        self._may_start = may_start
        self._random = random
        self._until_answered = UntilAnswered()
        self._peers = Peers(queue)
        self._threads = trio.CapacityLimiter(10_000)
        self.environment = Environment()
        self._failures = FailureLog()
        self._slots: list[Slot] = []
        self._last_chances = 0
        self.threads_left = 0
        #: We gave back a task that only other workers can run: Claiming waits once, so that they claim first.
        self.yield_next_claim = False

    def __len__(self) -> int:
        return sum(slot.attempt is not None for slot in self._slots)

    def start(self, nursery: trio.Nursery, count: int) -> None:
        """Start `count` consumers; every job runs in a task of this nursery."""
        self._slots = [
            Slot(self._take_at_once, self._take, self._ended, self._wait_for_thread, self._threads)
            for _ in range(count)
        ]
        for slot in self._slots:
            nursery.start_soon(self._consume, slot, nursery, contextvars.copy_context())

    async def watch(self) -> None:
        """Watch the timeouts of the jobs that run, and log how many failures got no line, until cancelled."""
        try:
            while True:
                for slot in self._slots:
                    slot.watch()
                self._failures.tell_rest()
                await trio.sleep(WATCH_SECONDS)
        finally:
            self._failures.tell_rest(at_once=True)

    def interrupt(self, lease: Lease) -> None:
        """The lease is lost: cancel its jobs. Their outcomes are refused, or give the rows back."""
        for slot, claimed in self._running():
            if claimed.lease is lease:
                slot.interrupt()

    def give_back(self, items: list[ClaimedTask]) -> None:
        """Give back jobs that have not started."""
        for claimed in items:
            self._counts.given_back += 1
            self._put(claimed, NotStarted())

    def abandon(self) -> None:
        """The last resort at a stop: give back jobs that ignore their cancellation; they end with the process."""
        for slot, claimed in self._running():
            log.error("job %s (%s) ignores its cancellation: it is given back and ends with the process",
                      claimed.job_id, claimed.task.type)  # fmt: skip
            self._put(claimed, Interrupted(), slot.seconds)

    def shown(self) -> list[RunningJob]:
        """The jobs that run now, for the page; at most RUNNING_SHOWN_MAX."""
        running = islice(self._running(), RUNNING_SHOWN_MAX)
        return [RunningJob(str(claimed.job_id), claimed.task.type, round(slot.seconds, 1)) for slot, claimed in running]

    def described(self) -> str:
        """Some of the jobs that run now, in words. May be called from any thread."""
        shown = [f"job {claimed.job_id} ({claimed.task.type})" for _, claimed in islice(self._running(), 5)]
        return ", ".join(shown) or "no jobs"

    def job_in(self, stack: Sequence[FrameType]) -> str | None:
        """The job whose handler is among these frames of the loop's thread. May be called from any thread."""
        for slot in self._slots:
            if slot.frame in stack and (attempt := slot.attempt) is not None:
                return f"job {attempt.job.id} ({attempt.job.type})"
        return None

    def _running(self) -> Iterator[tuple[Slot, ClaimedTask]]:
        for slot in self._slots:
            if (attempt := slot.attempt) is not None:
                yield slot, attempt.claimed

    async def _consume(self, slot: Slot, nursery: trio.Nursery, context: contextvars.Context) -> None:
        slot.frame = inspect.currentframe()
        try:
            if await slot.serve():  # a job left context variables: another task goes on, in a context without them
                context.copy().run(nursery.start_soon, self._consume, slot, nursery, context)
        finally:
            slot.frame = None

    # --- before a job starts

    def _take_at_once(self) -> Attempt | None:
        """The next job, where it needs neither a wait nor a trip; None: `_take` has to be asked.

        Jobs that fail without a run (of a type that no worker knows) are handled here as well: a million of them must
        not hold up the jobs behind them longer than other failures would.
        """
        while True:
            claimed = self._buffer.head
            if claimed is None or self._outcomes.full or self.environment.fault is not None:
                return None
            if claimed.counters.recoveries or claimed.lease.lost or not self._may_start(claimed.lease):
                return None
            prepared = self._prepare(claimed)
            if prepared is None:
                if self._peers.knew(claimed.task.type) is not False:
                    return None
                prepared = _unsupported(claimed)
            self._buffer.pop()
            if isinstance(prepared, Attempt):
                return prepared
            self._put(claimed, prepared)

    async def _take(self) -> Attempt | None:
        """The next job that may start; None once the buffer is closed. A job that may not start goes back or ends."""
        while True:
            if self._outcomes.full:
                await self._outcomes.wait_for_room()
            if (claimed := await self._buffer.take()) is None:
                return None
            if self.environment.fault is not None:
                self.give_back([claimed])
                continue
            prepared = await self._prepare_carefully(claimed)
            if isinstance(prepared, Attempt):
                return prepared
            self._put(claimed, prepared)

    def _prepare(self, claimed: ClaimedTask, *, is_last_chance: bool = False) -> Attempt | Outcome | None:
        """A job ready to start, or its failure; None: this worker has no handler for it."""
        task = claimed.task
        handler = self._registry.get(task.type)
        if handler is None:
            return None
        try:
            payload = decode_payload(task.payload)
        except InvalidTask as error:
            return Failed(str(error), permanent=True)
        job = Job(claimed.job_id, task.type, payload, claimed.counters.run, task.options.retries, self._keeps_artifacts)
        return Attempt(handler, job, claimed, is_last_chance)

    async def _prepare_carefully(self, claimed: ClaimedTask) -> Attempt | Outcome:
        """The same, for a job that needs a wait or a trip. Cancelled: it goes back."""
        is_last_chance = claimed.counters.recoveries >= self._last_chance
        if is_last_chance and self._last_chances:  # one at a time: if this worker dies, that job is to blame
            return NotStarted(LAST_CHANCE_DELAY_MS)
        self._last_chances += is_last_chance
        prepared: Attempt | Outcome = NotStarted()
        try:
            prepared = await self._checked(claimed, is_last_chance)
        except trio.Cancelled:
            self._put(claimed, NotStarted())
            raise
        finally:
            if not isinstance(prepared, Attempt):
                self._last_chances -= is_last_chance
        return prepared

    async def _checked(self, claimed: ClaimedTask, is_last_chance: bool) -> Attempt | Outcome:
        if claimed.counters.recoveries and not await self._note_start(claimed):
            return NotStarted()
        # An outage, or this process woke from a freeze. The lease thread finds out which; it sets no event.
        while not (self._may_start(claimed.lease) or claimed.lease.lost):  # noqa: ASYNC110
            await trio.sleep(0.1)
        if claimed.lease.lost:
            return NotStarted()
        return self._prepare(claimed, is_last_chance=is_last_chance) or await self._without_handler(claimed)

    async def _note_start(self, claimed: ClaimedTask) -> bool:
        """A worker has died while this job ran: record the start, or a second death could not be blamed on it."""
        return await self._until_answered(partial(self._queue.record_suspect_start, claimed.lease.id, claimed.number))

    async def _without_handler(self, claimed: ClaimedTask) -> Outcome:
        try:
            known = await self._peers.know(claimed.task.type)
        except QueueUnavailable:
            known = True  # unknown: the task comes again
        if not known:
            return _unsupported(claimed)
        self.yield_next_claim = True
        return NotStarted(int(UNKNOWN_TYPE_DELAY_MS * self._random.uniform(0.5, 1.5)))

    # --- after it has ended

    def _ended(self, attempt: Attempt, outcome: Outcome, seconds: float) -> None:
        self._last_chances -= attempt.is_last_chance
        if type(outcome) is NotStarted:  # isinstance would take 0.1 us to say no
            self.environment.lacks(outcome.lacking)
            self._counts.given_back += 1
            self._put(attempt.claimed, outcome)
        else:
            self._put(attempt.claimed, outcome, seconds)

    def _put(self, claimed: ClaimedTask, outcome: Outcome, seconds: float | None = None) -> None:
        """Decide what follows from an outcome, count and log it once, and hand it over."""
        task = claimed.task
        verdict = outcome if isinstance(outcome, Complete) else self._judged(outcome, claimed)
        counts = self._counts.of(task.type)
        if seconds is not None:
            self._counts.finished += 1
            counts.ran(seconds)
        elif isinstance(outcome, Failed):
            self._counts.finished += 1
        match verdict:
            case Complete():
                self._counts.done += 1
                counts.done += 1
            case Fail():
                self._counts.failed += 1
                counts.failed += 1
                self._failures.tell(logging.ERROR, "failed", claimed, verdict)
            case Retry():
                self._counts.retried += 1
                counts.retried += 1
                self._failures.tell(logging.WARNING, "failed and will be retried", claimed, verdict)
        self._outcomes.put(Ending(claimed, verdict, seconds))

    def _judged(self, outcome: Outcome, claimed: ClaimedTask) -> Verdict:
        counters = claimed.counters
        return decide(
            outcome,
            failures=counters.attempts,
            retries=claimed.task.options.retries,
            interruptions=counters.interruptions,
            max_interruptions=self._max_interruptions,
        )

    async def _wait_for_thread(self, attempt: Attempt, ended: trio.Event) -> None:
        """A thread that outlives its job keeps its slot, and is counted."""
        log.warning(
            "job %s (%s) has ended, but its thread goes on and keeps its slot", attempt.job.id, attempt.job.type
        )
        self.threads_left += 1
        try:
            await ended.wait()
        finally:
            self.threads_left -= 1


def _unsupported(claimed: ClaimedTask) -> Failed:
    return Failed(f"unsupported task type: {claimed.task.type}")
