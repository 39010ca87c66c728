"""One worker: claims, runs and settles jobs. Its phases are nurseries; no flag says which one it is in."""

import contextvars
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable
from functools import partial
from importlib.metadata import version
from random import Random
from uuid import UUID

import msgspec
import trio

from core.errors import InvalidTask, LeaseLost, QueueUnavailable, StoreUnavailable
from core.handlers import Registry
from core.job import Job
from core.outcome import Bury, Complete, Failed, Interrupted, NotStarted, Outcome, Retry, judge
from core.queue import LeaseConnection, Queue
from core.retry import RetryPolicy
from core.settings import Settings
from core.steps.claim import AUDIT_SECONDS, CLAIM_MAX, Claim
from core.steps.lease import Held, Lease
from core.steps.marks import Ledger
from core.steps.settle import Settle, Settled
from core.steps.sweep import Promote, Sweep
from core.store import JobStore
from core.wire import decode_payload
from services.worker.attempt import Attempt
from services.worker.buffer import Buffer
from services.worker.lease_thread import RENEWALS_PER_TERM, LeaseThread
from services.worker.metrics import Counts, Gauges
from services.worker.outcomes import Outcomes
from services.worker.peers import Peers, Published, RunningJob
from services.worker.prefetch import STALE_SECONDS, Prefetch
from services.worker.upkeep import repeat

log = logging.getLogger(__name__)

UNKNOWN_TYPE_DELAY_MS = 1000
UNKNOWN_TYPE_PAUSE_SECONDS = 0.1
RUNNING_SHOWN_MAX = 100
CLAIM_STOP_SECONDS = 1.0  #: for a claim that is under way at a stop
FLUSH_SECONDS = 5.0  #: for what has ended, to be stored at a stop; beyond, the lease leaves it to others
UNWIND_SECONDS = 5.0  #: for cancelled handlers to clean up; beyond, the process ends with them


class Running:
    """A job that runs now."""

    __slots__ = ("attempt", "held", "started_at")

    def __init__(self, held: Held, attempt: Attempt) -> None:
        self.held = held
        self.attempt = attempt
        self.started_at = trio.current_time()


class Worker:
    """Puts the parts together for one process.

    Mutable state: `lease`, replaced on the word of the lease thread; `_running`, kept by the consumers; `beats`, the
    last sign of life of each service (time.monotonic()).
    """

    def __init__(self, settings: Settings, queue: Queue, store: JobStore | None, registry: Registry) -> None:
        self.settings = settings
        self.queue = queue
        self.store = store
        self.registry = registry
        self.name = f"{socket.gethostname()}.{os.getpid()}"
        self.counts = Counts()
        self.beats: dict[str, float] = {}
        self.lease: Lease | None = None
        self.threads_left = 0
        self._leased = trio.Event()
        self._buffer = Buffer()
        self._ledger = Ledger()
        self._claim = Claim(queue, store, self._ledger, self.name)
        policy = RetryPolicy(settings.retry_base_seconds, settings.retry_cap_seconds)
        self._random = Random()  # noqa: S311 - jitter, no secret
        settle = Settle(queue, store, self._ledger, policy, self._random)
        self._outcomes = Outcomes(settle, partial(self._beat, "settle"))
        self._peers = Peers(queue)
        self._prefetch = Prefetch()
        self._running: dict[UUID, Running] = {}
        self._let_others_first = False
        self._claiming = trio.CancelScope()  #: of the claim that is under way
        self._threads = trio.CapacityLimiter(10_000)
        self._lease_thread = LeaseThread(
            partial(
                LeaseConnection,
                settings.redis_url,
                queue.keys,
                seconds=settings.lease_seconds / RENEWALS_PER_TERM,
            ),
            term_seconds=settings.lease_seconds,
            took=self._took_lease,
            lost=self._lost_lease,
        )

    # --- life

    async def run(
        self, stop: Callable[[], Awaitable[None]], hurry: Callable[[], Awaitable[None]], ready: Callable[[], None]
    ) -> None:
        """Work until `stop` returns; then finish what runs, within the grace or until `hurry` returns.

        `ready` is called once jobs can be taken. At the end nothing is left: what ran is settled or given back, the
        lease is gone last of all. Cancelled: ends at once, and whoever recovers the lease does the rest.
        """
        async with trio.open_nursery() as services:
            self._publish()
            await services.start(self._lease_thread.run)
            async with trio.open_nursery() as starting:
                starting.start_soon(_cancel_after, stop, starting.cancel_scope)
                await self._leased.wait()
                starting.cancel_scope.cancel()
            if not self._leased.is_set():
                services.cancel_scope.cancel()
                return
            await services.start(self._outcomes.run)
            async with trio.open_nursery() as upkeep:
                await self._start_upkeep(upkeep)
                ready()
                await self._work(stop, hurry)
                await self._flush()
                upkeep.cancel_scope.cancel()
            await self._leave()
            services.cancel_scope.cancel()

    async def _start_upkeep(self, upkeep: trio.Nursery) -> None:
        loops: list[tuple[str, Callable[[], Awaitable[bool | None]], float]] = [
            ("promote", Promote(self.queue).run_once, 0.1),
            ("publish", self._publish_soon, 1.0),
            ("stale", self._give_back_stale, STALE_SECONDS / 2),
        ]
        if self.store is not None:
            loops.append(("sweep", Sweep(self.queue, self.store).run_once, 2.0))
            loops.append(("marks", partial(self._ledger.clear, self.store), 1.0))
        for name, run_once, every in loops:
            await upkeep.start(partial(repeat, run_once, every_seconds=every, beat=partial(self._beat, name)))

    async def _work(self, stop: Callable[[], Awaitable[None]], hurry: Callable[[], Awaitable[None]]) -> None:
        grace = self.settings.shutdown_grace
        async with trio.open_nursery() as waiting:
            async with trio.open_nursery() as running:  # every job runs in a task of this nursery
                async with trio.open_nursery() as claiming:
                    for _ in range(self.settings.worker_concurrency):
                        running.start_soon(self._consume, running, contextvars.copy_context())
                    claiming.start_soon(self._keep_claiming)
                    await stop()
                    self._claiming.deadline = trio.current_time() + CLAIM_STOP_SECONDS
                    claiming.cancel_scope.cancel()
                log.info("stopping: %d jobs run and get %g s, %d go back", len(self._running), grace, len(self._buffer))
                self._buffer.close()
                self._put_back(self._buffer.drain())
                running.cancel_scope.deadline = trio.current_time() + grace
                waiting.start_soon(_cancel_after, hurry, running.cancel_scope)
                waiting.start_soon(self._end_after, grace + UNWIND_SECONDS, hurry)
            waiting.cancel_scope.cancel()

    async def _end_after(self, seconds: float, hurry: Callable[[], Awaitable[None]]) -> None:
        """The last resort: a handler that does not let itself be cancelled must not hold up the end."""
        with trio.move_on_after(seconds):
            await hurry()
            await trio.sleep(UNWIND_SECONDS)
        for running in self._running.values():
            log.error("job %s (%s) ignores its cancellation: it is given back and ends with the process",
                      running.held.job_id, running.held.task.type)  # fmt: skip
            self._outcomes.put(self._judged(running.held, Interrupted(), self._seconds(running)))
        with trio.CancelScope(shield=True):
            await self._flush()
            await self._leave()
        logging.shutdown()
        os._exit(1)

    async def _flush(self) -> None:
        """Store what has ended and what goes back."""
        with trio.move_on_after(FLUSH_SECONDS, shield=True) as flush:
            await self._outcomes.wait_empty()
        if flush.cancelled_caught:
            log.warning("stopped with %d outcomes that could not be stored: others will run these jobs again",
                        len(self._outcomes))  # fmt: skip

    async def _leave(self) -> None:
        """Give back what an answer without a receiver left with us, and let go of the lease, last of all."""
        lease = self.lease
        if lease is None:
            return
        with trio.move_on_after(FLUSH_SECONDS, shield=True) as leaving:
            await self._lease_thread.stop()  # or it would take the next lease
            try:
                await self.queue.end(lease.id)  # from here on no late claim of ours takes anything
                await self._claim.audit(lease)
                if self.store is not None:
                    await self._ledger.clear(self.store)
                if not await self.queue.retire(lease.id):
                    log.warning("some tasks are left in our flight: another worker gives them back")
            except (QueueUnavailable, StoreUnavailable) as error:
                log.warning("left without a farewell, another worker does the rest: %s", error)
        if leaving.cancelled_caught:
            log.warning("left without a farewell, another worker does the rest: no answer in time")

    # --- lease

    def _took_lease(self, lease: Lease) -> None:
        if self.lease is not None:
            log.info("working under the new lease %s", lease.id)
        self.lease = lease
        self._leased.set()

    def _lost_lease(self, lease: Lease) -> None:
        """Redis's word: others may run our jobs. Cancel them; their outcomes are refused or give the rows back."""
        if lease.lost:
            return
        lease.lost = True
        log.error("lease %s is lost: %d running jobs are cancelled", lease.id, len(self._running))
        if self.lease is lease:
            self.lease, self._leased = None, trio.Event()
        for running in self._running.values():
            if running.held.lease is lease:
                running.attempt.interrupt()
        self._put_back(self._buffer.drain())

    @property
    def can_claim(self) -> bool:
        """Does the lease live and is it fresh, so that jobs may be started?"""
        return self.lease is not None and self._lease_thread.is_fresh()

    def _beat(self, service: str) -> None:
        self.beats[service] = time.monotonic()

    # --- claiming

    async def _keep_claiming(self) -> None:
        audited_at = trio.current_time()
        while True:
            self._beat("claim")
            with trio.move_on_after(1):
                await self._leased.wait()
            lease = self.lease
            if lease is None:
                continue
            try:
                if trio.current_time() - audited_at > AUDIT_SECONDS:
                    audited_at = trio.current_time()
                    if given := await self._claim.audit(lease):
                        log.info("gave back %d jobs that an answer without a receiver had left with us", given)
                if self._let_others_first:  # whoever knows the type should be at the list before us
                    self._let_others_first = False
                    await trio.sleep(UNKNOWN_TYPE_PAUSE_SECONDS)
                if (count := self._room()) < 1:
                    with trio.move_on_after(1):
                        await self._buffer.wait_for_room()
                    continue
                # Shielded, so that a stop leaves no claim half done; bounded by _work, because an outage may last.
                with trio.CancelScope(shield=True) as self._claiming:
                    held = await self._claim.run_once(lease, count)
                    self._buffer.extend(held)
                if self._claiming.cancelled_caught:
                    continue  # the audit gives back what it got
                if not held:
                    await self.queue.wait_for_task()
            except LeaseLost:
                self._lost_lease(lease)
            except (QueueUnavailable, StoreUnavailable):
                await trio.sleep(self._random.uniform(0.2, 0.8))

    def _room(self) -> int:
        """How many jobs to claim now; under a backlog of outcomes none."""
        if self._outcomes.full:
            return 0
        idle = self._buffer.idle
        ahead = self._prefetch.target(self.counts.finished)
        waiting = len(self._buffer)
        if waiting > ahead // 2 and waiting >= idle:
            return 0  # half of it is still there: a larger batch is cheaper
        return min(idle + ahead - waiting, CLAIM_MAX)

    async def _give_back_stale(self) -> None:
        """What waits too long behind a long job goes back, where an idle worker may take it."""
        since = self._buffer.waiting_since()
        if since is not None and trio.current_time() - since > STALE_SECONDS and not self._buffer.idle:
            self._prefetch.reset(self.counts.finished)
            self._put_back(self._buffer.drain())

    def _put_back(self, items: list[Held]) -> None:
        for held in items:
            self.counts.given_back += 1
            self._outcomes.put(self._judged(held, NotStarted(), None))

    # --- consuming

    async def _consume(self, running: trio.Nursery, context: contextvars.Context) -> None:
        """Run jobs one after the other until the buffer is closed."""
        clean = dict(context)
        while (held := await self._buffer.take()) is not None:
            await self._run(held)
            if dict(contextvars.copy_context()) != clean:
                # A handler set context variables: they must not reach the next job, so another task goes on.
                context.copy().run(running.start_soon, self._consume, running, context)
                return

    async def _run(self, held: Held) -> None:
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
            settled = self._judged(held, outcome, self._seconds(running))
            self._outcomes.put(settled)
        if not prepared.thread_ended.is_set():
            await self._wait_for_thread(held, prepared)
        await self._outcomes.wait_for_room()

    async def _prepare(self, held: Held) -> Attempt | Outcome:
        """What has to be true before a job starts; else its outcome."""
        # An outage, or we woke from a freeze: the lease thread finds out which, and has no event to tell by.
        while not (self._lease_thread.is_fresh() or held.lease.lost):  # noqa: ASYNC110
            await trio.sleep(0.1)
        if held.lease.lost:
            return NotStarted()
        handler = self.registry.get(held.task.type)
        if handler is None:
            try:
                known = await self._peers.know(held.task.type)
            except QueueUnavailable:
                known = True  # nobody knows; it comes again
            if not known:
                return Failed(f"unsupported task type: {held.task.type}")
            self._let_others_first = True
            return NotStarted(int(UNKNOWN_TYPE_DELAY_MS * self._random.uniform(0.5, 1.5)))
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
            keeps_artifacts=self.store is not None,
        )
        return Attempt(handler, job, self._threads)

    async def _wait_for_thread(self, held: Held, attempt: Attempt) -> None:
        """A thread that outlives its job keeps its place, and is counted."""
        log.warning("job %s (%s) has ended, its thread goes on and keeps its place", held.job_id, held.task.type)
        self.threads_left += 1
        try:
            await attempt.thread_ended.wait()
        finally:
            self.threads_left -= 1

    def _seconds(self, running: Running) -> float:
        return trio.current_time() - running.started_at

    def _judged(self, held: Held, outcome: Outcome, seconds: float | None) -> Settled:
        """What follows from an outcome; counted here, once."""
        if seconds is not None:
            self.counts.ran(held.task.type, seconds)
        verdict = judge(outcome, failures=held.counters.attempts, retries=held.task.retries)
        counts = self.counts.of(held.task.type)
        match verdict:
            case Complete():
                self.counts.done += 1
                counts.done += 1
            case Bury(error):
                self.counts.failed += 1
                counts.failed += 1
                log.error("job %s (%s) failed: %s", held.job_id, held.task.type, error,
                          extra={"traceback": verdict.traceback})  # fmt: skip
            case Retry(error):
                self.counts.retried += 1
                counts.retried += 1
                log.warning("job %s (%s) failed and will be retried: %s", held.job_id, held.task.type, error,
                            extra={"traceback": verdict.traceback})  # fmt: skip
        return Settled(held, verdict, seconds)

    # --- what others see

    async def gauges(self) -> Gauges:
        """What a scrape shows. Raises QueueUnavailable."""
        depths = await self.queue.depths()
        return Gauges(
            ready=depths.ready,
            scheduled=depths.scheduled,
            dead=depths.dead,
            running=len(self._running),
            buffered=len(self._buffer),
            unsettled=len(self._outcomes),
            threads_left=self.threads_left,
            copies=self._claim.counts.copies,
            invalid=self._claim.counts.invalid,
            concurrency=self.settings.worker_concurrency,
        )

    @property
    def jobs_failed(self) -> int:
        """Jobs that failed for good, and elements that were no tasks."""
        return self.counts.failed + self._claim.counts.invalid

    async def _publish_soon(self) -> None:
        self._publish()

    def _publish(self) -> None:
        now = trio.current_time()
        shown = list(self._running.values())[:RUNNING_SHOWN_MAX]
        published = Published(
            name=self.name,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=version("workqueue"),
            concurrency=self.settings.worker_concurrency,
            types=self.registry.types,
            running=[
                RunningJob(str(run.held.job_id), run.held.task.type, round(now - run.started_at, 1)) for run in shown
            ],
            jobs_done=self.counts.done,
            jobs_failed=self.jobs_failed,
            uptime_seconds=round(self.counts.uptime_seconds, 1),
        )
        self._lease_thread.publish(msgspec.json.encode(published))


async def _cancel_after(wait: Callable[[], Awaitable[None]], scope: trio.CancelScope) -> None:
    await wait()
    scope.cancel()
