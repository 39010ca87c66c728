"""`workqueue enqueue`: one job over HTTP, as any client would."""

from collections.abc import Mapping

import httpx

from workqueue.core.errors import WorkQueueError
from workqueue.services.cli.access import for_producer_async

ANSWER_SECONDS = 30.0


class NotEnqueued(WorkQueueError):
    """The producer did not take the job; the text has its answer."""


async def enqueue_job(
    url: str, job_type: str, payload: dict[str, object], options: Mapping[str, object], key: str | None = None
) -> str:
    """Post to the producer at `url`; returns the job's id, or `queued` where jobs have no rows.

    `options`: retries, delay and the like, as POST /enqueue takes them.
    `key`: an idempotency key; the same command again then gives the same job. Raises NotEnqueued and NotAllowed.
    """
    headers = {} if key is None else {"Idempotency-Key": key}
    body = {"type": job_type, **options, "payload": payload}
    try:
        async with httpx.AsyncClient(timeout=ANSWER_SECONDS, **for_producer_async()) as client:
            response = await client.post(f"{url.rstrip('/')}/enqueue", json=body, headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise NotEnqueued(
            f"no answer from the producer at {url}: {str(error) or type(error).__name__}: "
            "go to the folder of a `workqueue up` that runs, or name a producer with --url"
        ) from error
    if response.status_code != 200:
        raise NotEnqueued(f"the producer refused the job: {response.text.strip()[:200]} ({response.status_code})")
    answer = response.json()
    return str(answer.get("job_id", answer["status"]))
