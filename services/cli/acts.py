"""`workqueue cancel`, `retry`, `run-now` and `delete`: what a person does to jobs, over HTTP."""

from collections.abc import AsyncIterator, Sequence

import httpx
from msgspec import Struct

from workqueue.services.cli.access import for_producer_async
from workqueue.services.cli.producer import ANSWER_SECONDS, NoAnswer, no_answer, refusal

#: Act -> what a job is afterwards, in words.
DONE = {
    "cancel": "cancelled",
    "retry": "waits again",
    "run-now": "is due",
    "delete": "deleted",
}


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
                raise NoAnswer(no_answer(url, error)) from error
            if response.is_success:
                cancelling = response.content != b"" and response.json().get("cancelling")
                yield ActResult(job_id, True, "is being cancelled" if cancelling else DONE[act])
            else:
                yield ActResult(job_id, False, refusal(response))


async def _send(client: httpx.AsyncClient, act: str, job_id: str) -> httpx.Response:
    if act == "delete":
        return await client.request("DELETE", f"/api/jobs/{job_id}", json={})
    return await client.post(f"/api/jobs/{job_id}/{act}", json={})
