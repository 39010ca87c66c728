"""Consumers: tasks that each run claimed jobs, one after the other, and hand over the outcomes."""

import contextvars
import inspect
import logging
import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from types import FrameType
from typing import Literal, NoReturn
from uuid import UUID

import trio

from workqueue.core.asyncio_thread import AsyncioThread
from workqueue.core.control import ClaimedJob
from workqueue.core.errors import InvalidTask
from workqueue.core.handlers import Registry
from workqueue.core.job import Job, RunContext
from workqueue.core.options import DEFAULT_QUEUE, DEFAULTS
from workqueue.core.outcome import (
    Cancel,
    Cancelled,
    Complete,
    Fail,
    Failed,
    GiveBack,
    Interrupted,
    NotStarted,
    Outcome,
    Retry,
    Verdict,
    decide,
)
from workqueue.core.steps.lease import ClaimedTask, Lease
from workqueue.core.steps.pauses import Parking
from workqueue.core.steps.settle import Ending
from workqueue.services.job_tree import JobTree
from workqueue.services.published import RunningJob
from workqueue.services.worker.metrics import Counts
from workqueue.services.worker.running.admission import Admission, KnownType
from workqueue.services.worker.running.attempt import Attempt
from workqueue.services.worker.running.buffer import Buffer
from workqueue.services.worker.running.environment import Environment
from workqueue.services.worker.running.failure_log import FailureLog
from workqueue.services.worker.running.outcomes import Outcomes
from workqueue.services.worker.running.runtimes import AsyncioLoop, Runtimes, Threads
from workqueue.services.worker.running.slot import WATCH_SECONDS, InterruptReason, Slot
from workqueue.services.worker.running.statistics import Statistics

log = logging.getLogger(__name__)

EXPIRED = "expired: it was not started in time"
THREADS_MAX = 10_000  #: room for each slot, threads that outlived their jobs included
RUNNING_SHOWN_MAX = 100
EARLY_SECONDS = 5.0  #: the answer of a claim may come so long after a cancellation of what it claimed
EARLY_MAX = 10_000  #: cancelled runs that are remembered; most are other workers'


def left_nursery(attempt: Attempt) -> NoReturn:
    """End the process: the handler has returned and left a nursery open.

    Trio has no repair for it: when the nursery's children end, its next step is made in a task that does not wait for
    it, and the loop stops with an internal error, or goes on with a task lost. So the process ends before that, and
    with the job unfinished: others recover its jobs, and this one fails after MAX_RECOVERIES of these deaths.
    """
    log.critical(
        "job %s (%s) has left a Trio nursery open, which nothing can repair: this worker ends. Close async generators "
        "with contextlib.aclosing()", attempt.job.id, attempt.job.type
    )  # fmt: skip
    logging.shutdown()
    os._exit(1)


class Consumers:
    """Takes jobs from the buffer, runs each in a slot and puts the verdicts into the outcomes.

    Mutable state: the slots, how many threads outlived their jobs, which runs were cancelled in the last seconds, and
    which types and groups pause because a handler has asked for it.
    """

    def __init__(
        self,
        registry: Registry,
        buffer: Buffer,
        outcomes: Outcomes,
        counts: Counts,
        admission: Admission,
        types: KnownType,
        environment: Environment,
        context: RunContext,
        parking: Parking,
        statistics: Statistics,
        *,
        max_interruptions: int,
        cancel_grace: float,
    ) -> None:
        """`context`: what jobs may ask of this worker. `parking`: which types are paused. `cancel_grace`: seconds that
        a cancelled job may clean up."""
        self._registry = registry
        self._buffer = buffer
        self._outcomes = outcomes
        self._counts = counts
        self._admission = admission
        self._types = types
        self._context = context
        self._parking = parking
        self._statistics = statistics
        self._max_interruptions = max_interruptions
        self._cancel_grace = cancel_grace
        self._asyncio = AsyncioThread()
        self._runtime = Runtimes(Threads(trio.CapacityLimiter(THREADS_MAX)), AsyncioLoop(self._asyncio))
        self.environment = environment
        self._failures = FailureLog()
        self._slots: list[Slot] = []
        self._pauses: dict[tuple[str | None, str | None], float] = {}  #: (type, None) or (None, group) -> until when
        self._cancelled: set[ClaimedJob] = set()
        self._cancelled_at = float("-inf")
        self.threads_left = 0

    def __len__(self) -> int:
        return sum(slot.attempt is not None for slot in self._slots)

    @property
    def yield_next_claim(self) -> bool:
        """A job went back that only other workers can run: Claiming waits once, so that they claim first."""
        return self._types.yield_next_claim

    @yield_next_claim.setter
    def yield_next_claim(self, value: bool) -> None:
        self._types.yield_next_claim = value

    def start(self, nursery: trio.Nursery, count: int) -> None:
        """Start `count` consumers; every job runs in a task of this nursery."""
        self._slots = [
            Slot(self._take_at_once, self._take, self._ended, self._wait_for_thread, left_nursery, self._runtime)
            for _ in range(count)
        ]
        for slot in self._slots:
            nursery.start_soon(self._consume, slot, nursery, contextvars.copy_context())

    @property
    def needs_asyncio(self) -> bool:
        """Does a handler run in asyncio? Then `serve_asyncio` has to run before the first job starts."""
        return self._registry.uses("asyncio")

    async def serve_asyncio(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the loop of asyncio until cancelled."""
        await self._asyncio.run(task_status=task_status)

    async def watch(self) -> None:
        """Watch the timeouts of the jobs that run, and log how many failures got no line, until cancelled."""
        try:
            while True:
                for slot in self._slots:
                    slot.watch()
                    if slot.is_overdue:
                        self._give_up(slot)
                self._failures.tell_rest()
                await trio.sleep(WATCH_SECONDS)
        finally:
            self._failures.tell_rest(at_once=True)

    def interrupt(self, lease: Lease) -> None:
        """The lease is lost: cancel its jobs. Their outcomes are refused, or give the rows back."""
        self._admission.ask_anew()
        for slot, claimed in self._running():
            if claimed.lease is lease:
                slot.interrupt(InterruptReason.LEASE_LOST)

    def cancel(self, runs: Collection[ClaimedJob]) -> None:
        """A person has cancelled these runs, as their rows say; those that are not here are passed over.

        The answer of their claim may still be on its way: what `claimed` brings is looked up for EARLY_SECONDS.
        """
        self._cancel(set(runs))
        now = trio.current_time()
        if len(self._cancelled) > EARLY_MAX or (self._cancelled and now > self._cancelled_at + EARLY_SECONDS):
            self._cancelled.clear()
        self._cancelled.update(runs)
        self._cancelled_at = now

    def claimed(self, items: Sequence[ClaimedTask], *, had_permits: bool = False) -> None:
        """These were claimed: into the buffer, but for those that were cancelled meanwhile. `had_permits`: some of them
        hold permits, and start first: a permit that waits keeps others from starting."""
        if had_permits:
            self._buffer.put_first([claimed for claimed in items if claimed.permit])
            self._buffer.extend([claimed for claimed in items if not claimed.permit])
        else:
            self._buffer.extend(items)
        self._statistics.claimed(items)
        if self._cancelled:
            self._cancel(self._cancelled)
        if self._pauses:
            self._give_back_pausing()
        if self._parking.known.types or self._parking.known.queues:
            self.give_back_paused()

    def give_back_paused(self) -> None:
        """Jobs whose type or queue was paused since they were claimed do not start."""
        paused = self._parking.known
        if (paused.types or paused.queues) and len(self._buffer):
            self.give_back(
                self._buffer.remove(
                    lambda claimed: claimed.task.type in paused.types or claimed.task.options.queue in paused.queues
                )
            )

    def _cancel(self, runs: set[ClaimedJob]) -> None:
        for slot, claimed in self._running():
            if (claimed.token, claimed.job_id) in runs:
                slot.cancel(grace_seconds=self._cancel_grace)
        self.give_back(self._buffer.remove(lambda claimed: (claimed.token, claimed.job_id) in runs))

    def running_ids(self, *, longer_than: float) -> list[UUID]:
        """The jobs that have been running for more than so many seconds."""
        return [claimed.job_id for slot, claimed in self._running() if slot.seconds > longer_than]

    def attempt_of(self, job: Job) -> Attempt | None:
        """The attempt that runs now with this very object. May be called from any thread."""
        for slot in self._slots:
            if (attempt := slot.attempt) is not None and attempt.job is job:
                return attempt
        return None

    def give_back(self, items: list[ClaimedTask]) -> None:
        """Give back jobs that have not started."""
        for claimed in items:
            self._counts.given_back += 1
            self._put(claimed, NotStarted())

    def abandon(self) -> None:
        """The last resort at a stop: give back jobs that ignore their cancellation; they end with the process."""
        for slot, claimed in self._running():
            if slot.attempt is not None and slot.attempt.given_up:
                continue
            log.error("job %s (%s) ignores its cancellation: it is given back and ends with the process",
                      claimed.job_id, claimed.task.type)  # fmt: skip
            self._put(claimed, Interrupted(), slot.seconds)

    def shown(self) -> list[RunningJob]:
        """The jobs that run now, for the page; at most RUNNING_SHOWN_MAX."""
        running = islice(self._running(), RUNNING_SHOWN_MAX)
        return [RunningJob(str(claimed.job_id), claimed.task.type, round(slot.seconds, 1)) for slot, claimed in running]

    def running_in(self) -> dict[str, int]:
        """How many jobs run now, by queue."""
        return dict(Counter(claimed.task.options.queue for _, claimed in self._running()))

    def tree(self, run: ClaimedJob, worker: str) -> JobTree | None:
        """What goes on inside this run; None: it does not run here now. `worker`: our name, for people."""
        for slot, claimed in self._running():
            if (claimed.token, claimed.job_id) == run:
                return slot.tree(worker)
        return None

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

    def _give_up(self, slot: Slot) -> None:
        """The clean-up of a cancelled handler lasts too long: its job ends, and it keeps its slot until it returns."""
        attempt = slot.attempt
        if attempt is None or attempt.given_up or not attempt.handler.can_be_cancelled:
            return
        attempt.given_up = True
        log.error(
            "job %s (%s) was cancelled, and its clean-up takes longer than %g s: the job has ended, the handler keeps "
            "its slot until it returns", attempt.job.id, attempt.job.type, self._cancel_grace
        )  # fmt: skip
        error = f"cancelled; its clean-up took longer than {self._cancel_grace:g} s"
        self._put(attempt.claimed, Cancelled(error), slot.seconds)

    def _running(self) -> Iterator[tuple[Slot, ClaimedTask]]:
        for slot in self._slots:
            if (attempt := slot.attempt) is not None:
                yield slot, attempt.claimed

    async def _consume(self, slot: Slot, nursery: trio.Nursery, context: contextvars.Context) -> None:
        slot.frame, slot.task = inspect.currentframe(), trio.lowlevel.current_task()
        try:
            if await slot.serve():  # a job left context variables: another task goes on, in a context without them
                context.copy().run(nursery.start_soon, self._consume, slot, nursery, context)
        finally:
            slot.frame = slot.task = None

    # --- before a job starts

    def _take_at_once(self) -> Attempt | None:
        """The next job, where it needs neither a wait nor a trip; None: `_take` has to be asked.

        Jobs that fail without a run are handled here as well: a million of them (of a type that no worker knows) must
        not hold up the jobs behind them longer than other failures would.
        """
        while True:
            claimed = self._buffer.head
            if claimed is None or self._outcomes.full:
                return None
            prepared = self._prepare(claimed) if self._admission.passes_now(claimed) else None
            if prepared is None and (prepared := self._admission.refuses_now(claimed)) is None:
                return None
            self._buffer.pop()
            if isinstance(prepared, Attempt):
                return prepared
            self._put_unstarted(claimed, prepared)

    async def _take(self) -> Attempt | None:
        """The next job that may start; None once the buffer is closed. A job that may not start goes back or ends."""
        while True:
            if self._outcomes.full:
                await self._outcomes.wait_for_room()
            if (claimed := await self._buffer.take()) is None:
                return None
            try:
                refused = await self._admission.admit(claimed)
            except trio.Cancelled:
                self._put(claimed, NotStarted())
                raise
            if refused is not None:
                self._put_unstarted(claimed, refused)
                continue
            prepared = self._prepare(claimed, is_admitted=True)
            if isinstance(prepared, Attempt):
                return prepared
            self._admission.ended(claimed)
            self._put_unstarted(claimed, prepared or NotStarted())

    def _prepare(self, claimed: ClaimedTask, *, is_admitted: bool = False) -> Attempt | Outcome | None:
        """A job ready to start, or its failure; None: this worker has no handler for it."""
        task = claimed.task
        handler = self._registry.get(task.type)
        if handler is None:
            return None
        try:
            payload = handler.payload.decode(task.payload)
        except InvalidTask as error:
            return Failed(str(error), permanent=True)
        options, timeout = task.options, handler.timeout_seconds
        if options is not DEFAULTS:
            if options.expires_at is not None and claimed.counters.run == 1 and datetime.now(UTC) > options.expires_at:
                return Failed(EXPIRED, permanent=True)
            timeout = options.timeout or timeout
        job = Job(claimed.job_id, task.type, payload, claimed.counters.run, options.retries, self._context)
        return Attempt(handler, job, claimed, timeout, is_admitted)

    # --- after it has ended

    def _ended(self, attempt: Attempt, outcome: Outcome, seconds: float) -> None:
        if attempt.is_admitted:
            self._admission.ended(attempt.claimed)
        if attempt.given_up:
            return
        if type(outcome) is NotStarted:  # isinstance would take 0.1 us to say no
            self.environment.lacks(outcome.lacking)
            self._admission.ask_anew()
            self._put_unstarted(attempt.claimed, outcome)
        else:
            self._put(attempt.claimed, outcome, seconds)

    def _put_unstarted(self, claimed: ClaimedTask, outcome: Outcome) -> None:
        """Of a job that goes back, or fails without a run."""
        self._counts.given_back += type(outcome) is NotStarted
        self._put(claimed, outcome)

    def _put(self, claimed: ClaimedTask, outcome: Outcome, seconds: float | None = None) -> None:
        """Decide what follows from an outcome, count and log it once, and hand it over."""
        task = claimed.task
        counts = self._counts.types.get(task.type) or self._counts.of(task.type)
        if type(outcome) is Complete and seconds is not None:  # nearly always: what follows it would do, in a third
            self._counts.finished += 1
            self._counts.done += 1
            counts.done += 1
            counts.ran(seconds)
            if task.options is not DEFAULTS and task.options.queue != DEFAULT_QUEUE:
                self._statistics.ended(task.options.queue, outcome)
            self._outcomes.put(Ending(claimed, outcome, seconds))
            return
        verdict = outcome if isinstance(outcome, Complete) else self._judged(outcome, claimed)
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
                self._statistics.failed(claimed, verdict)
            case Cancel():
                self._counts.cancelled += 1
                counts.cancelled += 1
            case GiveBack(interrupted=True):
                self._counts.interrupted += 1
            case GiveBack(pauses=scope, delay_ms=delay_ms) if scope is not None:
                self._outcomes.put(Ending(claimed, verdict, seconds))
                self._pause(claimed, scope, delay_ms)
                return
            case Retry():
                self._counts.retried += 1
                counts.retried += 1
                self._failures.tell(logging.WARNING, "failed and will be retried", claimed, verdict)
                self._statistics.failed(claimed, verdict)
        if task.options is not DEFAULTS and task.options.queue != DEFAULT_QUEUE:
            self._statistics.ended(task.options.queue, verdict)
        self._outcomes.put(Ending(claimed, verdict, seconds))

    def _pause(self, claimed: ClaimedTask, scope: Literal["type", "group"], delay_ms: int) -> None:
        """No other job of its type, or group, starts for a while: here at once, elsewhere from the next claim on."""
        group = claimed.task.options.group if scope == "group" else None
        self._pauses[claimed.task.type if group is None else None, group] = trio.current_time() + delay_ms / 1000
        self._give_back_pausing()

    def _give_back_pausing(self) -> None:
        """What was claimed before Redis knew of a pause goes back."""
        now = trio.current_time()
        self._pauses = {scope: until for scope, until in self._pauses.items() if until > now}
        if self._pauses:
            pauses = self._pauses
            self.give_back(
                self._buffer.remove(
                    lambda each: (each.task.type, None) in pauses or (None, each.task.options.group) in pauses
                )
            )

    def _judged(self, outcome: Outcome, claimed: ClaimedTask) -> Verdict:
        counters = claimed.counters
        handler = self._registry.get(claimed.task.type)
        return decide(
            outcome,
            backoff=None if handler is None else handler.policy.backoff,
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
