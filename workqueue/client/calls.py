"""What a client does, without input and output: a call is a generator of trips, which a client of either kind makes.

A call yields a `Send` and is given its `Answer`, or has `NotSent` or `NoAnswer` thrown into it; or it yields a `Pause`.
So there is one specification of retries, deadlines and errors for threads, asyncio and Trio (the technique is known as
sans-I/O: https://sans-io.readthedocs.io).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID, uuid4

import msgspec
from msgspec import Struct

from workqueue.client.errors import (
    JobCancelled,
    JobFailed,
    MaybeEnqueued,
    NotAllowed,
    NotEnqueued,
    Refused,
    StillRunning,
    Unavailable,
)
from workqueue.client.jobs import JobInfo, Queued, Task, body_of

T = TypeVar("T")

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0
LOOK_SECONDS = 20.0  #: of one request that waits for a job; the producer answers it as soon as the job has ended
SLACK_SECONDS = 5.0  #: for its answer to come
CHUNK = 1000  #: jobs of one request of enqueue_many
CHUNK_BYTES_MAX = 8 * 1024 * 1024
NONE: Mapping[str, str] = {}
JSON = {"Content-Type": "application/json"}
NDJSON = {"Content-Type": "application/x-ndjson"}
BUSY = frozenset({429, 500, 502, 503, 504})  #: answers after which the same may be sent again


class NotSent(Exception):
    """The server could not be reached: it has got nothing."""


class NoAnswer(Exception):
    """It was sent, and no whole answer came."""


@dataclass(frozen=True, slots=True)
class Send:
    """One request. `seconds`: until then its answer must be there."""

    method: str
    path: str
    seconds: float
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing is done for so long."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: bytes

    @property
    def text(self) -> str:
        """Of an answer that says what is wrong."""
        return self.body.decode(errors="replace").strip()[:500]


Call = Generator[Send | Pause, Answer | None, T]


class _Accepted(Struct):
    status: str
    job_id: UUID | None = None
    queue: str = "default"
    run_at: datetime | None = None


class _Line(Struct):
    index: int
    job_id: UUID | None = None
    status: str = "queued"
    error: str | None = None
    queue: str = "default"
    run_at: datetime | None = None


_ACCEPTED = msgspec.json.Decoder(_Accepted)
_LINE = msgspec.json.Decoder(_Line)
_JOB = msgspec.json.Decoder(JobInfo)


class Trips:
    """Repeats one request until it is answered or the deadline has come. Mutable state: what became of the sends."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = clock() + seconds
        self._seconds = seconds
        self._pause = FIRST_PAUSE_SECONDS
        self.may_have_arrived = False
        self.last = "no time"

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self._until - self._clock()

    def run(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] = NONE,
        *,
        repeats: bool = True,
    ) -> Call[Answer | None]:
        """The answer, whatever it says; None: none came in time. `repeats`: the same may arrive twice."""
        while (left := self.left) > 0:
            try:
                answer = yield Send(method, path, left, body, headers)
            except NotSent as error:
                self.last = str(error)
            except NoAnswer as error:
                self.last = str(error)
                self.may_have_arrived = True
                if not repeats:
                    return None
            else:
                assert answer is not None  # noqa: S101 - a Send is answered
                if answer.status not in BUSY:
                    return answer
                self.last = f"{answer.text} ({answer.status})"
                if answer.status == 500:  # the others say that nothing was done
                    self.may_have_arrived = True
                    if not repeats:
                        return None
            pause = min(self._pause * random.uniform(0.5, 1.5), max(self.left, 0.0))  # noqa: S311 - no secret
            self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
            yield Pause(pause)
        return None

    def told(self, what: str) -> str:
        """Why there is no answer."""
        return f"{what} within {self._seconds:g} s: {self.last}"


def enqueue(task: Task, *, key: str | None, seconds: float) -> Call[Queued]:
    """One job. `key`: its idempotency key, if the caller has chosen one; there is always one, so that repeats are safe.

    Raises Refused, NotEnqueued, MaybeEnqueued; TypeError and ValueError for what no job can be.
    """
    body, key, trips = body_of(task), key or uuid4().hex, Trips(seconds)
    answer = yield from trips.run("POST", "/enqueue", body, {"Idempotency-Key": key, **JSON})
    if answer is None:
        if trips.may_have_arrived:
            raise MaybeEnqueued(trips.told("the job may have been enqueued: there was no answer"), key)
        raise NotEnqueued(trips.told("the job was not enqueued: the producer was not reached"))
    accepted = _ACCEPTED.decode(_accepted(answer))
    return Queued(accepted.job_id, accepted.status == "duplicate", accepted.queue, accepted.run_at)


class Chunks:
    """Cuts tasks into requests: as many as `chunk` each, not too many bytes. Mutable state: the lines of the next."""

    def __init__(self, chunk: int) -> None:
        if chunk < 1:
            raise ValueError("chunk: at least 1")
        self._chunk = chunk
        self._lines: list[bytes] = []
        self._bytes = 0

    def add(self, task: Task) -> list[bytes] | None:
        """The lines of a request that is full; None: there is room for more."""
        line = body_of(task)
        full = None
        if len(self._lines) == self._chunk or (self._lines and self._bytes + len(line) > CHUNK_BYTES_MAX):
            full = self.rest()
        self._lines.append(line)
        self._bytes += len(line) + 1
        return full

    def rest(self) -> list[bytes] | None:
        """The lines of the last request, if there are any."""
        lines, self._lines, self._bytes = self._lines, [], 0
        return lines or None


def enqueue_chunk(lines: list[bytes], *, seconds: float, answered: int) -> Call[list[Queued | Refused]]:
    """The jobs of one request: an answer for each. Jobs of a batch have no idempotency keys, so it is not repeated once
    it was sent. Raises Refused, NotEnqueued, MaybeEnqueued."""
    trips = Trips(seconds)
    answer = yield from trips.run("POST", "/api/jobs/batch", b"\n".join(lines), NDJSON, repeats=False)
    if answer is None:
        if trips.may_have_arrived:
            text = "these jobs may have been enqueued: there was no answer"
            raise MaybeEnqueued(trips.told(text), answered=answered)
        raise NotEnqueued(trips.told(f"the producer was not reached, after {answered:,} answers"))
    answers: list[Queued | Refused] = []
    for line in _LINE.decode_lines(_accepted(answer)):
        if line.error is not None:
            answers.append(Refused(line.error, 400))
        else:
            answers.append(Queued(line.job_id, line.status == "duplicate", line.queue, line.run_at))
    if len(answers) != len(lines):
        raise MaybeEnqueued(f"the producer answered {len(answers)} of {len(lines)} jobs", answered=answered)
    return answers


def get(job_id: UUID, *, seconds: float) -> Call[JobInfo]:
    """The job as it is now. Raises Refused (404: there is none), Unavailable."""
    trips = Trips(seconds)
    answer = yield from trips.run("GET", f"/api/jobs/{job_id}")
    if answer is None:
        raise Unavailable(trips.told("no answer from the producer"))
    return _JOB.decode(_accepted(answer))


def wait(job_id: UUID, *, seconds: float) -> Call[JobInfo]:
    """The job, once it has ended. Raises JobFailed, JobCancelled, StillRunning, Refused; Unavailable where the producer
    was away when the time was over."""
    trips = Trips(seconds)
    job: JobInfo | None = None
    while True:
        look = max(min(trips.left, LOOK_SECONDS), 0.0)
        within = Trips(look + SLACK_SECONDS)
        answer = yield from within.run("GET", f"/api/jobs/{job_id}?wait={int(look)}")
        if answer is not None:
            job = _JOB.decode(_accepted(answer))
            if job.has_ended:
                break
        if trips.left <= 0 and (answer is None or job is None):
            raise Unavailable(within.told("no answer from the producer"))
        if trips.left <= 0 and job is not None:
            raise StillRunning(job_id, seconds, job.status)
        if look < 1:  # less than the producer can wait for; then a last look
            yield Pause(max(trips.left, 0.0))
    if job.status == "failed":
        raise JobFailed(f"job {job_id} has failed: {job.error_message}", job)
    if job.status == "cancelled":
        raise JobCancelled(f"job {job_id} was cancelled", job)
    return job


def act(job_id: UUID, what: str, *, repeats: bool, seconds: float) -> Call[JobInfo]:
    """What a person does to a job; the job afterwards. `repeats`: doing it twice is the same as once."""
    answer = yield from _act("POST", f"/api/jobs/{job_id}/{what}", repeats=repeats, seconds=seconds)
    return _JOB.decode(answer.body)


def delete(job_id: UUID, *, seconds: float) -> Call[None]:
    """Delete a job that has ended, with its row."""
    yield from _act("DELETE", f"/api/jobs/{job_id}", repeats=True, seconds=seconds)


def _act(method: str, path: str, *, repeats: bool, seconds: float) -> Call[Answer]:
    trips = Trips(seconds)
    answer = yield from trips.run(method, path, b"{}", JSON, repeats=repeats)
    if answer is None:
        maybe = "; it may have been done" if trips.may_have_arrived else ""
        raise Unavailable(trips.told("no answer from the producer") + maybe)
    _accepted(answer)
    return answer


def _accepted(answer: Answer) -> bytes:
    if answer.status in (401, 403):
        raise NotAllowed(f"the producer does not allow this: {answer.text} ({answer.status})", answer.status)
    if answer.status >= 300:
        raise Refused(answer.text or f"status {answer.status}", answer.status)
    return answer.body


def job_id_of(job: Any) -> UUID:
    """Of what names a job: an id, its text, the answer of `enqueue`, or a job. Raises ValueError where it has none."""
    if isinstance(job, Queued) and job.id is None:
        raise ValueError("this job has no id: without Postgres there are no rows to ask for")
    if isinstance(job, Queued | JobInfo):
        job = job.id
    return job if isinstance(job, UUID) else UUID(job)


def task_of(what: Any, payload: Any, options: Mapping[str, Any]) -> Task:
    """The task that `enqueue` was given: as a value, or as type, payload and options."""
    if isinstance(what, Task):
        if payload is not None or options:
            raise TypeError("a task has its payload and options: give either it or a type with them")
        return what
    return Task(what, payload, dict(options))  # type: ignore[arg-type]
