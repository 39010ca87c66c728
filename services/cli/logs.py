"""`workqueue logs`: the lines that the handler of a job has logged, over HTTP."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import TypeVar

import httpx
import msgspec
import trio
from msgspec import Struct

from workqueue.core.errors import WorkQueueError
from workqueue.core.job import TERMINAL, JobState
from workqueue.services.cli.access import for_producer_async

T = TypeVar("T")

ANSWER_SECONDS = 30.0
LOOK_SECONDS = 0.5  #: between two looks for new lines
LAST_SECONDS = 1.0  #: the last lines of a job may be stored so long after its end
AWAY_SECONDS = 60.0  #: for so long a producer may be away while a job is followed


class NoLogs(WorkQueueError):
    """The producer has not answered with the lines; the text has its answer."""


class Line(Struct, frozen=True):
    """A line as the producer shows it."""

    number: int
    at: datetime
    run: int
    text: str


class _Job(Struct, frozen=True):
    status: JobState


async def read_logs(url: str, job_id: str, *, follow: bool) -> AsyncIterator[Line]:
    """The lines in order; with `follow` until the job has ended. Raises NoLogs and NotAllowed."""
    after, answered, ended_at = 0, trio.current_time(), float("inf")
    async with httpx.AsyncClient(
        base_url=url.rstrip("/"), timeout=ANSWER_SECONDS, trust_env=False, **for_producer_async()
    ) as client:
        while True:
            try:
                lines = await _get(client, f"/api/jobs/{job_id}/logs?after={after}", list[Line])
                has_ended = follow and (await _get(client, f"/api/jobs/{job_id}", _Job)).status in TERMINAL
            except httpx.HTTPError as error:
                if not follow or trio.current_time() - answered > AWAY_SECONDS:
                    raise NoLogs(
                        f"no answer from the producer at {url}: {str(error) or type(error).__name__}"
                    ) from error
                await trio.sleep(LOOK_SECONDS)
                continue
            answered = trio.current_time()
            for line in lines:
                after = line.number
                yield line
            if has_ended:
                ended_at = min(ended_at, answered)
            if not follow or answered > ended_at + LAST_SECONDS:
                return
            await trio.sleep(LOOK_SECONDS)


async def _get(client: httpx.AsyncClient, path: str, kind: type[T]) -> T:
    answer = await client.get(path)
    if answer.status_code >= 500:
        raise httpx.ReadError(f"{answer.text.strip()[:200]} ({answer.status_code})")
    if answer.status_code != 200:
        raise NoLogs(f"{answer.text.strip()[:200]} ({answer.status_code})")
    return msgspec.json.decode(answer.content, type=kind)
