"""GET /api/jobs/<id>/logs, and the progress in GET /api/jobs/<id>."""

from uuid import uuid4

import pytest

from tests.producer.rows import claim, enqueue
from workqueue.core.report import JobReport, LogLine, Progress
from workqueue.core.store import JobStore

BEGIN = 1_764_385_200_123_456


async def test_lines_come_in_order_and_behind_a_number(client, store: JobStore):
    job_id = await enqueue(client)
    assert (await client.get(f"/api/jobs/{job_id}/logs")).json() == []
    lines = [LogLine(BEGIN + number, f"line {number}") for number in range(3)]
    await store.reports.write([JobReport(job_id, uuid4(), 2, None, lines, trims=False)])
    shown = (await client.get(f"/api/jobs/{job_id}/logs")).json()
    assert shown[0] == {"number": BEGIN, "at": "2025-11-29T03:00:00.123456Z", "run": 2, "text": "line 0"}
    assert [line["text"] for line in shown] == ["line 0", "line 1", "line 2"]
    shown = (await client.get(f"/api/jobs/{job_id}/logs?after={BEGIN + 1}")).json()
    assert [line["text"] for line in shown] == ["line 2"]


async def test_a_job_shows_the_progress_of_its_last_run_alone(client, queue, store: JobStore):
    job_id = await enqueue(client)
    assert (await client.get(f"/api/jobs/{job_id}")).json()["progress"] is None
    token = await claim(store, queue, job_id)
    for fraction, text in ((0.25, "a"), (0.5, "page 2 of 4")):
        await store.reports.write([JobReport(job_id, token, 1, Progress(fraction, text), [], trims=False)])
    await store.reports.write([JobReport(job_id, uuid4(), 1, Progress(1, "of another claim"), [], trims=False)])
    progress = (await client.get(f"/api/jobs/{job_id}")).json()["progress"]
    assert (progress["fraction"], progress["text"]) == (0.5, "page 2 of 4")


@pytest.mark.parametrize("query", ["after=x", "after=-1", "after=1&after=2", "after=99999999999999999", "before=1"])
async def test_a_wrong_query_is_one_sentence(client, query: str):
    answer = await client.get(f"/api/jobs/{uuid4()}/logs?{query}")
    sentence = (
        "before: unknown parameter; allowed is after"
        if "before" in query
        else ("after: must be the number of a line, given once")
    )
    assert (answer.status_code, answer.text) == (400, sentence)


async def test_what_is_no_job_is_not_found(client, redis_only):
    assert (await client.get(f"/api/jobs/{uuid4()}/logs")).status_code == 404
    assert (await client.get("/api/jobs/x/logs")).status_code == 400
    answer = await redis_only.get(f"/api/jobs/{uuid4()}/logs")
    assert (answer.status_code, answer.text) == (404, "jobs are stored only with DATABASE_URL")
