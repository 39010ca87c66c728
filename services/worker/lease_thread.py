"""Keeps the lease from a thread with its own connection, so that a handler that blocks the loop does not lose it."""

import logging
import threading
import time
from collections.abc import Callable

import trio

from workqueue.core.errors import QueueUnavailable
from workqueue.core.queue import LeaseConnection
from workqueue.core.steps.heartbeat import Heartbeat, no_heartbeat
from workqueue.core.steps.lease import Lease
from workqueue.core.steps.until_answered import TELL_SECONDS, OnFailure, ignore_failure

log = logging.getLogger(__name__)

START_TERMS = 0.6  #: a lease whose last renewal was sent longer ago (in terms) starts no job
RENEWALS_PER_TERM = 5
GAP_TERMS = 2 / RENEWALS_PER_TERM  #: between two renewals that succeeded; longer: this worker was cut off itself
LOOK_SECONDS = 1.0


def ignore_wish(wish: str) -> None:
    """For callers of whom a person can ask nothing."""


class LeaseThread:
    """Takes a lease, renews it five times a term, and takes a new one when Redis says that it is lost.

    An outage is not a loss: only an answer of Redis is. A renewal counts from the moment at which it was *sent*.
    Mutable state: single attributes that one side writes and the other reads; the lease objects change on the Trio
    thread alone, through `run_sync_soon`, which never waits for a blocked loop.
    """

    def __init__(
        self,
        connect: Callable[[], LeaseConnection],
        *,
        term_seconds: float,
        took: Callable[[Lease], None],
        lost: Callable[[Lease], None],
        look: Callable[[], None],
        asked: Callable[[str], None] = ignore_wish,
        on_failure: OnFailure = ignore_failure,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`took` and `lost` are called on the Trio thread; `look` on this one, about each second: a worker that makes
        no progress must not keep its lease for ever. `asked` gets what a person has asked of this worker, each time
        that it changes, and `on_failure` trips that go on failing, both on the Trio thread.
        """
        self._connect = connect
        self._term = term_seconds
        self._clock = clock
        self._took = took
        self._lost = lost
        self._look = look
        self._asked = asked
        self._on_failure = on_failure
        self._failing_since: float | None = None
        self.error: QueueUnavailable | None = None  #: why the last trip failed; None: it did not
        self._wake = threading.Event()
        self._is_stopped = False
        self._renew_now = False
        self._told = ""  # what was asked last
        self._renewed: tuple[Lease | None, float] = None, float("-inf")  # which lease, and when it was sent
        self._succeeded_at = float("-inf")
        self._steady_since = float("inf")
        self._published = b"{}"
        self._ended = trio.Event()

    def publish(self, published: bytes, *, at_once: bool = False) -> None:
        """Set the description of this worker that each renewal writes; `at_once`: renew now, and not in its time."""
        self._published = published
        if at_once:
            self._renew_now = True
            self._wake.set()

    def is_fresh(self, lease: Lease) -> bool:
        """May a job be started? A worker that wakes from a freeze must not start jobs that were given to another.

        `lease` is the one of the job: the next one may exist before the loop has heard that the last one is lost.
        """
        renewed, sent = self._renewed
        return renewed is lease and self._clock() - sent < START_TERMS * self._term

    def steady_since(self) -> float:
        """Since when (its clock) every renewal has succeeded, without a gap; inf while they do not."""
        if self._clock() - self._succeeded_at > GAP_TERMS * self._term:
            return float("inf")
        return self._steady_since

    async def run(
        self,
        heartbeat: Heartbeat = no_heartbeat,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Keep a lease until cancelled. The thread, which calls `heartbeat`, ends after the trip that is under way,
        bounded by its timeout.
        """
        token = trio.lowlevel.current_trio_token()
        task_status.started()
        self._ended = trio.Event()
        try:
            # Not waited for when cancelled: it may be in a trip to a Redis that hangs, and it holds no resource.
            await trio.to_thread.run_sync(
                self._keep, token, heartbeat, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1)
            )
        finally:
            self._end()
            self._ended.set()

    async def stop(self) -> None:
        """End the thread and wait for it: from here on no lease is taken or renewed."""
        self._end()
        await self._ended.wait()

    def _end(self) -> None:
        self._is_stopped = True
        self._wake.set()

    def _keep(self, token: trio.lowlevel.TrioToken, heartbeat: Heartbeat) -> None:
        connection = self._connect()
        lease: Lease | None = None
        next_at = self._clock()
        try:
            while True:
                self._wake.wait(max(0.0, min(next_at - self._clock(), LOOK_SECONDS)))
                self._wake.clear()
                if self._is_stopped:
                    break
                heartbeat(self._term + 2 * LOOK_SECONDS)
                self._look()
                if self._clock() >= next_at or self._renew_now or (lease is not None and lease.lost):
                    self._renew_now = False  # before what is published is read: a later one is renewed once more
                    lease, pause = self._trip(connection, lease, token)
                    next_at = self._clock() + pause
        except trio.RunFinishedError:
            pass  # the loop has ended before us
        finally:
            connection.close()

    def _trip(
        self, connection: LeaseConnection, lease: Lease | None, token: trio.lowlevel.TrioToken
    ) -> tuple[Lease | None, float]:
        """Register or renew once; the lease to go on with, and the pause before."""
        sent = self._clock()
        try:
            if lease is None or lease.lost:  # lost: a claim was the first to hear it
                lease = None
                new = Lease()  # a new id for each send: one that arrives late must not revive a lease that was retired
                connection.register(new.id, self._published)
                self._succeeded(new, sent)
                token.run_sync_soon(self._took, new)
                return new, self._term / RENEWALS_PER_TERM
            if not connection.renew(lease.id, self._published):
                self._renewed = None, float("-inf")
                token.run_sync_soon(self._lost, lease)
                return None, 0.0
            if connection.asked != self._told:
                self._told = connection.asked
                token.run_sync_soon(self._asked, self._told)
        except QueueUnavailable as error:
            self.error = error
            if self._failing_since is None:
                self._failing_since = sent
            elif sent - self._failing_since > TELL_SECONDS:
                token.run_sync_soon(self._on_failure, error)
            return lease, min(1.0, self._term / RENEWALS_PER_TERM)
        self._succeeded(lease, sent)
        return lease, self._term / RENEWALS_PER_TERM

    def _succeeded(self, lease: Lease, sent: float) -> None:
        now = self._clock()
        self.error = self._failing_since = None
        if now - sent > self._term / RENEWALS_PER_TERM:  # a slower one counts as failed
            return
        if now - self._succeeded_at > GAP_TERMS * self._term:
            self._steady_since = now
        self._succeeded_at = now
        self._renewed = lease, sent
