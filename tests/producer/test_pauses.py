"""POST /api/types/<type>/pause and /resume, and what GET /api/overview says of it."""

from urllib.parse import quote

import httpx
import pytest

from workqueue.core.pauses import PAUSED_TYPES_MAX
from workqueue.core.queue import Queue
from workqueue.core.store import JobStore

JSON = {"Content-Type": "application/json"}


async def change(client: httpx.AsyncClient, job_type: str, name: str) -> httpx.Response:
    return await client.post(f"/api/types/{quote(job_type, safe='')}/{name}", headers=JSON)


@pytest.mark.parametrize("job_type", ["send_email", "mail/send", "mail/pause", "größer 100%", "a?b#c", "'; DROP --"])
async def test_a_type_is_paused_and_resumed(client, job_type: str):
    answer = await change(client, job_type, "pause")
    assert (answer.status_code, answer.json()) == (200, {"type": job_type, "paused": True, "parked": 0})
    overview = (await client.get("/api/overview")).json()
    assert overview["paused"] == [{"type": job_type, "paused": True, "parked": 0}]
    assert (await change(client, job_type, "pause")).json()["paused"] is True
    assert (await change(client, job_type, "resume")).json() == {"type": job_type, "paused": False, "parked": 0}
    assert (await client.get("/api/overview")).json()["paused"] == []
    assert (await change(client, job_type, "resume")).status_code == 200


async def test_what_is_wrong_is_said_and_changes_nothing(client, store: JobStore, queue: Queue):
    assert (await client.post("/api/types/x/pause", content=b"")).status_code == 415
    assert (await client.get("/api/types/x/pause")).status_code == 405
    for job_type in ("x" * 201, "a\0b"):
        answer = await change(client, job_type, "pause")
        assert (answer.status_code, answer.text) == (400, "a type has 1 to 200 characters")
    assert (await store.pauses.read(queue.name)).types == frozenset()
    for number in range(PAUSED_TYPES_MAX):
        await store.pauses.change(queue.name, pause=[f"type {number}"])
    answer = await change(client, "one more", "pause")
    assert (answer.status_code, answer.text) == (409, "at most 100 types can be paused")


async def test_without_rows_nothing_can_be_paused(redis_only):
    for name in ("pause", "resume"):
        answer = await change(redis_only, "x", name)
        assert (answer.status_code, answer.text) == (404, "jobs are stored only with DATABASE_URL")
    assert (await redis_only.get("/api/overview")).json()["paused"] == []
