"""The client for threads: `from workqueue import Client`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, TypeVar, Unpack, overload

import httpcore
import msgspec

from workqueue.client import calls, http
from workqueue.client.calls import Answer, Call, NoAnswer, NotSent, Pause, Send
from workqueue.client.errors import Refused
from workqueue.client.jobs import JobInfo, JobLike, Options, Queued, Task

R = TypeVar("R")
T = TypeVar("T")

DEADLINE_SECONDS = 5.0
WAIT_SECONDS = 30.0


class Client:
    """Enqueues jobs and asks for them. Threads share one, and a forked process makes its own connections.

    Mutable state: the connections of this process.
    """

    def __init__(self, url: str | None = None, *, token: str | None = None, timeout: float = DEADLINE_SECONDS) -> None:
        """`url`: of a producer; without it WORKQUEUE_URL, or one on this machine. `token`: as its API_TOKENS have it;
        without it WORKQUEUE_TOKEN. `timeout`: seconds that a call may last in all, connecting, names and repeats
        included. Nothing is sent yet. Raises ValueError."""
        self._target = http.Target(url, token)
        self._timeout = timeout
        self._pools: dict[
            int, httpcore.ConnectionPool
        ] = {}  #: by process; those of parents are neither used nor closed

    def enqueue(
        self,
        task: str | Task,
        payload: Any = None,
        *,
        idempotency_key: str | None = None,
        **options: Unpack[Options],
    ) -> Queued:
        """Enqueue one job: `client.enqueue("send_email", {"to": "a@example.org"}, retries=3, delay=60)`.

        `payload`: anything that msgspec writes as a JSON object. It is sent again while there is no answer, always with
        an idempotency key, so that there is one job at most. Raises Refused (the job cannot be: the text says why),
        NotEnqueued (no server was reached), MaybeEnqueued (there was no answer: say it again with its key).
        """
        wanted = calls.task_of(task, payload, options)
        return self._run(calls.enqueue(wanted, key=idempotency_key, seconds=self._timeout))

    def enqueue_many(self, tasks: Iterable[Task], chunk: int = calls.CHUNK) -> Iterator[Queued | Refused]:
        """Enqueue any number of jobs, `chunk` a request; an answer for each, in their order, while they are taken from
        `tasks`. What is refused is an answer, too: nothing is raised for it.

        The timeout holds for each request. Raises NotEnqueued and MaybeEnqueued, which say how many were answered.
        """
        answered = 0
        cut = calls.Chunks(chunk)
        for task in tasks:
            if (lines := cut.add(task)) is not None:
                for answer in self._run(calls.enqueue_chunk(lines, seconds=self._timeout, answered=answered)):
                    answered += 1
                    yield answer
        if (lines := cut.rest()) is not None:
            yield from self._run(calls.enqueue_chunk(lines, seconds=self._timeout, answered=answered))

    def get(self, job: JobLike) -> JobInfo:
        """The job as it is now. Raises Refused (there is none), Unavailable."""
        return self._run(calls.get(calls.job_id_of(job), seconds=self._timeout))

    @overload
    def wait(self, job: JobLike, timeout: float = ..., *, type: type[R]) -> R: ...

    @overload
    def wait(self, job: JobLike, timeout: float = ...) -> Any: ...

    def wait(self, job: JobLike, timeout: float = WAIT_SECONDS, *, type: Any = Any) -> Any:
        """The result of a job, once it has ended. Raises JobFailed, JobCancelled; StillRunning after `timeout` seconds,
        Unavailable where the producer was away then; msgspec.ValidationError for a result that is no `type`."""
        ended = self._run(calls.wait(calls.job_id_of(job), seconds=timeout))
        return msgspec.convert(ended.result, type)

    def cancel(self, job: JobLike) -> JobInfo:
        """Cancel a job: it does not start, or its run is cancelled. Raises Refused (it has ended), Unavailable."""
        return self._run(calls.act(calls.job_id_of(job), "cancel", repeats=True, seconds=self._timeout))

    def retry(self, job: JobLike) -> JobInfo:
        """Run a job that has failed or was cancelled once more. Raises Refused (it is neither), Unavailable."""
        return self._run(calls.act(calls.job_id_of(job), "retry", repeats=False, seconds=self._timeout))

    def run_now(self, job: JobLike) -> JobInfo:
        """Let a job that waits for a time run at once. Raises Refused (it does not wait), Unavailable."""
        return self._run(calls.act(calls.job_id_of(job), "run-now", repeats=False, seconds=self._timeout))

    def delete(self, job: JobLike) -> None:
        """Delete a job that has ended. Raises Refused, Unavailable."""
        self._run(calls.delete(calls.job_id_of(job), seconds=self._timeout))

    def close(self) -> None:
        """Close the connections. The client may be used on: it makes new ones."""
        if (pool := self._pools.pop(os.getpid(), None)) is not None:
            pool.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, call: Call[T]) -> T:
        try:
            step = next(call)
            while True:
                try:
                    answer = self._do(step)
                except (NotSent, NoAnswer) as error:
                    step = call.throw(error)
                else:
                    step = call.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    def _do(self, step: Send | Pause) -> Answer | None:
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return None
        try:
            with self._connections().stream(**self._target.request(step)) as response:
                return Answer(response.status, self._read(response, time.monotonic() + step.seconds))
        except http.FAILURES as error:
            raise self._target.lost(error) from error

    def _read(self, response: httpcore.Response, until: float) -> bytes:
        body = bytearray()
        for piece in response.iter_stream():
            body += piece
            if len(body) > http.ANSWER_BYTES_MAX or time.monotonic() > until:
                raise NoAnswer("the answer is too long, or comes too slowly")
        return bytes(body)

    def _connections(self) -> httpcore.ConnectionPool:
        """Those of this process: a forked one must not write into its parent's."""
        process = os.getpid()
        if (pool := self._pools.get(process)) is None:
            new = httpcore.ConnectionPool(network_backend=http.ResolvingBackend(), **http.options(self._target))
            pool = self._pools.setdefault(process, new)  # another thread may have been quicker
        return pool
