"""Steps for tests, with rows or (`store` None) without, as the engine makes them."""

import time
from collections.abc import Callable
from random import Random
from uuid import UUID

from workqueue.core.policies import Backoff
from workqueue.core.queue import Keys, LeaseConnection, Queue
from workqueue.core.queues import QueueChoice, Served
from workqueue.core.steps.claim import Claim, TaskClaims
from workqueue.core.steps.claim_rows import RowClaims
from workqueue.core.steps.dead_letters import Discards
from workqueue.core.steps.dropped import Dropped
from workqueue.core.steps.installation import Installation, no_database
from workqueue.core.steps.lease import Lease
from workqueue.core.steps.limits import Limiting
from workqueue.core.steps.orphans import Orphans, no_owners
from workqueue.core.steps.pauses import Parking
from workqueue.core.steps.piggyback import Piggyback
from workqueue.core.steps.recover import Flight, Recover
from workqueue.core.steps.recover_rows import RowRecovery
from workqueue.core.steps.recover_tasks import TaskRecovery
from workqueue.core.steps.settle import Departures, Settle
from workqueue.core.steps.settle_rows import RowEndings
from workqueue.core.steps.settle_tasks import TaskEndings
from workqueue.core.steps.submit import Submit, SubmitRows, SubmitTasks
from workqueue.core.steps.submit_once import SubmitOnce, SubmitOnceRows, SubmitOnceTasks
from workqueue.core.steps.submit_unique import SubmitUnique, SubmitUniqueRows, SubmitUniqueTasks
from workqueue.core.steps.until_answered import UntilAnswered
from workqueue.core.store import JobStore


def make_submit(queue: Queue, store: JobStore | None, piggyback: Piggyback | None = None) -> Submit:
    return SubmitTasks(queue) if store is None else SubmitRows(queue, store, piggyback or Piggyback())


def make_submit_once(queue: Queue, store: JobStore | None, *, ttl_seconds: float) -> SubmitOnce:
    """A producer of its own."""
    if store is None:
        return SubmitOnceTasks(queue, ttl_seconds=ttl_seconds)
    piggyback = Piggyback()
    return SubmitOnceRows(queue, store, piggyback, SubmitRows(queue, store, piggyback), ttl_seconds=ttl_seconds)


def make_submit_unique(queue: Queue, store: JobStore | None, *, ttl_seconds: float = 60.0) -> SubmitUnique:
    """A producer of its own."""
    if store is None:
        return SubmitUniqueTasks(queue, ttl_seconds=ttl_seconds)
    piggyback = Piggyback()
    return SubmitUniqueRows(queue, store, piggyback, SubmitRows(queue, store, piggyback), ttl_seconds=ttl_seconds)


def make_claim(
    queue: Queue,
    store: JobStore | None,
    piggyback: Piggyback | None = None,
    worker: str = "w",
    parking: Parking | None = None,
    served: Served | None = None,
    limiting: Limiting | None = None,
) -> Claim:
    until_answered, parking, served = UntilAnswered(), parking or Parking(queue), served or Served(QueueChoice())
    limiting = limiting or Limiting(queue)
    discards = Discards(queue, until_answered, Dropped())
    if store is None:
        return Claim(queue, TaskClaims(queue, until_answered), discards, parking, limiting, until_answered, served)
    claims = RowClaims(queue, store, piggyback or Piggyback(), worker, discards, until_answered)
    return Claim(queue, claims, discards, parking, limiting, until_answered, served)


def make_settle(queue: Queue, store: JobStore | None, piggyback: Piggyback, backoff: Backoff, random: Random) -> Settle:
    until_answered = UntilAnswered()
    departures = Departures(queue, piggyback, backoff, random, until_answered)
    if store is None:
        return Settle(TaskEndings(queue, departures, Dropped(), until_answered))
    return Settle(RowEndings(queue, store, piggyback, departures, until_answered))


def make_recover(queue: Queue, store: JobStore | None, *, max_recoveries: int) -> Recover:
    flight = Flight(queue, UntilAnswered(), Dropped())
    if store is None:
        return Recover(flight, TaskRecovery(flight, max_recoveries=max_recoveries))
    return Recover(flight, RowRecovery(flight, store, max_recoveries=max_recoveries))


def make_orphans(
    queue: Queue, store: JobStore | None, *, term_seconds: float, clock: Callable[[], float] = time.monotonic
) -> Orphans:
    async def owners() -> set[UUID]:
        return await no_owners() if store is None else await store.owners(queue.name)

    return Orphans(queue, owners, term_seconds=term_seconds, clock=clock)


def make_installation(queue: Queue, store: JobStore | None) -> Installation:
    return Installation(queue, no_database if store is None else store.installation)


def registered(redis_url: str, queue_name: str) -> Lease:
    lease = Lease()
    connection = LeaseConnection(redis_url, Keys(queue_name), seconds=3)
    connection.register(lease.id, b"{}")
    connection.close()
    return lease


QUICK = Backoff(base=0.01, cap=0.02)


class Steps:
    """A producer and a worker, step by step."""

    def __init__(self, queue: Queue, store: JobStore | None, backoff: Backoff = QUICK) -> None:
        self.piggyback = Piggyback()
        self.parking = Parking(queue)
        self.submit = make_submit(queue, store, self.piggyback)
        self.claim = make_claim(queue, store, self.piggyback, "w", self.parking)
        self.settle = make_settle(queue, store, self.piggyback, backoff, Random(1))
