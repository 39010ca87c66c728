"""POST /api/jobs/<id>/cancel, retry and run-now, and DELETE /api/jobs/<id>."""

from uuid import UUID, uuid4

import httpx
import pytest

from tests.producer.rows import claim, enqueue, finish
from workqueue.core.job import JobState
from workqueue.core.store import JobStore

JSON = {"Content-Type": "application/json"}
ACTS = ["cancel", "retry", "run-now"]


async def act(client: httpx.AsyncClient, job_id: object, name: str) -> httpx.Response:
    if name == "delete":
        return await client.delete(f"/api/jobs/{job_id}", headers=JSON)
    return await client.post(f"/api/jobs/{job_id}/{name}", headers=JSON)


async def test_a_job_that_waits_is_cancelled_retried_and_deleted(client, store: JobStore):
    job_id = await enqueue(client)
    answer = await act(client, job_id, "cancel")
    assert (answer.status_code, answer.json()["id"], answer.json()["status"]) == (200, str(job_id), "cancelled")
    answer = await act(client, job_id, "retry")
    assert (answer.status_code, answer.json()["status"]) == (200, "pending")
    await act(client, job_id, "cancel")
    answer = await act(client, job_id, "delete")
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await client.get(f"/api/jobs/{job_id}")).status_code == 404
    assert await store.get(job_id) is None


async def test_a_job_that_runs_is_shown_as_being_cancelled(client, queue, store: JobStore):
    job_id = await enqueue(client)
    await claim(store, queue, job_id)
    answer = (await act(client, job_id, "cancel")).json()
    assert (answer["status"], answer["cancelling"]) == ("processing", True)
    assert (await client.get(f"/api/jobs/{job_id}")).json()["cancelling"] is True


async def test_what_waits_for_a_time_runs_now(client, psql):
    job_id = await enqueue(client)
    await psql("UPDATE jobs SET run_at = now() + interval '1 hour', requeued = true")
    answer = await act(client, job_id, "run-now")
    assert (answer.status_code, answer.json()["run_at"]) == (200, None)


async def test_an_act_that_does_not_apply_says_why_and_changes_nothing(client, queue, store: JobStore, psql):
    waiting, running, completed = [await enqueue(client) for _ in range(3)]
    for job_id in (running, completed):
        token = await claim(store, queue, job_id)
    await finish(store, completed, token, JobState.COMPLETED)
    before = await psql("SELECT * FROM jobs ORDER BY id")
    refusals = [
        (completed, "cancel", "the job has ended"),
        (waiting, "retry", "only a failed or cancelled job can be retried"),
        (running, "retry", "only a failed or cancelled job can be retried"),
        (completed, "retry", "only a failed or cancelled job can be retried"),
        (waiting, "run-now", "the job does not wait for a time"),
        (running, "delete", "only a job that has ended can be deleted"),
        (waiting, "delete", "only a job that has ended can be deleted"),
    ]
    for job_id, name, sentence in refusals:
        answer = await act(client, job_id, name)
        assert (answer.status_code, answer.text) == (409, sentence), (name, job_id)
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert await psql("SELECT * FROM jobs ORDER BY id") == before


@pytest.mark.parametrize("name", [*ACTS, "delete"])
async def test_what_is_no_job_is_not_found(client, name: str):
    for job_id, status, sentence in ((uuid4(), 404, "job not found"), ("x", 400, "not a job id")):
        answer = await act(client, job_id, name)
        assert (answer.status_code, answer.text) == (status, sentence)


@pytest.mark.parametrize("name", [*ACTS, "delete"])
async def test_without_rows_there_is_nothing_to_act_on(redis_only, name: str):
    answer = await act(redis_only, UUID(int=1), name)
    assert (answer.status_code, answer.text) == (404, "jobs are stored only with DATABASE_URL")


@pytest.mark.parametrize("name", [*ACTS, "delete"])
@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
async def test_only_json_acts_because_a_hostile_page_cannot_send_it(client, psql, name: str, content_type: str | None):
    job_id = await enqueue(client)
    path, method = (f"/api/jobs/{job_id}", "DELETE") if name == "delete" else (f"/api/jobs/{job_id}/{name}", "POST")
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = await client.request(method, path, headers=headers)
    assert (answer.status_code, answer.text) == (415, "Content-Type must be application/json")
    assert await psql.value("SELECT state FROM jobs") == "pending"


async def test_an_act_takes_an_empty_body_or_an_object(client):
    job_id = await enqueue(client)
    for body, status in ((b"[]", 400), (b"{", 400), (b"\xff", 400), (b"{}", 200), (b"", 200)):
        answer = await client.post(f"/api/jobs/{job_id}/cancel", headers=JSON, content=body)
        assert answer.status_code == status or (status == 200 and answer.text == "the job has ended"), body
        if status == 400:
            assert answer.text == "invalid JSON body"


async def test_a_page_of_another_origin_may_not_act(client, psql):
    job_id = await enqueue(client)
    answer = await client.post(f"/api/jobs/{job_id}/cancel", headers=JSON | {"Origin": "https://evil.example"})
    assert (answer.status_code, answer.text) == (403, "origin not allowed")
    assert await psql.value("SELECT state FROM jobs") == "pending"


async def test_the_runs_of_a_retried_job_go_on_counting(client, queue, store: JobStore):
    job_id = await enqueue(client)
    await finish(store, job_id, await claim(store, queue, job_id), JobState.FAILED, error="E: x")
    await act(client, job_id, "retry")
    await claim(store, queue, job_id)
    details = (await client.get(f"/api/jobs/{job_id}")).json()
    assert [(run["number"], run["outcome"]) for run in details["runs"]] == [(1, "failed"), (2, "running")]
    assert details["attempts"] == 0
