"""Engine: the steps of one queue, chosen once: Redis only, or with rows in Postgres.

Producer, worker, command line, benchmarks and clients get their steps here, and ask nowhere else which it is.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from time import time_ns
from typing import Protocol
from uuid import UUID

from msgspec import Struct, field

from workqueue.core.bridge import Bridge
from workqueue.core.control import ClaimedJob
from workqueue.core.errors import JobsNotStored, StoreUnavailable
from workqueue.core.limits import Limit, Limits
from workqueue.core.policies import Backoff
from workqueue.core.queue import Queue, open_queue
from workqueue.core.queues import QueueChoice, Served
from workqueue.core.report import JobReport
from workqueue.core.schedules import Schedule
from workqueue.core.settings import Keep, Settings
from workqueue.core.stats import Sums
from workqueue.core.steps.actions import Actions
from workqueue.core.steps.acts import Acts
from workqueue.core.steps.audit import Audit
from workqueue.core.steps.claim import Claim, TaskClaims
from workqueue.core.steps.claim_rows import RowClaims
from workqueue.core.steps.dead_acts import DeadLetters, RowsDecide
from workqueue.core.steps.dead_letters import Discards
from workqueue.core.steps.dropped import Dropped
from workqueue.core.steps.expiry import PruneActions, PruneAudit, PruneDeleted, PruneKeys, PruneUnique
from workqueue.core.steps.far_off import BRING_SECONDS, FarOff
from workqueue.core.steps.installation import Installation, no_database
from workqueue.core.steps.limit_acts import LimitActs
from workqueue.core.steps.limits import Limiting, LookAtLimits, SweepPermits
from workqueue.core.steps.notified import Notified
from workqueue.core.steps.orphans import Orphans
from workqueue.core.steps.outbox import OutboxRelay
from workqueue.core.steps.pauses import Parking, Pauses
from workqueue.core.steps.piggyback import Piggyback
from workqueue.core.steps.recover import Flight, Recover
from workqueue.core.steps.recover_rows import RowRecovery
from workqueue.core.steps.recover_tasks import TaskRecovery
from workqueue.core.steps.redis_loss import LossCounts, RedisLoss
from workqueue.core.steps.retention import Retention
from workqueue.core.steps.schedule_tasks import FireTasks
from workqueue.core.steps.schedules import DECLARE_SECONDS, FIRE_SECONDS, DeclareSchedules, FireSchedules
from workqueue.core.steps.settle import Departures, Settle
from workqueue.core.steps.settle_rows import RowEndings
from workqueue.core.steps.settle_tasks import TaskEndings
from workqueue.core.steps.stats import PruneStats, RecordStats
from workqueue.core.steps.submit import Submit, SubmitRows, SubmitTasks
from workqueue.core.steps.submit_once import SubmitOnce, SubmitOnceRows, SubmitOnceTasks
from workqueue.core.steps.submit_unique import SubmitUnique, SubmitUniqueRows, SubmitUniqueTasks
from workqueue.core.steps.until_answered import UntilAnswered
from workqueue.core.store import JobStore, open_store

RETENTION_SECONDS = 10.0  #: between two looks for jobs that are older than they may be
ACTIONS_SECONDS = 1.0  #: between two looks for what a person has asked for
STATS_SECONDS = 5.0  #: between two additions to the stored statistics
UNIQUE_SECONDS = 10.0  #: between two looks at a piece of the unique keys
PERMITS_SECONDS = 5.0  #: between two looks for permits of workers that are gone
PRUNE_SECONDS = 60.0  #: between two looks for idempotency keys that have expired


class WorkerParts(Struct):
    """What the steps of one worker share."""

    name: str  #: of the worker, for people
    backoff: Backoff
    random: Random
    dropped: Dropped
    served: Served = field(default_factory=lambda: Served(QueueChoice()))


class Upkeep(Struct):
    """A step that each worker repeats."""

    name: str
    every_seconds: float
    run_once: Callable[[], Awaitable[bool | None]]  #: True: there is more to do at once


class Engine(Protocol):
    """The steps of one queue. Each method makes new ones, but for what they share: the piggyback."""

    @property
    def queue(self) -> Queue: ...

    @property
    def keeps_rows(self) -> bool:
        """Do jobs have rows, with ids that can be asked for, results and artifacts?"""

    def rows(self) -> JobStore:
        """The rows, for readers. Raises JobsNotStored."""

    @property
    def installation(self) -> Installation: ...

    @property
    def submit(self) -> Submit: ...

    def submit_once(self, *, ttl_seconds: float) -> SubmitOnce: ...

    def submit_unique(self, *, ttl_seconds: float) -> SubmitUnique:
        """`ttl_seconds`: for which an idempotency key is kept that comes along."""

    def claim(self, worker: WorkerParts, until_answered: UntilAnswered) -> Claim: ...

    def settle(self, worker: WorkerParts, until_answered: UntilAnswered) -> Settle: ...

    def recover(self, worker: WorkerParts, until_answered: UntilAnswered, *, max_recoveries: int) -> Recover: ...

    def orphans(self, *, term_seconds: float) -> Orphans: ...

    @property
    def loss(self) -> LossCounts: ...

    def acts(self) -> Acts:
        """What a person may do to jobs. Raises JobsNotStored."""

    def dead_letters(self) -> DeadLetters:
        """What a person may do with what could not run."""

    @property
    def parking(self) -> Parking:
        """What this process knows of the types that are paused."""

    @property
    def limiting(self) -> Limiting:
        """What this process knows of the limits."""

    def pauses(self) -> Pauses:
        """Pause and resume types. Raises JobsNotStored."""

    def limit_acts(self) -> LimitActs:
        """Set limits and take them away. Raises JobsNotStored."""

    def audit(self) -> Audit:
        """Who does what to dead letters; acts on rows leave their rows themselves."""

    async def cancelled(self, ids: Sequence[UUID]) -> list[ClaimedJob]:
        """The runs of these jobs that a person has cancelled. Raises StoreUnavailable."""

    async def report(self, reports: Sequence[JobReport]) -> None:
        """Store what running jobs have told. Raises StoreUnavailable."""

    def record_stats(self, take: Callable[[], Sums]) -> Callable[[], Awaitable[None]]:
        """A step that stores what `take` returns, for each process one, to be called each STATS_SECONDS. It raises
        StoreUnavailable."""

    async def rows_fault(self) -> str | None:
        """What keeps rows from being written, and what to do; None: nothing does."""

    async def look_at_pauses(self) -> None:
        """Learn what is paused, and bring Redis up to date. Raises QueueUnavailable, StoreUnavailable."""

    async def look_at_limits(self) -> None:
        """Learn the limits. Raises QueueUnavailable, StoreUnavailable."""

    async def declare_limits(self, declared: Mapping[str, Limit], types: Collection[str]) -> None:
        """Note the limits, by scope, that this process declares in its code, which has handlers for `types`. Raises
        QueueUnavailable, StoreUnavailable."""

    def upkeep(self, keep: Keep) -> list[Upkeep]:
        """What is to be repeated besides promotion, fencing and recovery; `keep`: how long jobs are kept."""

    def declare(self, schedules: Sequence[Schedule]) -> list[Upkeep]:
        """What is to be repeated for the schedules that this process declares in its code."""

    async def look_for_loss(self) -> None:
        """The first look, before anything is accepted: what it finds pending it takes for lost with Redis, because
        nothing is known yet. Raises QueueUnavailable, StoreUnavailable."""

    async def push_notified(self, beat: Callable[[float], None] = lambda seconds: None) -> None:
        """Push what is enqueued by SQL, as it happens, until cancelled. `beat` gets the seconds until its next call."""

    async def clear(self) -> None:
        """Delete what no statement has taken along. Raises StoreUnavailable."""


class TaskEngine:
    """Redis only: the task is all there is."""

    keeps_rows = False

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.loss = LossCounts()
        self.parking = Parking(queue)
        self.limiting = Limiting(queue)
        self.installation = Installation(queue, no_database)
        self.submit: Submit = SubmitTasks(queue)
        self._piggyback = Piggyback()

    def rows(self) -> JobStore:
        raise JobsNotStored("jobs are stored only with DATABASE_URL")

    def submit_once(self, *, ttl_seconds: float) -> SubmitOnce:
        return SubmitOnceTasks(self.queue, ttl_seconds=ttl_seconds)

    def submit_unique(self, *, ttl_seconds: float) -> SubmitUnique:
        return SubmitUniqueTasks(self.queue, ttl_seconds=ttl_seconds)

    def claim(self, worker: WorkerParts, until_answered: UntilAnswered) -> Claim:
        discards = Discards(self.queue, until_answered, worker.dropped)
        claims = TaskClaims(self.queue, until_answered)
        return Claim(self.queue, claims, discards, self.parking, self.limiting, until_answered, worker.served)

    def settle(self, worker: WorkerParts, until_answered: UntilAnswered) -> Settle:
        departures = Departures(self.queue, self._piggyback, worker.backoff, worker.random, until_answered)
        return Settle(TaskEndings(self.queue, departures, worker.dropped, until_answered))

    def recover(self, worker: WorkerParts, until_answered: UntilAnswered, *, max_recoveries: int) -> Recover:
        flight = Flight(self.queue, until_answered, worker.dropped)
        return Recover(flight, TaskRecovery(flight, max_recoveries=max_recoveries))

    def orphans(self, *, term_seconds: float) -> Orphans:
        return Orphans(self.queue, term_seconds=term_seconds)

    def acts(self) -> Acts:
        raise JobsNotStored("jobs are stored only with DATABASE_URL")

    def dead_letters(self) -> DeadLetters:
        return DeadLetters(self.queue)

    def pauses(self) -> Pauses:
        raise JobsNotStored("jobs are stored only with DATABASE_URL")

    def limit_acts(self) -> LimitActs:
        raise JobsNotStored("jobs are stored only with DATABASE_URL")

    def audit(self) -> Audit:
        return Audit(self.queue.name, None)

    async def cancelled(self, ids: Sequence[UUID]) -> list[ClaimedJob]:
        """Engine.cancelled: without rows no job can be."""
        return []

    async def report(self, reports: Sequence[JobReport]) -> None:
        """Engine.report: only jobs with rows tell anything."""

    def record_stats(self, take: Callable[[], Sums]) -> Callable[[], Awaitable[None]]:
        """Engine.record_stats: what is taken is forgotten."""

        async def forget() -> None:
            take()

        return forget

    async def rows_fault(self) -> str | None:
        return None

    async def look_at_pauses(self) -> None:
        """Engine.look_at_pauses: without rows nothing can be paused."""

    async def look_at_limits(self) -> None:
        """Engine.look_at_limits: what the handlers declare is all there is."""

    async def declare_limits(self, declared: Mapping[str, Limit], types: Collection[str]) -> None:
        """Engine.declare_limits: those of the worker that was started last hold."""
        if declared or await self.queue.limits_version():
            self.limiting.learn(Limits(time_ns() // 1_000_000, declared=declared))

    def upkeep(self, keep: Keep) -> list[Upkeep]:
        return [Upkeep("permits", PERMITS_SECONDS, SweepPermits(self.queue).run_once)]

    def declare(self, schedules: Sequence[Schedule]) -> list[Upkeep]:
        if not schedules:
            return []
        step = FireTasks(self.queue, schedules, Random())  # noqa: S311 - jitter, no secret
        return [Upkeep("schedules", FIRE_SECONDS, step.run_once)]

    async def look_for_loss(self) -> None:
        """Engine.look_for_loss: what Redis has lost is known to no one."""

    async def push_notified(self, beat: Callable[[float], None] = lambda seconds: None) -> None:
        """Engine.push_notified: there is no SQL."""

    async def clear(self) -> None:
        """Engine.clear: there is nothing."""


class RowEngine:
    """With Postgres: the row decides, a task is a hint."""

    keeps_rows = True

    def __init__(self, queue: Queue, store: JobStore) -> None:
        self.queue = queue
        self.store = store
        self.piggyback = Piggyback()
        self.loss = LossCounts()
        self.parking = Parking(queue)
        self.limiting = Limiting(queue)
        self.installation = Installation(queue, store.installation)
        self.submit = SubmitRows(queue, store, self.piggyback)

    def rows(self) -> JobStore:
        return self.store

    def submit_once(self, *, ttl_seconds: float) -> SubmitOnce:
        return SubmitOnceRows(self.queue, self.store, self.piggyback, self.submit, ttl_seconds=ttl_seconds)

    def submit_unique(self, *, ttl_seconds: float) -> SubmitUnique:
        return SubmitUniqueRows(self.queue, self.store, self.piggyback, self.submit, ttl_seconds=ttl_seconds)

    def claim(self, worker: WorkerParts, until_answered: UntilAnswered) -> Claim:
        discards = Discards(self.queue, until_answered, worker.dropped)
        rows = RowClaims(self.queue, self.store, self.piggyback, worker.name, discards, until_answered)
        return Claim(self.queue, rows, discards, self.parking, self.limiting, until_answered, worker.served)

    def settle(self, worker: WorkerParts, until_answered: UntilAnswered) -> Settle:
        departures = Departures(self.queue, self.piggyback, worker.backoff, worker.random, until_answered)
        return Settle(RowEndings(self.queue, self.store, self.piggyback, departures, until_answered))

    def recover(self, worker: WorkerParts, until_answered: UntilAnswered, *, max_recoveries: int) -> Recover:
        flight = Flight(self.queue, until_answered, worker.dropped)
        return Recover(flight, RowRecovery(flight, self.store, max_recoveries=max_recoveries))

    def orphans(self, *, term_seconds: float) -> Orphans:
        async def owners() -> set[UUID]:
            return await self.store.owners(self.queue.name)

        return Orphans(self.queue, owners, term_seconds=term_seconds)

    def acts(self) -> Acts:
        return Acts(self.queue, self.store, self.piggyback)

    def dead_letters(self) -> DeadLetters:
        return DeadLetters(self.queue, RowsDecide(self.queue.name, self.store, self.acts()))

    def pauses(self) -> Pauses:
        return Pauses(self.queue, self.store.pauses, self.parking)

    def limit_acts(self) -> LimitActs:
        return LimitActs(self.queue, self.store.limits)

    def audit(self) -> Audit:
        return Audit(self.queue.name, self.store)

    async def cancelled(self, ids: Sequence[UUID]) -> list[ClaimedJob]:
        """Engine.cancelled."""
        return await self.store.cancelled(ids)

    async def report(self, reports: Sequence[JobReport]) -> None:
        """Engine.report."""
        await self.store.reports.write(reports)

    def record_stats(self, take: Callable[[], Sums]) -> Callable[[], Awaitable[None]]:
        """Engine.record_stats."""
        return RecordStats(self.store.stats, self.queue.name, take).run_once

    async def rows_fault(self) -> str | None:
        try:
            await self.store.check()
        except StoreUnavailable as error:
            return f"{str(error).rstrip('.')}. Check DATABASE_URL and that the server runs"
        return self.store.complaint

    async def look_at_pauses(self) -> None:
        """Engine.look_at_pauses."""
        await self.pauses().run_once()

    async def look_at_limits(self) -> None:
        """Engine.look_at_limits."""
        await LookAtLimits(self.queue, self.store.limits, self.limiting).run_once()

    async def declare_limits(self, declared: Mapping[str, Limit], types: Collection[str]) -> None:
        """Engine.declare_limits."""
        await LookAtLimits(self.queue, self.store.limits, self.limiting).declare(declared, types)

    def upkeep(self, keep: Keep) -> list[Upkeep]:
        return [
            Upkeep("outbox", 2.0, OutboxRelay(self.queue, self.store).run_once),
            Upkeep("jobs far off", BRING_SECONDS, FarOff(self.queue, self.store).run_once),
            Upkeep("idempotency keys", PRUNE_SECONDS, PruneKeys(self.store).run_once),
            Upkeep("unique keys", UNIQUE_SECONDS, PruneUnique(self.store, self.queue.name).run_once),
            Upkeep("deleted jobs", PRUNE_SECONDS, PruneDeleted(self.store).run_once),
            Upkeep("actions", ACTIONS_SECONDS, Actions(self.queue, self.store, self.acts()).run_once),
            Upkeep("ended actions", PRUNE_SECONDS, PruneActions(self.store).run_once),
            Upkeep("old statistics", PRUNE_SECONDS, PruneStats(self.store.stats).run_once),
            Upkeep("audit", PRUNE_SECONDS, PruneAudit(self.store).run_once),
            Upkeep("piggyback", 1.0, self.clear),
            Upkeep("permits", PERMITS_SECONDS, SweepPermits(self.queue).run_once),
            Upkeep("loss", 1.0, RedisLoss(self.queue, self.store, self.loss).run_once),
            Upkeep("retention", RETENTION_SECONDS, Retention(self.store, self.queue.name, keep).run_once),
            Upkeep("schedules", FIRE_SECONDS, FireSchedules(self.queue.name, self.store.schedules, Random()).run_once),  # noqa: S311 - jitter
        ]

    def declare(self, schedules: Sequence[Schedule]) -> list[Upkeep]:
        step = DeclareSchedules(self.queue.name, self.store.schedules, schedules)
        return [Upkeep("declared schedules", DECLARE_SECONDS, step.run_once)]

    async def look_for_loss(self) -> None:
        """Engine.look_for_loss."""
        await RedisLoss(self.queue, self.store).run_once()

    async def push_notified(self, beat: Callable[[float], None] = lambda seconds: None) -> None:
        """Engine.push_notified."""
        await Notified(self.queue, self.store).run(beat)

    async def clear(self) -> None:
        """Engine.clear."""
        await self.piggyback.clear(self.store)


def engine_of(queue: Queue, store: JobStore | None) -> Engine:
    """The one place that chooses."""
    return TaskEngine(queue) if store is None else RowEngine(queue, store)


@asynccontextmanager
async def open_engine(bridge: Bridge, settings: Settings, queue_name: str | None = None) -> AsyncIterator[Engine]:
    """The engine of `settings`; `queue_name` instead of theirs. Connects with the first trip."""
    async with AsyncExitStack() as stack:
        name = queue_name or settings.queue_name
        queue = await stack.enter_async_context(open_queue(bridge, settings.redis_url, name))
        store: JobStore | None = None
        if settings.database_url:
            opened = open_store(bridge, settings.database_url, settings.database_schema)
            store = await stack.enter_async_context(opened)
        yield engine_of(queue, store)
