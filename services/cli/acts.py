"""`workqueue cancel`, `retry`, `run-now` and `delete`: what a person does to jobs, over HTTP."""

from collections.abc import AsyncIterator, Sequence

import httpx
from msgspec import Struct

from workqueue.core.errors import WorkQueueError
from workqueue.services.cli.access import for_producer_async

ANSWER_SECONDS = 30.0

#: Act -> what a job is afterwards, in words.
DONE = {
    "cancel": "cancelled",
    "retry": "waits again",
    "run-now": "is due",
    "delete": "deleted",
}


class NoAnswer(WorkQueueError):
    """The producer did not answer, so that it is not known what has become of the job."""


class ActResult(Struct, frozen=True):
    """What has become of one job."""

    job_id: str
    done: bool
    said: str  #: in words


async def act_on(url: str, act: str, ids: Sequence[str]) -> AsyncIterator[ActResult]:
    """Do `act` to each job, in order, at the producer at `url`. Raises NoAnswer and NotAllowed.

    Cancelled: what was asked last may be done.
    """
    async with httpx.AsyncClient(
        base_url=url.rstrip("/"), timeout=ANSWER_SECONDS, trust_env=False, **for_producer_async()
    ) as client:
        for job_id in ids:
            try:
                response = await _send(client, act, job_id)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise NoAnswer(f"no answer from the producer at {url}: {str(error) or type(error).__name__}") from error
            if response.is_success:
                cancelling = response.content != b"" and response.json().get("cancelling")
                yield ActResult(job_id, True, "is being cancelled" if cancelling else DONE[act])
            else:
                yield ActResult(job_id, False, f"{response.text.strip()[:200]} ({response.status_code})")


async def _send(client: httpx.AsyncClient, act: str, job_id: str) -> httpx.Response:
    if act == "delete":
        return await client.request("DELETE", f"/api/jobs/{job_id}", json={})
    return await client.post(f"/api/jobs/{job_id}/{act}", json={})
