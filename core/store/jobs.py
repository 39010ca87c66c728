"""Rows of jobs: one method a statement. Statements name their columns and lock in the order of ids."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from uuid import UUID

import asyncpg
import trio
from msgspec import Struct, structs

from workqueue.core.audit import AuditEntry
from workqueue.core.control import ClaimedJob
from workqueue.core.counters import NEVER_RUN, Counters
from workqueue.core.errors import StoreUnavailable
from workqueue.core.job import Artifact, JobState, RunOutcome
from workqueue.core.job_filter import ActName
from workqueue.core.options import FREE_NAMES, NAMES, PLAIN_NAMES, JobOptions, are_plain, until_seconds
from workqueue.core.store import sql
from workqueue.core.store.actions import Acted, ActionStore, acted
from workqueue.core.store.audit import AuditStore, bound
from workqueue.core.store.changes import ChangeStore
from workqueue.core.store.clean import clean
from workqueue.core.store.limits import LimitStore
from workqueue.core.store.listing import JobLists
from workqueue.core.store.migrate import KINDS, check_oldest
from workqueue.core.store.notifications import Notifications
from workqueue.core.store.oldest_waiting import OldestWaiting
from workqueue.core.store.pauses import PauseStore
from workqueue.core.store.pool import STATEMENT_SECONDS, Pool
from workqueue.core.store.reports import ProgressRow, ReportStore
from workqueue.core.store.rows import JobRow, job_options, job_row
from workqueue.core.store.schedules import ScheduleStore
from workqueue.core.store.sql import array_text, due_arrays, option_arrays
from workqueue.core.store.stats import StatsStore
from workqueue.core.wire import Task

ERROR_LENGTH_MAX = 4 * 1024
TRACEBACK_LENGTH_MAX = 64 * 1024
ARTIFACT_BYTES_PER_SECOND = 4 * 1024 * 1024  #: what a slow way to Postgres manages; more artifacts get more time
RECONCILE_SECONDS = 600.0  #: a look at every row that there is
RUNS_MAX = 100  #: of one job that are shown at once
RUNS_BYTES_MAX = 1024 * 1024


class NewJob(Struct, frozen=True, gc=False):
    """A job that is to be inserted."""

    id: UUID
    type: str
    payload: str  #: the JSON text of an object
    options: JobOptions
    delay: float | None = None  #: seconds; then `run_at` is so much later than the server's clock says
    is_far: bool = False  #: due so late that it is not in Redis yet, and needs no outbox entry


class Counter(StrEnum):
    """The counter that a run adds to."""

    ATTEMPTS = "attempts"
    INTERRUPTIONS = "interruptions"
    NONE = "none"


class RowStatus(Struct, frozen=True):
    """What a row says of a job."""

    state: JobState
    token: UUID | None
    queue: str
    delay_ms: int


class KeyHolder(Struct, frozen=True):
    """The job that holds an idempotency key."""

    job_id: UUID
    body_hash: bytes
    expired: bool  #: the key counts as free
    answerable: bool  #: the job will run, or has ended; False: ask anew, it may have been refused just now
    duplicate: bool  #: the job was another's, by its unique key


class UniqueHolder(Struct, frozen=True):
    """The job that holds a unique key."""

    job_id: UUID
    is_new: bool  #: it was inserted
    is_sooner: bool  #: it is due sooner than before: its tasks in Redis come too late


class Finish(Struct, frozen=True, gc=False):
    """How a job ends for good."""

    id: UUID
    token: UUID
    state: JobState
    outcome: RunOutcome
    seconds: float
    result: str | None = None
    error: str | None = None
    traceback: str | None = None
    artifacts: Sequence[Artifact] = ()


class Requeue(Struct, frozen=True):
    """How a job goes back to wait."""

    id: UUID
    token: UUID
    counter: Counter
    delay_ms: int
    outcome: RunOutcome | None = None
    seconds: float | None = None  #: None: it was not started
    error: str | None = None
    traceback: str | None = None


class Checkpoint(Struct, frozen=True):
    """What Redis was last known to be and to remember; ms on Postgres's clock."""

    server_run_id: str | None  #: None: nothing known yet
    position_ms: int  #: the checkpoint that it was given last
    now_ms: int  #: when this was asked


class Deleted(Struct, frozen=True):
    """What one statement of the retention did."""

    deleted: int
    looked: int
    place: tuple[datetime, UUID] | None  #: of the last row that it looked at


class Run(Struct, frozen=True):
    """One run of a job."""

    number: int
    worker: str | None
    started_at: datetime | None
    ended_at: datetime | None
    outcome: RunOutcome
    error: str | None = None
    traceback: str | None = None


class ArtifactHead(Struct, frozen=True):
    """An artifact without its content."""

    name: str
    content_type: str
    bytes: int


class JobStore:
    """The statements of the protocol and of the API. What each raises and what cancelling means: Pool.fetch.

    Mutable state: what the last check has found.
    """

    def __init__(
        self, pool: Pool, oldest_waiting: OldestWaiting | None = None, notifications: Notifications | None = None
    ) -> None:
        self._pool = pool
        self.notifications = notifications  #: None: none are heard, and the outbox relay finds what they tell of
        self.actions = ActionStore(pool)
        self.reports = ReportStore(pool)
        self.pauses = PauseStore(pool)
        self.limits = LimitStore(pool)
        self.stats = StatsStore(pool)
        self.audit = AuditStore(pool)
        self.changes = ChangeStore(pool)
        self.schedules = ScheduleStore(pool)
        self.lists = JobLists(pool, oldest_waiting or OldestWaiting())
        self._unfit: str | None = None

    # --- submit

    async def insert(self, batch: UUID, queue: str, jobs: Sequence[NewJob], pushed: Sequence[UUID]) -> None:
        """Insert jobs and their outbox entry; drop the entries of batches that were pushed."""
        options = [job.options for job in jobs]
        values: dict[str, object] = {
            "batch": batch,
            "queue": queue,
            "ids": array_text([job.id for job in jobs]),
            "types": [job.type for job in jobs],
            "payloads": [job.payload for job in jobs],
            "pushed": pushed,
        }
        if are_plain(options):  # each array costs, also one without values
            statement = sql.INSERT_JOBS.bind(**values, **option_arrays(options, PLAIN_NAMES))
        else:
            arrays = option_arrays(options, FREE_NAMES)
            statement = sql.INSERT_JOBS_WITH_OPTIONS.bind(**values, **arrays, **_due_arrays(jobs))
        await self._pool.fetch(*statement, refusable=True)

    async def insert_once(
        self,
        batch: UUID,
        queue: str,
        jobs: Sequence[NewJob],
        keys: Sequence[tuple[bytes, bytes]],
        pushed: Sequence[UUID],
        *,
        ttl_seconds: float,
    ) -> set[UUID]:
        """Insert what gets its key, of (hash of the key, of the body) for each job; the ids of those rows.

        No key may come twice. Not to be repeated with the same ids.
        """
        statement = sql.INSERT_ONCE.bind(
            batch=batch,
            queue=queue,
            ids=[job.id for job in jobs],
            types=[job.type for job in jobs],
            payloads=[job.payload for job in jobs],
            key_hashes=[key_hash for key_hash, _ in keys],
            body_hashes=[body_hash for _, body_hash in keys],
            ttl_seconds=ttl_seconds,
            pushed=pushed,
            **option_arrays([job.options for job in jobs], FREE_NAMES),
            **_due_arrays(jobs),
        )
        rows = await self._pool.fetch(*statement, refusable=True)
        return {row["id"] for row in rows}

    async def insert_unique(
        self,
        batch: UUID,
        queue: str,
        jobs: Sequence[NewJob],
        keys: Sequence[tuple[bytes, bytes] | None],
        sooner: UUID,
        pushed: Sequence[UUID],
        *,
        ttl_seconds: float,
    ) -> dict[str, UniqueHolder]:
        """Insert what gets its unique key, and tell the others whose it is: key -> that job. Missing: ask anew.

        `keys`: (hash of the key, of the body) of the idempotency key of each job; None: it has none. `sooner`: of a
        second outbox entry, with what is due sooner now. No unique key may come twice. Not to be repeated with the same
        ids. Raises StoreBusy where another transaction takes one of the keys and does not end.
        """
        statement = sql.INSERT_UNIQUE.bind(
            batch=batch,
            queue=queue,
            ids=[job.id for job in jobs],
            types=[job.type for job in jobs],
            payloads=[job.payload for job in jobs],
            seconds=[until_seconds(job.options) for job in jobs],
            key_hashes=[key[0] if key else None for key in keys],
            body_hashes=[key[1] if key else None for key in keys],
            ttl_seconds=ttl_seconds,
            sooner=sooner,
            pushed=pushed,
            **option_arrays([job.options for job in jobs]),
            **_due_arrays(jobs),
        )
        rows = await self._pool.fetch(*statement, refusable=True)
        return {row["key"]: UniqueHolder(row["job_id"], row["new"], row["sooner"]) for row in rows}

    async def prune_unique(self, queue: str, *, after: str, limit: int) -> tuple[int, int, str | None]:
        """Forget those of the next `limit` unique keys behind `after` that are free: how many were looked at, how many
        went, and the last one that was looked at. May be repeated."""
        [row] = await self._pool.fetch(*sql.PRUNE_UNIQUE.bind(queue=queue, after=after, limit=limit))
        return row["looked"], row["pruned"], row["last"]

    async def join(self, queue: str, keys: Sequence[tuple[bytes, bytes]]) -> dict[bytes, KeyHolder]:
        """Promise to run what holds these (hash of a key, of a body), where the body is the same. May be repeated."""
        key_hashes, body_hashes = zip(*keys, strict=True)
        rows = await self._pool.fetch(*sql.JOIN_JOBS.bind(queue=queue, key_hashes=key_hashes, body_hashes=body_hashes))
        return {
            row["key_hash"]: KeyHolder(
                row["job_id"], row["body_hash"], row["expired"], row["answerable"], row["duplicate"]
            )
            for row in rows
        }

    async def free_keys(self, queue: str, key_hashes: Sequence[bytes]) -> None:
        """Forget those of these idempotency keys that have expired. May be repeated."""
        await self._pool.fetch(*sql.FREE_KEYS.bind(queue=queue, key_hashes=key_hashes))

    async def prune_keys(self, *, limit: int) -> int:
        """Forget up to `limit` idempotency keys that have expired; how many."""
        [row] = await self._pool.fetch(*sql.PRUNE_KEYS.bind(limit=limit))
        return int(row["pruned"])

    async def refuse(self, ids: Sequence[UUID], batch: UUID, error: str) -> set[UUID]:
        """Cancel what was never claimed; returns every id that is cancelled now and never ran. May be repeated."""
        rows = await self._pool.fetch(*sql.REFUSE_JOBS.bind(ids=ids, batch=batch, error=error))
        return {row["id"] for row in rows}

    async def delete_outbox(self, batches: Sequence[UUID], done_claims: Sequence[UUID] = ()) -> None:
        """Forget entries whose tasks are in Redis, and claims of which every job has a verdict. May be repeated."""
        await self._pool.fetch(*sql.DELETE_OUTBOX.bind(batches=batches, finished_claims=done_claims))

    # --- claim

    async def claim(
        self,
        ids: Sequence[UUID],
        token: UUID,
        *,
        queue: str,
        owner: UUID,
        worker: str,
        earlier: Sequence[UUID],
        done_claims: Sequence[UUID],
        replaced: list[UUID] | None = None,
    ) -> dict[int, Counters]:
        """Take jobs that are pending and due, or held by a token of `earlier`. Never repeated with one token.

        Key of an id (its number) -> counters, of each that was taken. `replaced` grows by those whose tasks in Redis
        are old: see `claimed_tasks`.
        """
        statement = sql.CLAIM_JOBS.bind(
            ids=array_text(ids),
            token=token,
            queue=queue,
            owner=owner,
            worker=worker,
            earlier=earlier,
            finished_claims=done_claims,
        )
        rows = await self._pool.fetch(*statement)
        taken = dict.fromkeys([job_id.int for job_id in ids], NEVER_RUN)
        changed = 0
        for job_id, attempts, recoveries, interruptions, is_replaced in rows:
            if job_id is None:
                changed = attempts
            elif attempts is None:
                del taken[job_id.int]
            else:
                taken[job_id.int] = Counters(attempts, recoveries, interruptions)
                if is_replaced and replaced is not None:
                    replaced.append(job_id)
        _compare("claimed", changed, len(taken))
        return taken

    async def claimed_tasks(self, ids: Sequence[UUID]) -> dict[UUID, Task]:
        """The tasks of jobs, as their rows say. May be repeated."""
        return {row["id"]: _task(row) for row in await self._pool.fetch(*sql.CLAIMED_TASKS.bind(ids=ids))}

    async def get_status(self, ids: Sequence[UUID]) -> dict[UUID, RowStatus]:
        """What the rows say now; ids without a row are missing."""
        rows = await self._pool.fetch(*sql.GET_ROW_STATUS.bind(ids=ids))
        return {
            row["id"]: RowStatus(JobState(row["state"]), row["token"], row["queue"], row["delay_ms"] or 0)
            for row in rows
        }

    async def adopt(
        self, tasks: Sequence[tuple[UUID, Task]], token: UUID, *, queue: str, owner: UUID, worker: str
    ) -> set[int]:
        """Make rows for external tasks, as ours under `token`; the keys (numbers of the ids) of those that were made.

        Workers that were quicker keep the others: a claim tells. Without an answer it tells of all of them.
        """
        options = [task.options for _, task in tasks]
        plain = are_plain(options)
        statement = (sql.ADOPT_JOBS if plain else sql.ADOPT_JOBS_WITH_OPTIONS).bind(
            token=token,
            queue=queue,
            owner=owner,
            worker=worker,
            ids=[job_id for job_id, _ in tasks],
            types=[task.type for _, task in tasks],
            payloads=[task.payload.decode() for _, task in tasks],
            extras=[task.extra.decode() or None for _, task in tasks],
            attempts=[task.counters.attempts for _, task in tasks],
            recoveries=[task.counters.recoveries for _, task in tasks],
            interruptions=[task.counters.interruptions for _, task in tasks],
            **option_arrays(options, PLAIN_NAMES if plain else NAMES),
        )
        rows = await self._pool.fetch(*statement, refusable=True)
        return {job_id.int for (job_id,) in rows}

    async def owned(self, owner: UUID) -> dict[UUID, set[UUID]]:
        """Claim token -> ids that are processing under it, for every claim of one lease."""
        claims: dict[UUID, set[UUID]] = {}
        for row in await self._pool.fetch(*sql.OWNED_JOBS.bind(owner=owner)):
            ids = claims.setdefault(row["token"], set())
            if row["id"] is not None:
                ids.add(row["id"])
        return claims

    # --- settle

    async def finish(self, finishes: Sequence[Finish], done_claims: Sequence[UUID] = ()) -> set[int]:
        """Write ends; returns the keys (numbers of the ids) of what is done now.

        Look at the others: done before, locked, or refused. A transaction for those that completed and made nothing,
        and one for the others. May be repeated.
        """
        finishes = sorted(finishes, key=lambda finish: finish.id.int)
        others = [finish for finish in finishes if finish.artifacts or finish.state != JobState.COMPLETED]
        plain = finishes
        if others:
            plain = [finish for finish in finishes if not finish.artifacts and finish.state == JobState.COMPLETED]
        done: set[int] = set()
        if plain or not others:  # the settled claims go in any case
            done = await self.complete(
                [finish.id for finish in plain],
                [finish.token for finish in plain],
                [finish.result for finish in plain],
                [finish.seconds for finish in plain],
                done_claims,
            )
        if others:
            done |= await self._finish(others, () if plain else done_claims)
        return done

    async def complete(
        self,
        ids: Sequence[UUID],
        tokens: Sequence[UUID],
        results: Sequence[str | None],
        durations: Sequence[float],
        done_claims: Sequence[UUID] = (),
    ) -> set[int]:
        """What `finish` does for jobs that completed and made nothing, in the order of ids: nearly all of them, so that
        no object is made for each."""
        statement = sql.COMPLETE_JOBS.bind(
            ids=array_text(ids),
            tokens=array_text(tokens),
            results=results,
            durations=array_text(durations),
            finished_claims=done_claims,
        )
        rows = await self._pool.fetch(*statement, refusable=True)
        done = {job_id.int for job_id in ids}
        changed = 0
        for job_id, count in rows:
            if job_id is None:
                changed = count
            else:
                done.discard(job_id.int)
        _compare("completed", changed, len(done))
        return done

    async def _finish(self, finishes: Sequence[Finish], done_claims: Sequence[UUID]) -> set[int]:
        kept = [(finish.id, artifact) for finish in finishes for artifact in finish.artifacts]
        statement = sql.FINISH_JOBS.bind(
            ids=[finish.id for finish in finishes],
            tokens=[finish.token for finish in finishes],
            states=[finish.state for finish in finishes],
            results=[finish.result for finish in finishes],
            errors=[clean(finish.error, ERROR_LENGTH_MAX) for finish in finishes],
            tracebacks=[clean(finish.traceback, TRACEBACK_LENGTH_MAX) for finish in finishes],
            outcomes=[finish.outcome for finish in finishes],
            durations=[finish.seconds for finish in finishes],
            artifact_jobs=[job_id for job_id, _ in kept],
            artifact_names=[clean(artifact.name, 200) for _, artifact in kept],
            artifact_types=[artifact.content_type for _, artifact in kept],
            artifact_contents=[artifact.content for _, artifact in kept],
            finished_claims=done_claims,
        )
        bytes_kept = sum(len(artifact.content) for _, artifact in kept)
        seconds = STATEMENT_SECONDS + bytes_kept / ARTIFACT_BYTES_PER_SECOND
        rows = await self._pool.fetch(*statement, seconds=seconds, refusable=True)
        return {row[0].int for row in rows}

    async def requeue(
        self, batch: UUID, queue: str, requeues: Sequence[Requeue], done_claims: Sequence[UUID] = ()
    ) -> dict[UUID, JobState]:
        """Make jobs wait again, marked under `batch`; id -> state (pending, or cancelled where a person asked).

        May be repeated, each time under a batch of its own. Look at the ids that are missing: done before, locked, or
        refused.
        """
        requeues = sorted(requeues, key=lambda requeue: requeue.id.int)
        statement = sql.REQUEUE_JOBS.bind(
            batch=batch,
            queue=queue,
            ids=[requeue.id for requeue in requeues],
            tokens=[requeue.token for requeue in requeues],
            counters=[requeue.counter for requeue in requeues],
            delays_ms=[requeue.delay_ms for requeue in requeues],
            errors=[clean(requeue.error, ERROR_LENGTH_MAX) for requeue in requeues],
            tracebacks=[clean(requeue.traceback, TRACEBACK_LENGTH_MAX) for requeue in requeues],
            outcomes=[requeue.outcome for requeue in requeues],
            durations=[requeue.seconds for requeue in requeues],
            finished_claims=done_claims,
        )
        rows = await self._pool.fetch(*statement, refusable=True)
        return {row[0]: JobState(row[1]) for row in rows}

    # --- sweep

    async def take_outbox(self, queue: str, *, age_seconds: float, limit: int) -> list[tuple[UUID, list[UUID], bool]]:
        """Outbox entries that are old enough: (batch, ids, may it be dropped once they are pushed?).

        No other relay takes them for `age_seconds`.
        """
        rows = await self._pool.fetch(*sql.TAKE_OUTBOX.bind(queue=queue, age_seconds=age_seconds, limit=limit))
        return [(row["batch"], list(row["ids"]), row["whole"]) for row in rows]

    async def bring(self, queue: str, batch: UUID, *, horizon_seconds: float, limit: int) -> int:
        """Put what was far off, and is due within the horizon, into the outbox; how many rows were looked at.

        May be repeated, each time under a batch of its own.
        """
        values = {"queue": queue, "batch": batch, "horizon_seconds": horizon_seconds, "limit": limit}
        [row] = await self._pool.fetch(*sql.BRING_JOBS.bind(**values))
        return int(row["looked"])

    async def waiting(self, ids: Sequence[UUID], *, after: UUID | None, bytes_max: int) -> list[tuple[UUID, int, Task]]:
        """(id, delay in ms, task) of what is still pending, in the order of ids; [] at the end."""
        rows = await self._pool.fetch(*sql.WAITING_JOBS.bind(ids=ids, after=after, bytes_max=bytes_max))
        return [(row["id"], row["delay_ms"] or 0, _task(row)) for row in rows]

    # --- recovery

    async def recover(
        self, owner: UUID, queue: str, batch: UUID, *, blameless: bool, started: Sequence[UUID], max_recoveries: int
    ) -> dict[UUID, JobState]:
        """Take the jobs of an owner that is gone back; id -> state.

        May be repeated, each time under a batch of its own: what a lost answer had said stands in its outbox entry.
        """
        statement = sql.RECOVER_JOBS.bind(
            owner=owner,
            queue=queue,
            batch=batch,
            blameless=blameless,
            started=started,
            max_recoveries=max_recoveries,
        )
        rows = await self._pool.fetch(*statement)
        return {row["id"]: JobState(row["state"]) for row in rows}

    async def owners(self, queue: str) -> set[UUID]:
        """Who has claims on their way, dead or alive."""
        return {row["owner"] for row in await self._pool.fetch(*sql.GET_OWNERS.bind(queue=queue))}

    # --- what a person does to jobs; `audit`: the row that it leaves where something has changed, in its transaction

    async def cancel(self, queue: str, ids: Sequence[UUID], audit: AuditEntry | None = None) -> dict[UUID, Acted]:
        """End what waits, and ask what runs to end: `processing` in the answer. May be repeated."""
        statement = sql.ACT[ActName.CANCEL].bind(queue=queue, ids=ids, **bound(audit))
        return acted(await self._pool.fetch(*statement))

    async def retry(
        self, batch: UUID, queue: str, ids: Sequence[UUID], audit: AuditEntry | None = None
    ) -> dict[UUID, Acted]:
        """Make failed and cancelled jobs wait again, in the outbox under `batch`, fresh for each send."""
        statement = sql.ACT[ActName.RETRY].bind(batch=batch, queue=queue, ids=ids, **bound(audit))
        return acted(await self._pool.fetch(*statement))

    async def run_now(
        self, batch: UUID, queue: str, ids: Sequence[UUID], audit: AuditEntry | None = None
    ) -> dict[UUID, Acted]:
        """Make due what waits for a time, in the outbox under `batch`, fresh for each send."""
        statement = sql.ACT[ActName.RUN_NOW].bind(batch=batch, queue=queue, ids=ids, **bound(audit))
        return acted(await self._pool.fetch(*statement))

    async def delete(self, queue: str, ids: Sequence[UUID], audit: AuditEntry | None = None) -> dict[UUID, Acted]:
        """Delete what has ended. Repeated after a lost answer, the ids that are deleted are missing."""
        statement = sql.ACT[ActName.DELETE].bind(queue=queue, ids=ids, **bound(audit))
        return acted(await self._pool.fetch(*statement))

    async def cancelled(self, ids: Sequence[UUID]) -> list[ClaimedJob]:
        """The runs of these jobs that a person has cancelled."""
        return [(row["token"], row["id"]) for row in await self._pool.fetch(*sql.CANCELLED_JOBS.bind(ids=ids))]

    async def ended(self, ids: Sequence[UUID]) -> set[UUID]:
        """Which of these jobs have ended, or are gone."""
        return {row["id"] for row in await self._pool.fetch(*sql.ENDED_JOBS.bind(ids=array_text(ids)))}

    async def prune_deleted(self, *, keep_seconds: float, limit: int) -> int:
        """Forget up to `limit` jobs that a person deleted so long ago; how many."""
        [row] = await self._pool.fetch(*sql.PRUNE_DELETED.bind(keep_seconds=keep_seconds, limit=limit))
        return int(row["pruned"])

    # --- retention

    async def delete_ended(
        self,
        queue: str,
        state: JobState,
        *,
        keep_seconds: float,
        after: tuple[datetime, UUID] | None,
        limit: int,
    ) -> Deleted:
        """Delete jobs that ended more than `keep_seconds` ago: completed ones, or failed and cancelled ones.

        Looks at `limit` rows behind the place `after`, the oldest first. May be repeated.
        """
        statement = sql.DELETE_COMPLETED_JOBS if state is JobState.COMPLETED else sql.DELETE_FAILED_JOBS
        after_at, after_id = after or (None, None)
        [row] = await self._pool.fetch(
            *statement.bind(queue=queue, keep_seconds=keep_seconds, after_at=after_at, after_id=after_id, limit=limit)
        )
        place = None if row["id"] is None else (row["created_at"], row["id"])
        return Deleted(row["deleted"], row["looked"], place)

    # --- which database this is

    async def installation(self) -> UUID:
        """The id that the first migration gave it: a restored backup has it too, another database another one."""
        rows = await self._pool.fetch(sql.GET_INSTALLATION, seconds=3)
        if not rows:
            raise StoreUnavailable("Postgres: the table installation is empty: put back the row that it had")
        found: UUID = rows[0]["id"]
        return found

    # --- loss of Redis

    async def read_checkpoint(self, queue: str) -> Checkpoint:
        """What Redis was last known to be and to remember."""
        [row] = await self._pool.fetch(*sql.READ_CHECKPOINT.bind(queue=queue))
        return Checkpoint(row["server_run_id"], row["position_ms"], row["now_ms"])

    async def outbox_lost(self, queue: str, known: Checkpoint, server_run_id: str, position_ms: int) -> int | None:
        """Put into the outbox what is pending and may be missing in Redis; how many. None: another worker did, or it
        is too soon."""
        statement = sql.OUTBOX_LOST_JOBS.bind(
            queue=queue,
            server_run_id=known.server_run_id,
            position_ms=known.position_ms,
            new_server_run_id=server_run_id,
            remembered_ms=position_ms,
        )
        [row] = await self._pool.fetch_slowly(*statement, seconds=RECONCILE_SECONDS)
        return int(row["added"]) if row["guarded"] else None

    async def advance_checkpoint(self, queue: str, server_run_id: str, known: Checkpoint) -> None:
        """Redis remembers `known.now_ms` now."""
        statement = sql.ADVANCE_CHECKPOINT.bind(
            queue=queue,
            server_run_id=server_run_id,
            position_ms=known.position_ms,
            new_position_ms=known.now_ms,
        )
        await self._pool.fetch(*statement)

    async def pending(self, queue: str, *, after: UUID, limit: int, before_ms: int) -> list[UUID]:
        """What is pending since before `before_ms` of Postgres's clock, in the order of ids, behind `after`."""
        statement = sql.PENDING_IDS.bind(queue=queue, after=after, limit=limit, before_ms=before_ms)
        rows = await self._pool.fetch_slowly(*statement, seconds=RECONCILE_SECONDS)
        return [row["id"] for row in rows]

    # --- what the API shows

    async def get(self, job_id: UUID) -> JobRow | None:
        rows = await self._pool.fetch(*sql.GET_JOB.bind(id=job_id))
        if not rows:
            return None
        row, progress = rows[0], None
        if row["fraction"] is not None:
            progress = ProgressRow(row["fraction"], row["text"], row["at"])
        return structs.replace(job_row(row), progress=progress)

    async def runs(self, job_id: UUID) -> list[Run]:
        """The newest runs that did not complete the job, in order; RUNS_MAX at most."""
        runs, _ = await self.run_page(job_id)
        return runs

    async def run_page(
        self, job_id: UUID, *, before: int | None = None, limit: int = RUNS_MAX, bytes_max: int = RUNS_BYTES_MAX
    ) -> tuple[list[Run], bool]:
        """The newest runs that did not complete the job, in order; True: there are older ones.

        `before`: only those with a lower number. At most `limit`, and so many that their errors and tracebacks have at
        most `bytes_max` bytes; one at least.
        """
        rows = await self._pool.fetch(
            *sql.GET_RUNS.bind(job_id=job_id, before=before, limit=limit, bytes_max=bytes_max)
        )
        runs = [
            Run(**{name: row[name] for name in Run.__struct_fields__} | {"outcome": RunOutcome(row["outcome"])})
            for row in rows
        ]
        return runs, bool(rows and rows[0]["more"])

    async def artifacts(self, job_id: UUID) -> list[ArtifactHead]:
        return [ArtifactHead(**dict(row)) for row in await self._pool.fetch(*sql.GET_ARTIFACTS.bind(job_id=job_id))]

    async def artifact(self, job_id: UUID, name: str | None) -> Artifact | None:
        """One artifact; without a name the first."""
        rows = await self._pool.fetch(*sql.GET_ARTIFACT.bind(job_id=job_id, name=name))
        return Artifact(rows[0]["name"], rows[0]["content_type"], rows[0]["bytes"]) if rows else None

    async def check(self) -> None:
        """Raise StoreUnavailable, with a sentence for an operator, unless Postgres would take and keep a row."""
        [row] = await self._pool.fetch(sql.CHECK_STORE, seconds=3)
        schema = self._pool.schema
        if row["read_only"] == "on":
            raise StoreUnavailable("Postgres: this server is read-only; point DATABASE_URL to its primary")
        if "jobs" in row["missing"]:
            raise StoreUnavailable("Postgres: our tables are missing; run `workqueue migrate`")
        for name, kind in (found.split() for found in row["strange"]):
            raise StoreUnavailable(
                f"Postgres: {name} in the schema {schema} is a {KINDS.get(kind, 'relation')} and no table of ours: put "
                "our table back, or set DATABASE_SCHEMA to a schema for our tables alone"
            )
        check_oldest(row["oldest"])
        self._unfit = None
        if row["missing"]:
            self._unfit = (
                f"Postgres: tables are missing in the schema {schema}: {', '.join(row['missing'])}. Put them back from "
                "a backup; where there is none, drop the schema and run `workqueue migrate`"
            )
        elif row["denied"]:
            self._unfit = (
                f"Postgres: the user of DATABASE_URL lacks rights in the schema {schema}: {', '.join(row['denied'])}. "
                "Grant them (docs/deployment.md lists all that are needed)"
            )

    @property
    def complaint(self) -> str | None:
        """Why a statement of ours cannot work, though others may, as the last `check` and Postgres itself have said."""
        return self._unfit or self._pool.complaint

    async def check_fitness(self) -> None:
        """Raise StoreUnavailable where there is a complaint."""
        await trio.lowlevel.checkpoint()
        if (complaint := self.complaint) is not None:
            raise StoreUnavailable(complaint)


def _compare(done: str, changed: int, told: int) -> None:
    """Raise StoreUnavailable unless a statement has changed as many rows as its answer amounts to: what was not changed
    would be acked, and its job lost. The caller repeats it, and finds out which rows are done."""
    if changed != told:
        raise StoreUnavailable(
            f"Postgres: {changed} rows were {done} where the answer amounts to {told}: look for row security, rules or "
            "triggers on the table jobs"
        )


def _due_arrays(jobs: Sequence[NewJob]) -> dict[str, object]:
    return due_arrays([job.delay for job in jobs], [job.is_far for job in jobs])


def _task(row: asyncpg.Record) -> Task:
    counters = Counters(row["attempts"], row["recoveries"], row["interruptions"])
    extra = (row["extra"] or "").encode()
    return Task(row["type"], row["payload"].encode(), job_options(row), counters, row["id"], extra)
