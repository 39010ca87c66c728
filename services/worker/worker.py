"""One worker: claims, runs and settles jobs. Its phases are nurseries; no flag says which one it is in."""

import logging
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from random import Random
from uuid import UUID

import msgspec
import trio

from workqueue.core.engine import STATS_SECONDS, Engine, WorkerParts
from workqueue.core.errors import NeedsOperator, QueueUnavailable, StoreUnavailable
from workqueue.core.handlers import Registry
from workqueue.core.job import Job
from workqueue.core.options import DEFAULT_QUEUE
from workqueue.core.policies import Backoff
from workqueue.core.protocol import OLDEST, PROTOCOL
from workqueue.core.queue import LeaseConnection
from workqueue.core.queues import Served
from workqueue.core.settings import Settings
from workqueue.core.steps.dropped import Dropped
from workqueue.core.steps.fencing import Fencing
from workqueue.core.steps.lease import ClaimedTask, Lease
from workqueue.core.steps.limits import KeepLimits
from workqueue.core.steps.promote import Promote
from workqueue.core.steps.recover import Farewell
from workqueue.core.steps.until_answered import OnFailure, UntilAnswered, ignore_failure
from workqueue.services.published import Published, WorkerState
from workqueue.services.worker.bell import QUEUES_SECONDS, Bell
from workqueue.services.worker.claiming import Claiming
from workqueue.services.worker.control import LOOK_SECONDS, Control
from workqueue.services.worker.heartbeats import Heartbeats
from workqueue.services.worker.inspecting import Inspecting
from workqueue.services.worker.lease_thread import RENEWALS_PER_TERM, LeaseThread
from workqueue.services.worker.leases import Leases
from workqueue.services.worker.metrics import Counts, Gauges, Snapshot
from workqueue.services.worker.peers import Peers, find_incompatible_worker
from workqueue.services.worker.running.admission import Admission, FreshLease, KnownType, Machine, Suspects
from workqueue.services.worker.running.attempt import Attempt
from workqueue.services.worker.running.buffer import Buffer
from workqueue.services.worker.running.consumers import Consumers
from workqueue.services.worker.running.context import WorkerContext
from workqueue.services.worker.running.environment import Environment
from workqueue.services.worker.running.outcomes import Outcomes
from workqueue.services.worker.running.reports import EVERY_SECONDS, Reports
from workqueue.services.worker.running.statistics import Statistics
from workqueue.services.worker.upkeep import repeat
from workqueue.services.worker.watchdog import LEASE, Watchdog
from workqueue.services.worker.wishes import QUIET, Wishes

log = logging.getLogger(__name__)

INSTALLATION_SECONDS = 1.0  #: between two checks that our database is the one of the queue
INCOMPATIBLE_SECONDS = 1.0  #: between two looks for workers of an incompatible release
FLUSH_SECONDS = 5.0  #: to store the outcomes at a stop; after that, other workers recover the jobs
ORPHANS_SECONDS = 5.0
PAUSES_SECONDS = 1.0
LIMITS_SECONDS = 1.0
UNWIND_SECONDS = 5.0  #: for cancelled handlers to clean up; after that, the process ends with them


class Worker:
    """Puts the parts together for one process. Mutable state: that of its parts."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        registry: Registry,
        on_failure: OnFailure = ignore_failure,
        on_stop: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_failure` gets trips that go on failing, though Redis and Postgres answer the watch. `on_stop` is called
        where a person asks this worker to stop: it should make the `stop` of `run` return."""
        self._until_answered = UntilAnswered(on_failure)
        self.settings = settings
        self.queue = queue = engine.queue
        self.registry = registry
        self.name = f"{socket.gethostname()}.{os.getpid()}"
        self._version = version("workqueue")  # once: it is read from disk, and no later step may depend on the disk
        self.counts = Counts(lambda job_type: registry.get(job_type) is not None)
        self.engine = engine
        self.installation = self.engine.installation
        self.incompatible: str | None = None  #: a worker of an incompatible release that keeps this one from starting
        self.heartbeats = Heartbeats()
        self.leases = Leases(self._lost)
        self.wishes = Wishes(self._wish_heard, on_stop)
        random = Random()  # noqa: S311 - jitter, no secret
        self._buffer = Buffer()
        self._at_stop = 0  # how many jobs had gone back when the stop began
        self._dropped = Dropped()
        backoff = Backoff(settings.retry_base_seconds, settings.retry_cap_seconds)
        self._served = served = Served(settings.queue_choice)
        parts = WorkerParts(self.name, backoff, random, self._dropped, served)
        self._claim = self.engine.claim(parts, self._until_answered)
        self._outcomes = Outcomes(
            self.engine.settle(parts, self._until_answered),
            self.heartbeats,
            busy=self._buffer.__len__,
        )
        self.watchdog = Watchdog(
            self.heartbeats,
            limit_seconds=settings.stall_limit,
            describe=lambda: self.consumers.described(),
            job_in=lambda stack: self.consumers.job_in(stack),
        )
        term = settings.lease_seconds
        self._lease_thread = LeaseThread(
            partial(LeaseConnection, settings.redis_url, queue.keys, seconds=term / RENEWALS_PER_TERM),
            term_seconds=term,
            took=self.leases.take,
            lost=self.leases.lose,
            look=self.watchdog.look,
            asked=self.wishes.hear,
            on_failure=on_failure,
        )
        environment = Environment()
        types = KnownType(registry, Peers(queue), random)
        admission = Admission(
            [
                Machine(environment),
                Suspects(queue, UntilAnswered(), max_recoveries=settings.max_recoveries),
                FreshLease(self._lease_thread.is_fresh),
                types,
            ]
        )
        statistics = Statistics(self.counts, self._claim.counts.adopted)
        self._record = self.engine.record_stats(statistics.take)
        self._reports = Reports(self._attempt_of, engine.report)
        self.consumers = Consumers(
            registry,
            self._buffer,
            self._outcomes,
            self.counts,
            admission,
            types,
            environment,
            WorkerContext(engine.keeps_rows, self._attempt_of, self._reports),
            engine.parking,
            statistics,
            max_interruptions=settings.max_interruptions,
            cancel_grace=settings.cancel_grace,
        )
        self._inspecting = Inspecting(queue, partial(self.consumers.tree, worker=self.name), self._lease)
        self._control = Control(
            engine,
            self.consumers,
            self._inspecting,
            self.heartbeats,
            asked=self.wishes.hear,
            lease_id=self._lease_id,
            learn_queues=lambda names: self._bell.learn(names),
            limits_changed=lambda: self._limits_changed.set(),
        )
        self._claiming = Claiming(
            self._claim,
            self.leases,
            self._buffer,
            self.consumers,
            self._outcomes,
            self.counts,
            self.heartbeats,
            random,
            may_claim=self._may_work,
            is_quiet=lambda: self.wishes.state is WorkerState.QUIET,
            waits_for_default=self._waits_for_default,
        )
        self._bell = Bell(queue, served, self.heartbeats, self._claiming.wait_idle, self._claiming.ring)
        engine.limiting.on_use = self._bell.need
        self._limits_changed = trio.Event()
        self._keep_limits = KeepLimits(queue, engine.limiting, self._held)
        self._observe = Fencing(
            queue, term_seconds=term, mine=self._lease_id, steady_since=self._lease_thread.steady_since
        )
        self._orphans = self.engine.orphans(term_seconds=term)
        recover = partial(self.engine.recover, parts, self._until_answered, max_recoveries=settings.max_recoveries)
        self.recover = recover()
        self.recover_orphans = recover()

    # --- life

    async def wait_for_installation(self) -> None:
        """Wait until our database is the one of the queue (Installation logs why). Called before `run`."""
        while True:
            await self._until_answered(self.installation.run_once)
            if self.installation.may_work:
                return
            await trio.sleep(INSTALLATION_SECONDS)

    async def wait_for_incompatible_workers(self) -> None:
        """Wait until no worker of an incompatible release is alive. Before `run`; lasts through outages."""
        look = partial(find_incompatible_worker, self.queue, lease_seconds=self.settings.lease_seconds)
        while (found := await self._until_answered(look)) is not None:
            if found != self.incompatible:
                log.warning("waiting: %s", found)
            self.incompatible = found
            await trio.sleep(INCOMPATIBLE_SECONDS)
        self.incompatible = None

    async def run(
        self, stop: Callable[[], Awaitable[None]], skip_grace: Callable[[], Awaitable[None]], ready: Callable[[], None]
    ) -> None:
        """Work until `stop` returns; then finish what runs, within the grace or until `skip_grace` returns.

        `ready` is called once jobs can be taken. At the end nothing is left: the jobs that ran are settled or given
        back, and the lease is released last of all. Cancelled: ends at once; another worker recovers the lease.
        """
        async with trio.open_nursery() as services:
            self._publish()
            await services.start(self.watchdog.beat)
            await services.start(self._keep_lease)
            async with trio.open_nursery() as starting:
                starting.start_soon(_cancel_after, stop, starting.cancel_scope)
                await self.leases.wait()
                await self._until_answered(self._look_at_pauses)  # this Redis may have lost them
                await self._until_answered(self._declare_limits)
                await self._until_answered(self._look_at_limits)
                await self._until_answered(self._bell.look)
                starting.cancel_scope.cancel()
            if self.leases.current is None:
                services.cancel_scope.cancel()
                return
            await services.start(self._outcomes.run)
            async with trio.open_nursery() as upkeep:
                await self._start_upkeep(upkeep)
                ready()
                await self._work(stop, skip_grace)
                await self._flush()
                upkeep.cancel_scope.cancel()
            await self._leave()
            self._dropped.tell(at_once=True)
            services.cancel_scope.cancel()

    def _attempt_of(self, job: Job) -> Attempt | None:
        return self.consumers.attempt_of(job)

    async def _keep_lease(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with self.heartbeats.service(LEASE) as heartbeat:
            await self._lease_thread.run(heartbeat, task_status=task_status)

    async def _start_upkeep(self, upkeep: trio.Nursery) -> None:
        loops: list[tuple[str, Callable[[], Awaitable[bool | None]], float]] = [
            ("promote", Promote(self.queue).run_once, 0.1),
            ("publish", self._publish_soon, 1.0),
            ("observe", self._observe_and_recover, 1.0),
            ("orphans", self._recover_orphans, ORPHANS_SECONDS),
            ("cancellations", self._control.look, LOOK_SECONDS),
            ("reports", self._reports.run_once, EVERY_SECONDS),
            ("pauses", self._look_at_pauses, PAUSES_SECONDS),
            ("statistics", self._record, STATS_SECONDS),
            ("queues", self._bell.look, QUEUES_SECONDS),
        ]
        steps = [*self.engine.upkeep(self.settings.keep), *self.engine.declare(self.registry.schedules)]
        loops += [(step.name, step.run_once, step.every_seconds) for step in steps]
        for name, run_once, every in loops:
            ours = partial(self._unless_refused, run_once)
            await upkeep.start(partial(repeat, ours, every_seconds=every, name=name, heartbeats=self.heartbeats))
        look = partial(repeat, self._look_whose_rows, every_seconds=INSTALLATION_SECONDS)
        await upkeep.start(partial(look, name="installation", heartbeats=self.heartbeats))
        await upkeep.start(self._watch_limits)
        await upkeep.start(self._watch_slots)
        upkeep.start_soon(self._inspecting.run)
        await upkeep.start(self._control.listen)
        await upkeep.start(self._bell.listen)
        await upkeep.start(self._push_notified)

    async def _push_notified(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with self.heartbeats.service("notifications") as heartbeat:
            task_status.started()
            await self.engine.push_notified(heartbeat)

    def _waits_for_default(self) -> bool:
        return self._served.takes_default and DEFAULT_QUEUE not in self.engine.parking.known.queues

    def _may_work(self) -> bool:
        return self.installation.refusal is None

    async def _unless_refused(self, run_once: Callable[[], Awaitable[bool | None]]) -> bool | None:
        return await run_once() if self._may_work() else None

    async def _look_whose_rows(self) -> None:
        """Give back jobs that have not started where the queue has rows in a database that is not ours."""
        await self.installation.run_once()
        if not self._may_work():
            self.consumers.give_back(self._buffer.drain())

    async def _look_at_pauses(self) -> None:
        await self.engine.look_at_pauses()
        self.consumers.give_back_paused()

    async def _declare_limits(self) -> None:
        await self.engine.declare_limits(self.registry.limits, self.registry.types)

    async def _look_at_limits(self) -> None:
        await self.engine.look_at_limits()
        await self._keep_limits.run_once()

    async def _watch_limits(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look at the limits each second, and at once when they have changed."""
        look = partial(self._unless_refused, self._look_at_limits)
        await repeat(
            look, every_seconds=LIMITS_SECONDS, name="limits", heartbeats=self.heartbeats, task_status=task_status,
            sooner=self._wait_for_limits,
        )  # fmt: skip

    async def _wait_for_limits(self) -> None:
        await self._limits_changed.wait()
        self._limits_changed = trio.Event()

    def _held(self) -> list[ClaimedTask]:
        """What this worker has claimed and not settled, under its lease."""
        lease = self.leases.current
        return [] if lease is None else list(lease.tasks.values())

    async def _watch_slots(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Stops beating when abandoned threads hold every slot, so that the watchdog replaces the process."""
        with self.heartbeats.service("slots") as heartbeat:
            task_status.started()
            while True:
                if self.consumers.threads_left < self.settings.worker_concurrency:
                    heartbeat(1.0)
                await trio.sleep(0.5)

    async def _work(self, stop: Callable[[], Awaitable[None]], skip_grace: Callable[[], Awaitable[None]]) -> None:
        grace = self.settings.shutdown_grace
        async with trio.open_nursery() as waiting:
            if self.consumers.needs_asyncio:
                await waiting.start(self.consumers.serve_asyncio)
            waiting.start_soon(self.consumers.watch)
            waiting.start_soon(self.consumers.environment.watch)
            async with trio.open_nursery() as running:
                async with trio.open_nursery() as claims:
                    self.consumers.start(running, self.settings.worker_concurrency)
                    claims.start_soon(self._claiming.run)
                    await stop()
                    self._at_stop = self._went_back
                    self.wishes.stopping()
                    self._claiming.end_soon()
                    claims.cancel_scope.cancel()
                log.info(
                    "stopping: %d jobs run and get %g s, %d go back", len(self.consumers), grace, len(self._buffer)
                )
                self._buffer.close()
                self.consumers.give_back(self._buffer.drain())
                running.cancel_scope.deadline = trio.current_time() + grace
                waiting.start_soon(_cancel_after, skip_grace, running.cancel_scope)
                waiting.start_soon(self._end_after, grace + UNWIND_SECONDS, skip_grace)
            waiting.cancel_scope.cancel()

    async def _end_after(self, seconds: float, skip_grace: Callable[[], Awaitable[None]]) -> None:
        """The last resort: a handler that ignores its cancellation must not hold up the end of the process."""
        with trio.move_on_after(seconds):
            await skip_grace()
            await trio.sleep(UNWIND_SECONDS)
        self.consumers.abandon()
        with trio.CancelScope(shield=True):
            await self._flush()
            await self._leave()
        logging.shutdown()
        os._exit(1)

    async def _flush(self) -> None:
        """Store the outcomes that are left, what goes back, and what jobs have told."""
        with trio.move_on_after(FLUSH_SECONDS, shield=True) as flush:
            await self._outcomes.wait_empty()
            with suppress(StoreUnavailable):  # of what was told, the last moments are lost
                while await self._reports.run_once():
                    pass
                await self._record()
        if flush.cancelled_caught:
            log.warning("stopped with %d outcomes that could not be stored: other workers will run these jobs again",
                        len(self._outcomes))  # fmt: skip

    async def _leave(self) -> None:
        """Give back jobs of claims whose answers were lost, and release the lease, last of all."""
        lease = self.leases.current
        if lease is None:
            return
        with trio.move_on_after(FLUSH_SECONDS, shield=True) as leaving:
            await self._lease_thread.stop()  # or it would take the next lease
            try:
                await self.queue.end(lease.id)  # from here on no late claim of ours takes anything
                await self._claim.audit(lease)  # what had not started goes back uncounted
                await self.engine.clear()
            except (QueueUnavailable, StoreUnavailable) as error:
                log.warning("could not release the lease, another worker will recover it: %s", error)
            else:
                farewell = Farewell(self._description(), self._went_back - self._at_stop)
                await self.recover.run_once(lease.id, farewell)
        if leaving.cancelled_caught:
            log.warning("could not release the lease, another worker will recover it: no answer in time")

    @property
    def _went_back(self) -> int:
        """Jobs that this worker has given back so far, started or not."""
        return self.counts.given_back + self.counts.interrupted

    # --- leases, ours and those of others

    def _lease(self) -> Lease | None:
        return self.leases.current

    def _lease_id(self) -> UUID | None:
        return None if self.leases.current is None else self.leases.current.id

    def _lost(self, lease: Lease) -> None:
        """Redis no longer knows the lease, so other workers may run our jobs: cancel them, and give back the rest."""
        log.error("lease %s is lost: %d running jobs are cancelled", lease.id, len(self.consumers))
        self.consumers.interrupt(lease)
        self.consumers.give_back(self._buffer.drain())

    async def _observe_and_recover(self) -> None:
        while self.leases.lost:  # this worker is the first to know of its own
            await self.recover.run_once(self.leases.lost[0])
            del self.leases.lost[0]
        for lease in await self._observe.run_once():
            await self.recover.run_once(lease)

    async def _recover_orphans(self) -> None:
        for lease in await self._orphans.run_once():
            await self.recover_orphans.run_once(lease)

    @property
    def can_claim(self) -> bool:
        """Is there a lease, and is it fresh, so that jobs may be started?"""
        return (lease := self.leases.current) is not None and self._lease_thread.is_fresh(lease)

    # --- what others see

    async def check_redis(self) -> None:
        """Raise NeedsOperator or QueueUnavailable unless Redis is fit for this worker, its own keys included."""
        await self.queue.check(lease=self._lease_id())

    async def faults(self) -> dict[str, str]:
        """The reasons why this worker takes no jobs, by dependency, each with its remedy; empty: it is ready."""
        faults: dict[str, str] = {}
        try:
            await self.check_redis()
        except NeedsOperator as error:
            faults["redis"] = str(error)
        except QueueUnavailable as error:
            faults["redis"] = f"{str(error).rstrip('.')}. Check REDIS_URL and that the server runs"
        if (fault := await self.engine.rows_fault()) is not None:
            faults["postgres"] = fault
        if self.installation.refusal is not None:
            faults.setdefault("postgres", self.installation.refusal)
        if (lacking := self.consumers.environment.fault) is not None:
            faults["machine"] = lacking
        if self.wishes.state is WorkerState.QUIET:
            faults["worker"] = QUIET
        if not faults and self.incompatible is not None:
            faults["workers"] = self.incompatible
        elif not faults and not self.can_claim:
            why = f" ({failed})" if (failed := self._lease_thread.error) else ""
            faults["lease"] = f"this worker has no fresh lease; it takes one as soon as Redis lets it{why}"
        return faults

    async def snapshot(self) -> Snapshot:
        """All metrics of a scrape. Raises QueueUnavailable."""
        gauges = await self.gauges()
        return Snapshot(self.counts.done, self.jobs_failed, self.counts.given_back, self.counts.types, gauges)

    async def gauges(self) -> Gauges:
        """The values that are read at the moment of a scrape. Raises QueueUnavailable."""
        depths = await self.queue.depths()
        recovered = (self.recover.counts, self.recover_orphans.counts)
        return Gauges(
            ready=depths.ready,
            scheduled=depths.scheduled,
            dead=depths.dead,
            parked=sum(depths.parked.values()),
            running=len(self.consumers),
            buffered=len(self._buffer),
            unsettled=len(self._outcomes),
            threads_left=self.consumers.threads_left,
            copies=self._claim.counts.duplicates,
            invalid=self._claim.counts.invalid,
            concurrency=self.settings.worker_concurrency,
            recovered_leases=sum(counts.leases for counts in recovered),
            recovered_jobs=sum(counts.jobs for counts in recovered),
            poisoned_jobs=sum(counts.failed for counts in recovered),
            reconciled_jobs=self.engine.loss.jobs,
            dropped_letters=self._dropped.total,
            blocked=self.watchdog.counts.blocked,
            blocked_seconds=self.watchdog.counts.blocked_seconds,
        )

    @property
    def jobs_failed(self) -> int:
        """Jobs that failed for good, and elements that were no tasks."""
        return self.counts.failed + self._claim.counts.invalid

    async def _publish_soon(self) -> None:
        self._publish()
        self._dropped.tell()

    def _wish_heard(self) -> None:
        if self.wishes.state is WorkerState.QUIET:
            self.consumers.give_back(self._buffer.drain())
        self._lease_thread.publish(self._description(), at_once=True)

    def _publish(self) -> None:
        self._lease_thread.publish(self._description())

    def _description(self) -> bytes:
        published = Published(
            name=self.name,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=self._version,
            protocol=PROTOCOL,
            oldest=OLDEST,
            concurrency=self.settings.worker_concurrency,
            types=self.registry.types,
            running=self.consumers.shown(),
            running_in=self.consumers.running_in(),
            jobs_done=self.counts.done,
            jobs_failed=self.jobs_failed,
            uptime_seconds=round(self.counts.uptime_seconds, 1),
            state=self.wishes.state,
            lease_seconds=self.settings.lease_seconds,
        )
        return msgspec.json.encode(published)


async def _cancel_after(wait: Callable[[], Awaitable[None]], scope: trio.CancelScope) -> None:
    await wait()
    scope.cancel()
