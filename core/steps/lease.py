"""A worker's right to its tasks, and what it holds under it."""

from collections.abc import Iterable
from enum import IntEnum
from uuid import UUID

from msgspec import Struct
from uuid_utils.compat import uuid4

from workqueue.core.counters import Counters
from workqueue.core.wire import Task


class _Batch(Struct, eq=False):
    """The jobs of one claim. Mutable state: how many of them have no verdict yet."""

    token: UUID | None = None
    unsettled: int = 0


class Permit(IntEnum):
    """For what limits a claimed task counts."""

    NONE = 0
    GROUP = 1  #: for that of its group
    TYPE = 2  #: for that of its type, and of its group if it has one


class ClaimedTask(Struct, eq=False):
    """A claimed task, from the answer of the claim until its last ack is answered.

    Mutable state: `task` and `counters` are set by the claim; `token` with each send of its statement; `finishing` by
    the settler, just before it sends what becomes of the job; `permit` by core/steps/limits.py.
    """

    lease: "Lease"
    number: int
    task: Task
    job_id: UUID
    key: int  #: the id for dicts: a UUID takes three times as long to be looked up
    claimed_at: float  #: trio's clock
    counters: Counters
    token: UUID | None = None  #: of the claim that got the row; None without Postgres
    finishing: bool = False
    permit: Permit = Permit.NONE  #: for what limits it counts (core/steps/limits.py)
    batch: _Batch | None = None  #: set by the lease; None without Postgres

    @staticmethod
    def of(lease: "Lease", number: int, task: Task, job_id: UUID, claimed_at: float) -> "ClaimedTask":
        """As a task says it when it is claimed."""
        return ClaimedTask(lease, number, task, job_id, job_id.int, claimed_at, task.counters)


class Lease:
    """One lease of this worker; a lost one is replaced by a new object, which lives beside it until it is empty.

    Mutable state, all of it changed on the Trio thread: `lost` by the task that learns of it; the numbers by the claim;
    `tasks` and `_jobs` by claim and settle.
    """

    def __init__(self, lease_id: UUID | None = None) -> None:
        self.id: UUID = lease_id or uuid4()
        self.lost = False
        self.next_number = 1  #: of the next task that is claimed
        self.tasks: dict[int, ClaimedTask] = {}  #: number -> task, until its ack is answered (what the audit asks)
        self._jobs: dict[
            int, ClaimedTask
        ] = {}  #: job's key -> task, until its outcome is sent (what a copy is compared with)
        self._batches: dict[UUID, _Batch] = {}  #: those of which a job has no verdict yet, by claim token

    def add(self, items: Iterable[ClaimedTask]) -> None:
        """These are ours now."""
        tasks, jobs, batch = self.tasks, self._jobs, _Batch()
        for claimed in items:
            tasks[claimed.number] = claimed
            jobs[claimed.key] = claimed
            if claimed.token is not None:
                if claimed.token is not batch.token:  # those of one claim have the very same one
                    batch = self._batch_of(claimed.token)
                batch.unsettled += 1
                claimed.batch = batch

    def is_claimed(self, key: int) -> bool:
        """Is another task of this job a copy? No longer once its outcome is sent: a retry may come back at once."""
        return key in self._jobs

    def finishing(self, claimed: ClaimedTask) -> None:
        """Its outcome is about to be sent."""
        claimed.finishing = True
        if self._jobs.get(claimed.key) is claimed:
            del self._jobs[claimed.key]

    def drop(self, claimed: ClaimedTask) -> UUID | None:
        """Its last ack is answered. Returns the claim token of which this was the last job without a verdict."""
        self.tasks.pop(claimed.number, None)
        if not claimed.finishing and self._jobs.get(claimed.key) is claimed:
            del self._jobs[claimed.key]
        if (batch := claimed.batch) is None:
            return None
        batch.unsettled -= 1
        if batch.unsettled > 0:
            return None
        if batch.token is not None:
            self._batches.pop(batch.token, None)
        return batch.token

    def _batch_of(self, token: UUID) -> "_Batch":
        return self._batches.setdefault(token, _Batch(token))

    def pairs(self) -> set[tuple[UUID | None, UUID]]:
        """(claim token, job) of everything claimed."""
        return {(claimed.token, claimed.job_id) for claimed in self.tasks.values()}
