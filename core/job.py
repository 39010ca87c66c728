"""What a job is and which states it may pass through. Pure."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Generic, Protocol, overload
from uuid import UUID

from msgspec import Struct
from typing_extensions import TypeVar

from workqueue.core.errors import ArtifactRefused
from workqueue.core.report import Report

P = TypeVar("P", default=dict[str, object])  #: of a payload

ARTIFACT_BYTES_MAX = 10 * 1024 * 1024
ARTIFACTS_MAX = 100
ARTIFACTS_BYTES_MAX = 64 * 1024 * 1024  #: of one job together: they travel in the statement that ends it


class JobState(StrEnum):
    PENDING = "pending"  #: in Redis, or will be again (an entry in the outbox sees to it)
    PROCESSING = "processing"  #: claimed by one worker, whose claim token stands in the row
    COMPLETED = "completed"
    FAILED = "failed"  #: retries are used up; a person may retry it
    CANCELLED = "cancelled"


class RunOutcome(StrEnum):
    """How one run of a job ended, or that it goes on."""

    COMPLETED = "completed"
    FAILED = "failed"
    TIMED_OUT = "timed out"
    INTERRUPTED = "interrupted"  #: by a stop of its worker, or by the loss of its lease
    WORKER_DIED = "worker died"  #: written by recover_jobs.sql
    CANCELLED = "cancelled"
    RUNNING = "running"


#: state -> states that may follow it. The statements spell the states out; tests walk through this table and hold each
#: statement against it (tests/core/store/test_jobs.py). A completed job is copied, never reopened.
TRANSITIONS: Mapping[JobState, frozenset[JobState]] = {
    JobState.PENDING: frozenset({JobState.PROCESSING, JobState.CANCELLED, JobState.FAILED}),  # failed: expired
    JobState.PROCESSING: frozenset(JobState) - {JobState.PROCESSING},
    JobState.COMPLETED: frozenset(),
    JobState.FAILED: frozenset({JobState.PENDING}),
    JobState.CANCELLED: frozenset({JobState.PENDING}),
}

TERMINAL = frozenset({JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED})


class Artifact(Struct, frozen=True):
    """Something that a job made and that is kept beside its row."""

    name: str
    content_type: str
    content: bytes


class RunContext(Protocol):
    """What a running job may ask of the worker that runs it; the one way back to it. One for all jobs of a worker."""

    @property
    def keeps_artifacts(self) -> bool:
        """Are artifacts stored? Only with Postgres."""

    def is_cancelled(self, job: "Job[Any]") -> bool:
        """Job.cancelled."""

    def deadline(self, job: "Job[Any]") -> float | None:
        """Job.deadline."""

    def extend(self, job: "Job[Any]", seconds: float) -> None:
        """Job.extend, with seconds that are not negative."""

    def report(self, job: "Job[Any]") -> Report:
        """Where this run tells of itself."""


class Standalone(Struct, frozen=True):
    """The context of a job that no worker runs, as in a test of its handler."""

    keeps_artifacts: bool = False

    def is_cancelled(self, job: "Job[Any]") -> bool:
        """RunContext.is_cancelled: never."""
        return False

    def deadline(self, job: "Job[Any]") -> float | None:
        """RunContext.deadline: none."""
        return None

    def extend(self, job: "Job[Any]", seconds: float) -> None:
        """RunContext.extend: there is no deadline."""

    def report(self, job: "Job[Any]") -> Report:
        """RunContext.report: one that nothing stores."""
        return Report()


WITHOUT_WORKER = Standalone()


class Job(Generic[P]):
    """What a handler gets: one run of one job. `Job[X]`: its payload is an X (core/payloads.py).

    Mutable state: the artifacts, changed by `attach` alone; the report, made when it is first needed.
    """

    __slots__ = ("_artifacts", "_context", "_id", "_report", "attempt", "payload", "retries", "type")

    @overload
    def __init__(
        self: "Job[dict[str, object]]",
        id: UUID | str,
        type: str,
        payload: dict[str, object],
        attempt: int,
        retries: int,
        context: RunContext = WITHOUT_WORKER,
    ) -> None: ...

    @overload
    def __init__(
        self, id: UUID | str, type: str, payload: P, attempt: int, retries: int, context: RunContext = WITHOUT_WORKER
    ) -> None: ...

    def __init__(
        self,
        id: UUID | str,
        type: str,
        payload: Any,
        attempt: int,
        retries: int,
        context: RunContext = WITHOUT_WORKER,
    ) -> None:
        self._id = id
        self.type = type
        self.payload: P = payload
        self.attempt = attempt  #: number of this run, 1 on the first
        self.retries = retries
        self._context = context
        self._artifacts: dict[str, Artifact] | None = None  # most jobs attach nothing
        self._report: Report | None = None  # most jobs tell nothing

    @property
    def id(self) -> str:
        """UUID as text."""
        return str(self._id)  # made when asked for: it takes as long as decoding the task

    @property
    def keeps_artifacts(self) -> bool:
        """May `attach` be called? Only with Postgres."""
        return self._context.keeps_artifacts

    @property
    def cancelled(self) -> bool:
        """Shall this run end? A person has cancelled the job, or the run was given up (its time was over).

        For threads, which nothing can stop: look at it between two steps, clean up and return or raise. A coroutine
        need not ask: it is cancelled. May be read from any thread.
        """
        return self._context.is_cancelled(self)

    @property
    def deadline(self) -> float | None:
        """When this run has timed out, on Trio's clock (`trio.current_time()`); None: it may last for ever."""
        return self._context.deadline(self)

    def extend(self, seconds: float) -> None:
        """Let this run last `seconds` longer than its timeout, beside what it was extended by before.

        May be called from any thread. Too late in the last tenth of a second. Raises ValueError for less than 0.
        """
        if not seconds >= 0:
            raise ValueError(f"extend({seconds!r}): must be 0 or more seconds")
        self._context.extend(self, seconds)

    def progress(self, fraction: float, text: str = "") -> None:
        """Say how far this run is, from 0 to 1, and in words if there are any (1,024 characters are kept).

        Shown on the job's page and by GET /api/jobs/<id> while it runs and after its end. A plain call, from any
        thread, that waits for nothing: the worker stores the last one of each quarter of a second. Only with Postgres.
        Raises ValueError for what is no number from 0 to 1.
        """
        (self._report or self._reported()).progress(fraction, text)

    def log(self, text: str) -> None:
        """Log a line (1,024 characters of it) beside the job; of a job's lines the newest 1,000 are kept.

        Shown by GET /api/jobs/<id>/logs and `workqueue logs`, while it runs as well. A plain call, from any thread,
        that waits for nothing: the worker stores lines four times a second; those of the last quarter of a second are
        lost with a worker that is killed. Only with Postgres.
        """
        (self._report or self._reported()).log(text)

    def _reported(self) -> Report:
        self._report = report = self._context.report(self)
        return report

    def __repr__(self) -> str:
        return f"<Job {self.id} {self.type} run {self.attempt}>"

    @property
    def artifacts(self) -> Sequence[Artifact]:
        """What was attached so far; written together with the job's end, so that a failed run leaves none."""
        return tuple(self._artifacts.values()) if self._artifacts else ()

    def attach(self, name: str, content: bytes, content_type: str = "application/octet-stream") -> None:
        """Keep `content` (at most 10 MiB, 64 MiB in all) beside the job's row; the same name again replaces it.

        Raises ArtifactRefused without Postgres, for an unusable name and for too much.
        """
        if not self._context.keeps_artifacts:
            raise ArtifactRefused(f"artifact {name!r}: artifacts are stored only with DATABASE_URL")
        if not name or len(name) > 200 or not name.isprintable() or "/" in name:
            raise ArtifactRefused(f"artifact {name!r}: a name has 1 to 200 printable characters and no '/'")
        if len(content) > ARTIFACT_BYTES_MAX:
            raise ArtifactRefused(f"artifact {name!r}: {len(content)} bytes, at most {ARTIFACT_BYTES_MAX} are kept")
        if not content_type or not content_type.isascii() or not content_type.isprintable() or len(content_type) > 200:
            raise ArtifactRefused(f"artifact {name!r}: {content_type!r} is no content type")
        attached = self._artifacts or {}
        if len(attached) >= ARTIFACTS_MAX and name not in attached:
            raise ArtifactRefused(f"artifact {name!r}: a job keeps at most {ARTIFACTS_MAX} artifacts")
        others = sum(len(artifact.content) for other, artifact in attached.items() if other != name)
        if others + len(content) > ARTIFACTS_BYTES_MAX:
            raise ArtifactRefused(f"artifact {name!r}: a job keeps at most {ARTIFACTS_BYTES_MAX} bytes of artifacts")
        self._artifacts = attached | {name: Artifact(name, content_type, bytes(content))}
