"""Schedules over HTTP."""

from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import httpx
import pytest

from tests.support.wait import until
from workqueue.core.schedules import MEMBERS, make_schedule
from workqueue.core.steps.schedules import DeclareSchedules
from workqueue.core.store import JobStore

JSON = {"Content-Type": "application/json"}
NIGHTLY = {"cron": "30 2 * * *", "tz": "Europe/Berlin", "type": "report"}


async def put(client: httpx.AsyncClient, name: str = "nightly", **members: object) -> httpx.Response:
    return await client.put(f"/api/schedules/{quote(name)}", json=NIGHTLY | members)


async def act(client: httpx.AsyncClient, act: str, name: str = "nightly") -> httpx.Response:
    return await client.post(f"/api/schedules/{quote(name)}/{act}", headers=JSON, content="{}")


async def declare(store: JobStore, queue_name: str, *names: str) -> None:
    schedules = [make_schedule(name, {"every": 60, "type": "x"}) for name in names]
    await DeclareSchedules(queue_name, store.schedules, schedules).run_once()


async def acts(client: httpx.AsyncClient) -> list[tuple[str, object]]:
    return [(row["act"], row["target"]) for row in (await client.get("/api/audit")).json()]


async def test_a_schedule_is_created_shown_and_edited(client):
    answer = await put(client, payload={"a": 1}, retries=2, queue="mail", timeout=5, expires_in=60, jitter=3)
    assert answer.status_code == 200
    view = answer.json()
    assert list(view) == [
        "name", "source", "cron", "every", "tz", "type", "payload", "retries", "queue", "timeout", "expires_in",
        "missed", "overlap", "jitter", "paused", "paused_why", "next_at", "next_runs", "last_at", "last_job_id",
        "created_at", "updated_at",
    ]  # fmt: skip
    expected = NIGHTLY | {
        "name": "nightly", "source": "api", "every": None, "payload": {"a": 1}, "retries": 2, "queue": "mail",
        "timeout": 5, "expires_in": 60, "missed": "once", "overlap": "allow", "jitter": 3, "paused": False,
        "paused_why": None, "last_at": None, "last_job_id": None,
    }  # fmt: skip
    assert {name: view[name] for name in expected} == expected
    runs = [datetime.fromisoformat(each) for each in view["next_runs"]]
    assert view["next_at"] == view["next_runs"][0]
    assert len(runs) == 5
    assert datetime.now(UTC) < runs[0] < datetime.now(UTC) + timedelta(days=1, hours=2)
    assert {each.minute for each in runs} == {30}
    edited = (await put(client, payload={"a": 2})).json()
    assert (edited["payload"], edited["retries"], edited["queue"]) == ({"a": 2}, 0, "default"), "a whole definition"
    assert edited["next_at"] == view["next_at"]
    edited = (await client.put("/api/schedules/nightly", json={"every": 3600, "type": "report"})).json()
    assert (edited["cron"], edited["every"], edited["tz"]) == (None, 3600, "UTC")
    assert edited["next_at"] != view["next_at"]
    assert (await client.get("/api/schedules/nightly")).json() == edited
    assert await acts(client) == [("put schedule", {"schedule": "nightly"})] * 3
    assert (await put(client, every=3600, cron=None, tz=None)).json() == edited
    assert len(await acts(client)) == 3, "nothing has changed"


async def test_a_payload_is_kept_as_it_was_written(client, psql):
    body = b'{"every": 60, "type": "x", "payload": {"b": 1e999, "a":  [1,2]}}'
    answer = await client.put("/api/schedules/s", content=body, headers=JSON)
    assert answer.status_code == 200
    assert await psql.value("SELECT payload FROM schedules") == '{"b": 1e999, "a":  [1,2]}'


async def test_they_are_listed_by_name_in_pages(client):
    for name in ("b", "a ü", "c"):
        await put(client, name)
    assert [each["name"] for each in (await client.get("/api/schedules")).json()] == ["a ü", "b", "c"]
    seen, path = [], "/api/schedules?limit=2"
    while path:
        answer = await client.get(path)
        seen.append([each["name"] for each in answer.json()])
        path = answer.links.get("next", {}).get("url", "")
    assert seen == [["a ü", "b"], ["c"]]
    for query, said in (
        ("limit=0", "limit: must be a whole number from 1 to 500"),
        ("after=a/b", "after: must be the name of a schedule"),
        ("page=2", "page: unknown parameter; allowed are limit, after"),
    ):
        answer = await client.get(f"/api/schedules?{query}")
        assert (answer.status_code, answer.text) == (400, said)


async def test_one_is_paused_and_resumed(client, psql):
    await put(client)
    view = (await act(client, "pause")).json()
    assert (view["paused"], view["paused_why"], view["next_at"], view["next_runs"]) == (True, "by a person", None, [])
    assert (await act(client, "pause")).json() == view
    await psql("UPDATE schedules SET next_at = now() - interval '1 day'")
    view = (await act(client, "resume")).json()
    assert (view["paused"], view["paused_why"]) == (False, None)
    assert datetime.fromisoformat(view["next_at"]) > datetime.now(UTC), "what was due meanwhile makes no job"
    assert (await act(client, "resume")).json() == view
    assert [name for name, _ in await acts(client)] == ["resume schedule", "pause schedule", "put schedule"]


async def test_an_edit_leaves_it_paused(client):
    await put(client)
    await act(client, "pause")
    assert (await put(client, cron="0 3 * * *")).json()["paused"]


async def test_one_runs_now(client, queue):
    before = (await put(client, payload={"a": 1})).json()
    answer = await act(client, "run-now")
    assert answer.status_code == 200
    job = (await client.get(f"/api/jobs/{answer.json()['job_id']}")).json()
    assert (job["type"], job["payload"], job["schedule"], job["status"]) == ("report", {"a": 1}, "nightly", "pending")
    assert job["due_at"] is not None
    view = (await client.get("/api/schedules/nightly")).json()
    assert (view["last_job_id"], view["next_at"]) == (job["id"], before["next_at"])
    assert (await acts(client))[0] == ("run schedule now", {"schedule": "nightly"})

    async def is_pushed() -> bool:
        return (await queue.depths()).ready == 1

    await until(is_pushed)


async def test_one_is_deleted_and_its_jobs_stay(client):
    await put(client)
    job_id = (await act(client, "run-now")).json()["job_id"]
    answer = await client.request("DELETE", "/api/schedules/nightly", json={})
    assert answer.status_code == 204
    assert (await client.get("/api/schedules")).json() == []
    assert (await client.get(f"/api/jobs/{job_id}")).json()["schedule"] == "nightly"
    assert (await acts(client))[0] == ("delete schedule", {"schedule": "nightly"})


async def test_one_of_the_code_is_changed_there_alone(client, store, queue_name, psql):
    await declare(store, queue_name, "nightly")
    for answer in (await put(client), await client.request("DELETE", "/api/schedules/nightly", json={})):
        assert (answer.status_code, answer.text) == (409, "the code declares this schedule: change it there")
    view = (await client.get("/api/schedules/nightly")).json()
    assert (view["source"], view["every"]) == ("code", 60)
    assert (await act(client, "pause")).json()["paused"]
    assert not (await act(client, "resume")).json()["paused"]
    assert (await act(client, "run-now")).status_code == 200
    await psql("UPDATE schedules SET gone = true")
    view = (await client.get("/api/schedules/nightly")).json()
    assert (view["paused"], view["paused_why"]) == (True, "gone from the code")
    answer = await act(client, "resume")
    assert (answer.status_code, answer.text) == (409, "the code of no worker declares this schedule any more")
    assert (await put(client)).json()["source"] == "api", "a person may take it over"
    await psql("UPDATE schedules SET gone = true, source = 'code'")
    assert (await client.request("DELETE", "/api/schedules/nightly", json={})).status_code == 204


@pytest.mark.parametrize(
    ("name", "members", "said"),
    [
        ("nightly", {"cron": "x"}, "cron is not valid"),
        ("nightly", {"cron": None}, "cron or every is required"),
        ("nightly", {"every": 5}, "cron and every exclude each other"),
        ("nightly", {"tz": "Europe/Nowhere"}, "tz is not valid"),
        ("nightly", {"type": ""}, "type is required"),
        ("nightly", {"payload": [1]}, "payload is not valid"),
        ("nightly", {"missed": "x"}, "missed is not valid"),
        ("nightly", {"overlap": "x"}, "overlap is not valid"),
        ("nightly", {"jitter": -1}, "jitter is not valid"),
        ("nightly", {"retries": -1}, "retries cannot be negative"),
        ("nightly", {"queue": "a b"}, "queue is not valid"),
        ("nightly", {"delay": 5}, f"delay: unknown member; allowed are {', '.join(MEMBERS)}"),
        ("a" * 201, {}, "name is not valid"),
        ("a\n", {}, "name is not valid"),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_said_and_changes_nothing(client, name, members, said):
    answer = await put(client, name, **members)
    assert (answer.status_code, answer.text) == (400, said)
    assert (await client.get("/api/schedules")).json() == []
    assert await acts(client) == []


@pytest.mark.parametrize("body", [b"", b"x", b"[]", b"5", b'{"type": "\xff"}', b'{"type": "x"', b"{" * 10_000])
async def test_a_body_that_is_no_object_is_refused(client, body):
    answer = await client.put("/api/schedules/nightly", content=body, headers=JSON)
    assert (answer.status_code, answer.text) == (400, "invalid JSON body")


async def test_what_is_not_there_is_not_found(client):
    for answer in (
        await client.get("/api/schedules/x"),
        await client.request("DELETE", "/api/schedules/x", json={}),
        await act(client, "pause", "x"),
        await act(client, "resume", "x"),
        await act(client, "run-now", "x"),
    ):
        assert (answer.status_code, answer.text) == (404, "schedule not found")


async def test_a_form_of_a_hostile_page_is_refused(client):
    answer = await client.put("/api/schedules/x", content=b"{}", headers={"Content-Type": "text/plain"})
    assert (answer.status_code, answer.text) == (415, "Content-Type must be application/json")


async def test_without_rows_there_are_none(redis_only):
    for answer in (
        await redis_only.get("/api/schedules"),
        await redis_only.get("/api/schedules/x"),
        await put(redis_only),
        await redis_only.request("DELETE", "/api/schedules/x", json={}),
        await act(redis_only, "pause"),
        await act(redis_only, "run-now"),
    ):
        assert (answer.status_code, answer.text) == (404, "jobs are stored only with DATABASE_URL")
