"""The client for asyncio and Trio, by the loop that runs: `async with workqueue.aio.Client() as client:`."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable
from types import TracebackType
from typing import Any, TypeVar, Unpack, overload

import anyio
import httpcore
import msgspec

from workqueue.client import calls, http
from workqueue.client.calls import Answer, Call, NoAnswer, NotSent, Pause, Send
from workqueue.client.errors import Refused
from workqueue.client.jobs import JobInfo, JobLike, Options, Queued, Task
from workqueue.client.sync import DEADLINE_SECONDS, WAIT_SECONDS

R = TypeVar("R")
T = TypeVar("T")

__all__ = ["Client"]


class Client:
    """Enqueues jobs and asks for them, as workqueue.Client does; tasks of one loop share it.

    Cancelled in any call: it may have been carried out. Mutable state: the connections, between enter and exit.
    """

    def __init__(self, url: str | None = None, *, token: str | None = None, timeout: float = DEADLINE_SECONDS) -> None:
        """As workqueue.Client. Nothing is opened yet. Raises ValueError."""
        self._target = http.Target(url, token)
        self._timeout = timeout
        self._pool: httpcore.AsyncConnectionPool | None = None

    async def __aenter__(self) -> Client:
        self._pool = httpcore.AsyncConnectionPool(**http.options(self._target))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            with anyio.CancelScope(shield=True):  # it closes sockets, which takes no time
                await pool.aclose()

    async def enqueue(
        self,
        task: str | Task,
        payload: Any = None,
        *,
        idempotency_key: str | None = None,
        **options: Unpack[Options],
    ) -> Queued:
        """As workqueue.Client.enqueue."""
        wanted = calls.task_of(task, payload, options)
        return await self._run(calls.enqueue(wanted, key=idempotency_key, seconds=self._timeout))

    async def enqueue_many(
        self, tasks: Iterable[Task] | AsyncIterable[Task], chunk: int = calls.CHUNK
    ) -> AsyncIterator[Queued | Refused]:
        """As workqueue.Client.enqueue_many; the tasks may come from an asynchronous iterator."""
        answered = 0
        cut = calls.Chunks(chunk)
        source = _Tasks(tasks)
        while (task := await source.next()) is not None:
            if (lines := cut.add(task)) is not None:
                for answer in await self._run(calls.enqueue_chunk(lines, seconds=self._timeout, answered=answered)):
                    answered += 1
                    yield answer
        if (lines := cut.rest()) is not None:
            for answer in await self._run(calls.enqueue_chunk(lines, seconds=self._timeout, answered=answered)):
                yield answer

    async def get(self, job: JobLike) -> JobInfo:
        """As workqueue.Client.get."""
        return await self._run(calls.get(calls.job_id_of(job), seconds=self._timeout))

    @overload
    async def wait(self, job: JobLike, timeout: float = ..., *, type: type[R]) -> R: ...

    @overload
    async def wait(self, job: JobLike, timeout: float = ...) -> Any: ...

    async def wait(self, job: JobLike, timeout: float = WAIT_SECONDS, *, type: Any = Any) -> Any:
        """As workqueue.Client.wait."""
        ended = await self._run(calls.wait(calls.job_id_of(job), seconds=timeout))
        return msgspec.convert(ended.result, type)

    async def cancel(self, job: JobLike) -> JobInfo:
        """As workqueue.Client.cancel."""
        return await self._run(calls.act(calls.job_id_of(job), "cancel", repeats=True, seconds=self._timeout))

    async def retry(self, job: JobLike) -> JobInfo:
        """As workqueue.Client.retry."""
        return await self._run(calls.act(calls.job_id_of(job), "retry", repeats=False, seconds=self._timeout))

    async def run_now(self, job: JobLike) -> JobInfo:
        """As workqueue.Client.run_now."""
        return await self._run(calls.act(calls.job_id_of(job), "run-now", repeats=False, seconds=self._timeout))

    async def delete(self, job: JobLike) -> None:
        """As workqueue.Client.delete."""
        await self._run(calls.delete(calls.job_id_of(job), seconds=self._timeout))

    async def _run(self, call: Call[T]) -> T:
        try:
            step = next(call)
            while True:
                try:
                    answer = await self._do(step)
                except (NotSent, NoAnswer) as error:
                    step = call.throw(error)
                else:
                    step = call.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    async def _do(self, step: Send | Pause) -> Answer | None:
        if isinstance(step, Pause):
            await anyio.sleep(step.seconds)
            return None
        if self._pool is None:
            raise RuntimeError("the client is not open: `async with Client() as client:`")
        try:
            with anyio.fail_after(step.seconds):
                async with self._pool.stream(**self._target.request(step)) as response:
                    return Answer(response.status, await self._read(response))
        except TimeoutError as error:  # anyio's: where the request was, is not known
            raise NoAnswer(f"{self._target.shown}: no answer in time") from error
        except http.FAILURES as error:
            raise self._target.lost(error) from error

    async def _read(self, response: httpcore.Response) -> bytes:
        body = bytearray()
        async for piece in response.aiter_stream():
            body += piece
            if len(body) > http.ANSWER_BYTES_MAX:
                raise NoAnswer("the answer is too long")
        return bytes(body)


class _Tasks:
    """Tasks out of either kind of iterable: an asynchronous generator around them would have to be closed, too."""

    def __init__(self, tasks: Iterable[Task] | AsyncIterable[Task]) -> None:
        self._later = aiter(tasks) if isinstance(tasks, AsyncIterable) else None
        self._now = iter(()) if isinstance(tasks, AsyncIterable) else iter(tasks)

    async def next(self) -> Task | None:
        """None: that was all."""
        return next(self._now, None) if self._later is None else await anext(self._later, None)
