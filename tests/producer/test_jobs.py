"""GET /api/jobs, /api/jobs/<id> and the artifacts, on rows as the steps write them."""

import re
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest
import trio
from uuid_utils.compat import uuid7

from tests.producer.rows import claim, details, enqueue, failed, finish
from tests.support.wait import until_true
from workqueue.core.job import JobState
from workqueue.core.options import DEFAULTS
from workqueue.core.store import NewJob, listing
from workqueue.services.producer.backend import READS_MAX
from workqueue.services.producer.views import job_details

KEYS = [
    "id", "type", "status", "retries", "attempts", "payload", "error_message", "created_at", "updated_at", "queue",
    "recoveries", "interruptions", "run_at", "expires_at", "timeout", "unique_key", "unique_until", "on_duplicate",
    "group", "worker", "started_at", "finished_at", "cancelling", "schedule", "due_at",
]  # fmt: skip


def is_rfc3339(text: str) -> bool:
    return bool(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", text))


# --- the list


async def test_a_row_has_its_fields_in_order_and_its_payload_untouched(client, queue):
    body = b'{"type":"a","retries":2,"payload":{"big": 12345678901234567890123,"f":1.10,"nul":"\\u0000","a":1,"a":2}}'
    await client.post("/enqueue", content=body)
    answer = await client.get("/api/jobs")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    (row,) = answer.json()
    assert list(row) == [*KEYS, "payload_start"]
    assert b'"payload":{"big": 12345678901234567890123,"f":1.10,"nul":"\\u0000","a":1,"a":2},' in answer.content
    assert is_rfc3339(row["created_at"])
    assert is_rfc3339(row["updated_at"])
    assert row | {"payload": 0, "id": 0, "created_at": 0, "updated_at": 0} == {
        "id": 0, "type": "a", "status": "pending", "retries": 2, "attempts": 0, "payload": 0, "error_message": None,
        "created_at": 0, "updated_at": 0, "queue": "default", "recoveries": 0, "interruptions": 0, "run_at": None,
        "expires_at": None, "timeout": None, "unique_key": None, "unique_until": None, "on_duplicate": None,
        "group": None, "worker": None,
        "started_at": None, "finished_at": None, "cancelling": False, "schedule": None, "due_at": None,
        "payload_start": None,
    }  # fmt: skip


async def test_jobs_come_newest_first_fifty_by_default(client):
    ids = [str(await enqueue(client)) for _ in range(51)]
    answer = await client.get("/api/jobs")
    assert [row["id"] for row in answer.json()] == ids[:0:-1]
    assert answer.headers["link"].endswith('; rel="next"')


async def test_an_empty_list_is_an_array_without_a_link(client):
    answer = await client.get("/api/jobs")
    assert (answer.json(), "link" in answer.headers) == ([], False)


async def test_without_postgres_the_list_is_empty(redis_only):
    await redis_only.post("/enqueue", json={"type": "a"})
    answer = await redis_only.get("/api/jobs")
    assert (answer.status_code, answer.content) == (200, b"[]")


async def test_another_queue_is_another_list(client, store):
    await store.insert(uuid7(), "test:other", [NewJob(uuid7(), "a", "{}", DEFAULTS)], [])
    assert (await client.get("/api/jobs")).json() == []


async def test_filters_go_together_and_stay_in_the_link(client, store, queue):
    for kind in ("a", "b&c=d"):
        ids = [await enqueue(client, kind) for _ in range(4)]
        token = await claim(store, queue, *ids[:3])
        for job_id in ids[:3]:
            await finish(store, job_id, token, JobState.COMPLETED)
    answer = await client.get("/api/jobs", params={"status": "completed", "type": "b&c=d", "limit": "2", "cursor": ""})
    first = answer.json()
    assert [(row["type"], row["status"]) for row in first] == [("b&c=d", "completed")] * 2
    link = re.fullmatch(r'<(/api/jobs\?[^>]+)>; rel="next"', answer.headers["link"])
    assert link is not None
    rest = await client.get(link[1])
    assert [(row["type"], row["status"]) for row in rest.json()] == [("b&c=d", "completed")]
    assert "link" not in rest.headers
    assert len((await client.get("/api/jobs?status=&type=&limit=")).json()) == 8


async def test_a_thousand_rows_of_one_microsecond_are_all_shown_once(client, store, queue):
    ids = sorted((uuid7() for _ in range(1000)), reverse=True)
    await store.insert(
        uuid7(), queue.name, [NewJob(job_id, "a", "{}", DEFAULTS) for job_id in sorted(ids)], []
    )  # one now()
    seen, path = [], "/api/jobs?limit=300"
    while path:
        answer = await client.get(path)
        seen += [UUID(row["id"]) for row in answer.json()]
        path = answer.links.get("next", {}).get("url")
    assert seen == ids


async def test_a_page_stays_put_while_new_jobs_come(client):
    old = [str(await enqueue(client)) for _ in range(4)]
    first = await client.get("/api/jobs?limit=2")
    await enqueue(client)
    second = await client.get(first.links["next"]["url"])
    assert [row["id"] for row in first.json() + second.json()] == old[::-1]


async def test_a_list_has_the_beginning_of_a_long_payload_and_error(client, store, queue):
    # 500 payloads of 1 MiB would be half a gigabyte in this process, for a request of a few bytes.
    payloads = {"whole": '{"x":"' + "é" * 3992 + '"}', "long": '{"x":"' + "é" * 3993 + '"}'}
    ids = {name: uuid7() for name in payloads}
    for name, payload in payloads.items():
        await store.insert(uuid7(), queue.name, [NewJob(ids[name], "a", payload, DEFAULTS)], [])
        token = await claim(store, queue, ids[name])
        await finish(store, ids[name], token, JobState.FAILED, error="e" * (1000 if name == "whole" else 1001))
    rows = {row["id"]: row for row in (await client.get("/api/jobs")).json()}
    whole, long = (rows[str(ids[name])] for name in ("whole", "long"))
    assert (whole["payload"], whole["payload_start"]) == ({"x": "é" * 3992}, None)
    assert (long["payload"], long["payload_start"]) == (None, payloads["long"][:500])
    assert (whole["error_message"], long["error_message"]) == ("e" * 1000, "e" * 999 + "…")
    job = (await client.get(f"/api/jobs/{ids['long']}")).json()
    assert job["payload"] == {"x": "é" * 3993}
    assert job["error_message"] == "e" * 1001
    assert "payload_start" not in job


async def test_jobs_are_found_by_error_payload_and_time_and_counted(client, store, queue, psql):
    ids = []
    for number in range(6):
        answer = await client.post("/enqueue", json={"type": "a", "payload": {"to": f"{number % 2}", "n": number}})
        ids.append(answer.json()["job_id"])
    await psql("UPDATE jobs SET created_at = '2026-01-31T12:00:00Z' WHERE id = $1", UUID(ids[0]))
    token = await claim(store, queue, UUID(ids[1]))
    await finish(store, UUID(ids[1]), token, JobState.FAILED, error="Disk is FULL 100%")

    async def found(query: str) -> list[int]:
        answer = await client.get(f"/api/jobs?{query}")
        assert answer.status_code == 200, answer.text
        return [ids.index(row["id"]) for row in answer.json()]

    assert await found("payload.to=1") == [5, 3, 1]
    assert await found("payload.to=1&payload.n=3") == [3]
    assert await found("payload.to=") == []
    assert await found("error=full+100%25") == [1]
    assert await found("error=full&status=completed") == []
    assert await found("created_before=2026-02-01T00:00:00Z") == [0]
    assert await found("created_before=2026-01-31T12:00:00Z") == []
    assert await found("created_after=2026-01-31T12:00:00.000001Z&status=pending") == [5, 4, 3, 2]
    assert await found("created_after=2026-01-31T13:00:00%2B01:00&created_before=2026-01-31T12:00:01Z") == [0]
    for query, total in (("", "6"), ("status=pending", "5"), ("payload.to=1", "3"), ("status=processing", "0")):
        answer = await client.get(f"/api/jobs?count=capped&limit=2&{query}")
        assert answer.headers["x-total-count"] == total
        assert ("count" in answer.headers.get("link", "")) is False


async def test_a_search_says_how_far_it_has_looked_and_goes_on_from_there(client, store, queue, psql, monkeypatch):
    monkeypatch.setattr(listing, "LOOK_INTO_MAX", 10)
    ids = [str(await enqueue(client, payload={"n": number})) for number in range(35)]
    answer = await client.get("/api/jobs?payload.n=0&count=capped")
    assert answer.json() == []
    assert answer.headers["x-total-count"] == "0+"
    row = (await client.get(f"/api/jobs/{ids[25]}")).json()
    assert datetime.fromisoformat(answer.headers["x-looked-until"]) == datetime.fromisoformat(row["created_at"])
    seen = []
    while "next" in answer.links:
        answer = await client.get(answer.links["next"]["url"])
        seen += [ids.index(row["id"]) for row in answer.json()]
    assert seen == [0]
    assert "x-looked-until" not in answer.headers


async def test_the_run_in_the_row_is_not_shown_twice(client, store, queue):
    """The row was read while the job ran, its runs just after it had failed."""
    job_id = await enqueue(client, retries=1)
    token = await claim(store, queue, job_id)
    row = await store.get(job_id)
    await store.requeue(uuid7(), queue.name, [failed(job_id, token, "E", "T")])
    shown = job_details(row, [], await store.runs(job_id)).runs
    assert [(run.number, run.outcome) for run in shown] == [(1, "failed")]


# --- one job


async def test_a_completed_job_shows_its_result_and_the_run_that_made_it(client, store, queue):
    job_id = await enqueue(client, retries=1)
    token = await claim(store, queue, job_id)
    batch = uuid7()
    release = failed(job_id, token, "ValueError: no", "Traceback ...")
    await store.requeue(batch, queue.name, [release])
    waiting = await details(client, job_id)
    assert (waiting["status"], waiting["attempts"], waiting["error_message"]) == ("pending", 1, "ValueError: no")
    token = await claim(store, queue, job_id)
    running = await details(client, job_id)
    assert [(run["number"], run["outcome"]) for run in running["runs"]] == [(1, "failed"), (2, "running")]
    assert running["runs"][1]["ended_at"] is None
    await finish(store, job_id, token, JobState.COMPLETED, result='{"n":12345678901234567890123}')
    answer = await client.get(f"/api/jobs/{job_id}")
    job = answer.json()
    assert list(job) == [*KEYS, "result", "progress", "artifacts", "runs"]
    assert b'"result":{"n":12345678901234567890123}' in answer.content
    first, second = job["runs"]
    assert list(first) == ["number", "worker", "started_at", "ended_at", "outcome", "error", "traceback"]
    assert (first["error"], first["traceback"], first["worker"]) == ("ValueError: no", "Traceback ...", "host.1")
    assert (second["number"], second["outcome"], second["error"]) == (2, "completed", None)
    took = datetime.fromisoformat(second["ended_at"]) - datetime.fromisoformat(second["started_at"])
    assert took == timedelta(seconds=1.5)
    assert job["error_message"] is None


async def test_a_failed_job_shows_each_failure_once(client, store, queue):
    job_id = await enqueue(client)
    token = await claim(store, queue, job_id)
    await finish(store, job_id, token, JobState.FAILED, error="E: x", traceback="T", outcome="timed out")
    job = await details(client, job_id)
    assert (job["status"], job["attempts"], job["error_message"], job["result"]) == ("failed", 1, "E: x", None)
    assert [(run["number"], run["outcome"], run["error"]) for run in job["runs"]] == [(1, "timed out", "E: x")]


async def test_a_cancelled_run_is_shown_and_a_cancelled_wait_is_not(client, store, queue):
    ran, waited, never = [await enqueue(client, retries=3) for _ in range(3)]
    token = await claim(store, queue, ran)
    await finish(store, ran, token, JobState.CANCELLED, error="a person did it")
    runs = (await details(client, ran))["runs"]
    assert [(run["number"], run["outcome"], run["error"]) for run in runs] == [(1, "cancelled", "a person did it")]
    token = await claim(store, queue, waited)
    await store.requeue(uuid7(), queue.name, [failed(waited, token, "E", "T")])
    await store._pool.fetch("UPDATE {schema}.jobs SET state = 'cancelled' WHERE id = ANY ($1)", [waited, never])
    assert [run["outcome"] for run in (await details(client, waited))["runs"]] == ["failed"]
    assert (await details(client, never))["runs"] == []


async def test_a_job_that_waits_has_no_runs(client):
    job = await details(client, await enqueue(client))
    assert (job["runs"], job["artifacts"], job["result"]) == ([], [], None)


@pytest.mark.parametrize("path", ["", "/artifact"])
async def test_what_is_no_job_is_said(client, redis_only, path):
    for each in (client, redis_only):
        for wrong in ("nonsense", "1", uuid4().hex, "{" + str(uuid4()) + "}", f"urn:uuid:{uuid4()}"):
            answer = await each.get(f"/api/jobs/{wrong}{path}")
            assert (answer.status_code, answer.text) == (400, "not a job id")
    answer = await client.get(f"/api/jobs/{uuid4()}{path}")
    assert (answer.status_code, answer.text) == (404, "job not found")
    answer = await redis_only.get(f"/api/jobs/{uuid4()}{path}")
    assert (answer.status_code, answer.text) == (404, "jobs are stored only with DATABASE_URL")


async def test_an_id_in_capitals_is_the_same_id(client):
    job_id = await enqueue(client)
    assert (await client.get(f"/api/jobs/{str(job_id).upper()}")).status_code == 200


async def test_a_history_without_bound_is_read(client, store, queue):
    """Large counters, a traceback of 10 MB, ids that are no small numbers."""
    job_id = await enqueue(client, retries=1_000_000)
    token = await claim(store, queue, job_id)
    await store._pool.fetch("UPDATE {schema}.jobs SET attempts = 2147483000, recoveries = 500 WHERE id = $1", job_id)
    await store.requeue(uuid7(), queue.name, [failed(job_id, token, "E", "x" * 10**7)])
    (run,) = (await details(client, job_id))["runs"]
    assert run["number"] == 2147483501
    assert len(run["traceback"]) == 64 * 1024


async def test_pages_leave_room_for_submits(client, store, monkeypatch):
    """Pages that take long must not keep submits, or the watch, from Postgres: the pool has eight connections."""
    reading = 0

    async def slow(self: listing.JobLists, *args: object, **options: object) -> None:
        nonlocal reading
        reading += 1
        await self._pool.fetch("SELECT pg_sleep(60)")

    monkeypatch.setattr(listing.JobLists, "page", slow)
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(client.get, "/api/jobs")
        await until_true(lambda: reading == READS_MAX)
        assert (await client.post("/enqueue", json={"type": "a"})).status_code == 200
        assert reading == READS_MAX
        nursery.cancel_scope.cancel()


@pytest.mark.usefixtures("patient")
async def test_reads_that_find_nothing_give_their_connections_back(client):
    for _ in range(READS_MAX + 2):
        with trio.fail_after(30):
            assert (await client.get(f"/api/jobs/{uuid4()}")).status_code == 404
    with trio.fail_after(30):
        assert (await client.get("/api/jobs")).status_code == 200


async def test_a_job_with_thousands_of_runs_shows_the_newest_and_leads_to_the_others(client, store, psql):
    job_id = await enqueue(client)
    await psql(
        "INSERT INTO runs (job_id, number, worker, started_at, ended_at, outcome, error, traceback) "
        "SELECT $1, n, 'w', now(), now(), 'failed', 'E: no', repeat('x', 65536) FROM generate_series(1, 3001) n",
        job_id,
    )
    answer = await client.get(f"/api/jobs/{job_id}")
    runs = answer.json()["runs"]
    assert len(answer.content) < 2 * 2**20
    assert [run["number"] for run in runs] == list(range(3001 - len(runs) + 1, 3002))
    await psql("UPDATE runs SET traceback = NULL WHERE job_id = $1", job_id)
    seen: list[int] = []
    path: str | None = f"/api/jobs/{job_id}"
    while path is not None:
        answer = await client.get(path)
        assert answer.status_code == 200
        page = answer.json()
        numbers = [run["number"] for run in (page if isinstance(page, list) else page["runs"])]
        seen = numbers + seen
        link = re.match(r'<(.*)>; rel="next"', answer.headers.get("Link", ""))
        path = link[1] if link else None
    assert seen == list(range(1, 3002))


async def test_runs_of_a_job_that_is_not_there(client, redis_only):
    assert (await client.get(f"/api/jobs/{uuid4()}/runs")).text == "job not found"
    assert (await client.get("/api/jobs/x/runs")).text == "not a job id"
    assert (await redis_only.get(f"/api/jobs/{uuid4()}/runs")).status_code == 404
