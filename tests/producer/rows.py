"""Jobs as a worker leaves them, written by the statements that it sends."""

from typing import Any
from uuid import UUID, uuid4

import httpx
from uuid_utils.compat import uuid7

from workqueue.core.job import JobState, RunOutcome
from workqueue.core.queue import Queue
from workqueue.core.store import Counter, Finish, JobStore, Requeue

OWNER = uuid4()


async def enqueue(client: httpx.AsyncClient, kind: str = "a", **fields: object) -> UUID:
    answer = await client.post("/enqueue", json={"type": kind, **fields})
    return UUID(answer.json()["job_id"])


async def claim(store: JobStore, queue: Queue, *ids: UUID) -> UUID:
    token = uuid7()
    taken = await store.claim(
        ids, token, queue=queue.name, owner=OWNER, worker="host.1", earlier=[], done_claims=[]
    )  # fmt: skip
    assert set(taken) == {job_id.int for job_id in ids}
    return token


async def finish(store: JobStore, job_id: UUID, token: UUID, state: JobState, **more: Any) -> None:
    values: dict[str, Any] = {"outcome": RunOutcome(state), "seconds": 1.5} | more
    assert await store.finish([Finish(job_id, token, state, **values)])


def failed(job_id: UUID, token: UUID, error: str, traceback: str) -> Requeue:
    """A run that failed; the job waits for the next."""
    return Requeue(job_id, token, Counter.ATTEMPTS, 0, RunOutcome.FAILED, 0.5, error, traceback)


async def details(client: httpx.AsyncClient, job_id: UUID) -> dict:
    answer = await client.get(f"/api/jobs/{job_id}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    return answer.json()
