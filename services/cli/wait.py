"""`workqueue enqueue --wait`: from the job's acceptance to its end."""

import httpx
import msgspec
import trio
from msgspec import Raw, Struct

from workqueue.core.errors import WorkQueueError
from workqueue.core.job import JobState
from workqueue.services.cli.access import NotAllowed, for_producer_async
from workqueue.services.cli.progress import Progress
from workqueue.services.logs import printable

LOOK_SECONDS = 1  #: of one request; the producer answers it as soon as the job has ended
ANSWER_SECONDS = 30.0
AWAY_SECONDS = 60.0  #: for so long a producer may be away while a job is waited for

#: How a job ended -> exit status. 1 and 2 say that there is no such answer.
STATUS = {JobState.COMPLETED: 0, JobState.FAILED: 3, JobState.CANCELLED: 4}


class NotWaited(WorkQueueError):
    """It is not known how the job has ended."""


class Told(Struct, frozen=True):
    """How far the job is, as its handler says."""

    fraction: float
    text: str


class Seen(Struct, frozen=True):
    """A job as the producer shows it, as far as it counts here."""

    status: JobState
    attempts: int
    result: Raw
    error_message: str | None = None
    progress: Told | None = None


async def wait_for_end(url: str, job_id: str, progress: Progress) -> Seen:
    """Wait until the job has ended, and show what it does meanwhile. Raises NotWaited."""
    begun = answered = trio.current_time()
    async with httpx.AsyncClient(base_url=url.rstrip("/"), timeout=ANSWER_SECONDS, **for_producer_async()) as client:
        while True:
            try:
                response = await client.get(f"/api/jobs/{job_id}", params={"wait": LOOK_SECONDS})
            except NotAllowed as error:  # it may enqueue, and not read
                raise NotWaited(f"job {job_id} is enqueued, and cannot be waited for: {error}") from error
            except httpx.HTTPError as error:
                if trio.current_time() - answered > AWAY_SECONDS:
                    raise NotWaited(f"job {job_id}: no answer from the producer at {url}: {error!r}") from error
                progress(f"job {job_id}: the producer is away")
                await trio.sleep(1)
                continue
            if response.status_code >= 500:
                if trio.current_time() - answered > AWAY_SECONDS:
                    raise NotWaited(f"job {job_id}: {response.text.strip()[:200]} ({response.status_code})")
                await trio.sleep(1)
                continue
            if response.status_code != 200:
                raise NotWaited(f"job {job_id}: {response.text.strip()[:200]} ({response.status_code})")
            answered = trio.current_time()
            job = msgspec.json.decode(response.content, type=Seen)
            if job.status in STATUS:
                return job
            runs = f", after {job.attempts} failures" if job.attempts else ""
            told = "" if job.progress is None else f", {job.progress.fraction:.0%} {job.progress.text}".rstrip()
            progress(printable(f"job {job_id}: {job.status}{runs}{told}, {answered - begun:.0f} s"))
