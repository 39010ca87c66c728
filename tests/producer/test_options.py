"""What the sender of a job may choose, over HTTP."""

import json
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.producer.serving import serving
from tests.support.wait import until
from workqueue.core.options import SENTENCES

pytestmark = pytest.mark.usefixtures("patient")


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def enqueue(client: httpx.AsyncClient, **options: object) -> httpx.Response:
    return await client.post("/enqueue", json={"type": "x", **options})


async def test_a_job_shows_what_was_chosen(client):
    before = datetime.now(UTC)
    answer = (await enqueue(client, retries=2, timeout=2.5, delay=60, expires_in=3600)).json()
    assert list(answer) == ["status", "type", "retries", "queue_name", "job_id", "run_at"]
    assert timedelta(seconds=59) < moment(answer["run_at"]) - before < timedelta(seconds=70)
    row = (await client.get(f"/api/jobs/{answer['job_id']}")).json()
    assert (row["status"], row["retries"], row["timeout"]) == ("pending", 2, 2.5)
    assert abs(moment(row["run_at"]) - moment(answer["run_at"])) < timedelta(seconds=5)
    assert timedelta(seconds=3590) < moment(row["expires_at"]) - before < timedelta(seconds=3610)
    [listed] = (await client.get("/api/jobs?status=scheduled")).json()
    assert listed["id"] == answer["job_id"]


async def test_a_time_is_taken_in_any_offset_and_the_past_means_now(client, tasks):
    later = datetime.now(UTC) + timedelta(days=2)
    answer = (await enqueue(client, run_at=later.astimezone().isoformat())).json()
    assert moment(answer["run_at"]) == later
    assert "run_at" not in (await enqueue(client, run_at="2001-01-01T00:00:00+02:00")).json()
    assert "run_at" not in (await enqueue(client, delay=0, run_at=None)).json()
    assert len(await tasks()) == 2  # the first one is far off


@pytest.mark.parametrize("name", ["timeout", "delay", "run_at", "expires_in"])
@pytest.mark.parametrize("value", [-1, "soon", True, [], {}])
async def test_a_bad_value_gets_its_sentence_and_changes_nothing(client, tasks, name, value):
    answer = await enqueue(client, **{name: value})
    assert (answer.status_code, answer.text) == (400, f"{name} is not valid")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text in SENTENCES
    assert await tasks() == []
    assert (await client.get("/api/jobs")).json() == []


async def test_a_delay_and_a_time_exclude_each_other(client):
    answer = await enqueue(client, delay=1, run_at="2100-01-01T00:00:00Z")
    assert (answer.status_code, answer.text) == (400, "delay and run_at exclude each other")


async def test_what_is_wrong_with_the_type_is_said_first(client):
    answer = await client.post("/enqueue", json={"delay": -1})
    assert answer.text == "type is required"


async def test_a_line_of_a_batch_names_its_sentence(client):
    lines = [{"type": "x", "delay": 60}, {"type": "x", "delay": "x"}, {"type": "x", "timeout": 1}]
    body = "\n".join(map(json.dumps, lines))
    answer = await client.post("/api/jobs/batch", content=body, headers={"Content-Type": "application/x-ndjson"})
    first, second, third = map(json.loads, answer.text.splitlines())
    assert second == {"index": 1, "error": "delay is not valid"}
    row = (await client.get(f"/api/jobs/{first['job_id']}")).json()
    assert row["run_at"] is not None
    assert (await client.get(f"/api/jobs/{third['job_id']}")).json()["timeout"] == 1


async def test_run_now_and_cancel_of_what_is_far_off(client, tasks):
    first, second = [(await enqueue(client, delay=86_400)).json()["job_id"] for _ in range(2)]
    assert await tasks() == []
    headers = {"Content-Type": "application/json"}
    assert (await client.post(f"/api/jobs/{first}/run-now", content="{}", headers=headers)).json()["run_at"] is None
    answer = await client.post(f"/api/jobs/{second}/cancel", content="{}", headers=headers)
    assert answer.json()["status"] == "cancelled"

    async def is_pushed() -> bool:
        return len(await tasks()) == 1

    await until(is_pushed)


async def test_without_postgres(environ, redis, queue_name):
    async with serving({name: value for name, value in environ.items() if not name.startswith("DATABASE")}) as client:
        answer = (await enqueue(client, delay=86_400, timeout=3)).json()
        assert list(answer) == ["status", "type", "retries", "queue_name", "run_at"]
        assert (await client.get("/api/overview")).json()["scheduled"] == 1
        [task] = await redis("ZRANGE", f"{{{queue_name}}}:scheduled", 0, -1)
        assert json.loads(task)["timeout"] == 3
        assert moment(json.loads(task)["run_at"]) == moment(answer["run_at"])
        refused = await enqueue(client, delay=-3)
        assert (refused.status_code, refused.text) == (400, "delay is not valid")


# --- unique keys


async def test_a_duplicate_is_answered_with_the_first_jobs_id(client, tasks):
    first = (await enqueue(client, unique_key="k")).json()
    assert (first["status"], len(first["job_id"])) == ("queued", 36)
    again = await enqueue(client, unique_key="k", retries=2)
    assert again.status_code == 200
    assert again.json() == first | {"status": "duplicate", "retries": 2}
    row = (await client.get(f"/api/jobs/{first['job_id']}")).json()
    assert (row["unique_key"], row["retries"]) == ("k", 0)
    assert len(await tasks()) == 1
    assert (await client.get("/api/jobs")).json()[0]["unique_key"] == "k"
    assert (await client.post(f"/api/jobs/{first['job_id']}/cancel", json={})).status_code == 200
    assert (await enqueue(client, unique_key="k")).json()["status"] == "queued"


async def test_a_duplicate_may_replace_what_waits(client):
    first = (await enqueue(client, unique_key="k", payload={"n": 1})).json()
    options: dict[str, object] = {"payload": {"n": 2}, "timeout": 5, "delay": 60, "on_duplicate": "replace"}
    again = (await enqueue(client, **options, unique_key="k")).json()
    assert (again["status"], again["job_id"]) == ("duplicate", first["job_id"])
    row = (await client.get(f"/api/jobs/{first['job_id']}")).json()
    assert (row["payload"], row["timeout"]) == ({"n": 2}, 5)
    assert row["run_at"] is not None


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("unique_key", ["", "x" * 256, 5, True, [], {}, "a\0"]),
        ("unique_until", ["", "soon", 0, -1, True, [], {}, "60"]),
        ("on_duplicate", ["", "drop", 1, True, []]),
        ("group", ["", "g" * 201, 5, True, [], {}, "a\0"]),
    ],
)
async def test_bad_values_of_unique_keys_get_their_sentence(client, tasks, name, values):
    for value in values:
        answer = await enqueue(client, **{"unique_key": "k", name: value})
        assert (answer.status_code, answer.text) == (400, f"{name} is not valid"), value
        assert answer.text in SENTENCES
    assert await tasks() == []


@pytest.mark.parametrize("key", ["x" * 255, "ü\U0001f600", " \n"])
async def test_a_key_may_be_any_text(client, key):
    first = (await enqueue(client, unique_key=key)).json()
    assert (await enqueue(client, unique_key=key)).json()["job_id"] == first["job_id"]


async def test_in_a_batch_each_line_has_its_own_answer(client, tasks):
    first = (await enqueue(client, unique_key="a")).json()["job_id"]
    lines: list[dict[str, object]] = [
        {"unique_key": "a"},
        {},
        {"unique_key": "b"},
        {"unique_key": "b"},
        {"unique_key": ""},
        {"retries": 1},
    ]
    body = "\n".join(json.dumps({"type": "x", **line}) for line in lines)
    answer = await client.post("/api/jobs/batch", content=body)
    found = [json.loads(line) for line in answer.text.splitlines()]
    assert found[0] == {"index": 0, "job_id": first, "status": "duplicate"}
    assert found[3] == {"index": 3, "job_id": found[2]["job_id"], "status": "duplicate"}
    assert found[4] == {"index": 4, "error": "unique_key is not valid"}
    assert len({found[index]["job_id"] for index in (1, 2, 5)}) == 3
    assert all("status" not in found[index] for index in (1, 2, 5))
    assert len(await tasks()) == 4


async def test_without_postgres_a_duplicate_has_the_id_of_the_first(redis_url, queue_name):
    async with serving({"REDIS_URL": redis_url, "QUEUE_NAME": queue_name}) as client:
        first = (await enqueue(client, unique_key="k")).json()
        assert (first["status"], "job_id" in first) == ("queued", False)
        again = (await enqueue(client, unique_key="k")).json()
        assert again["status"] == "duplicate"
        assert len(again["job_id"]) == 36
        answer = await client.post("/api/jobs/batch", content='{"type": "x", "unique_key": "k"}')
        assert answer.json() == {"index": 0, "job_id": again["job_id"], "status": "duplicate"}


async def test_with_an_idempotency_key_a_repeat_gets_the_same_answer(client, tasks, psql):
    async def send(key: str) -> dict[str, str]:
        headers = {"Idempotency-Key": key}
        answer = await client.post("/enqueue", json={"type": "x", "unique_key": "k"}, headers=headers)
        found: dict[str, str] = answer.json()
        return found

    first, second = await send("one"), await send("two")
    assert (first["status"], second["status"]) == ("queued", "duplicate")
    await psql("UPDATE jobs SET state = 'completed'")
    assert (await send("one"), await send("two")) == (first, second)
    assert len(await tasks()) == 1


async def test_a_group_is_kept_shown_and_filtered_by(client):
    for group in ("acme", "ü/\U0001f600", None):
        assert (await enqueue(client, **({} if group is None else {"group": group}))).status_code == 200
    assert sorted(str(row["group"]) for row in (await client.get("/api/jobs")).json()) == [
        "None",
        "acme",
        "ü/\U0001f600",
    ]
    for group in ("acme", "ü/\U0001f600"):
        [row] = (await client.get("/api/jobs", params={"group": group})).json()
        assert row["group"] == group
    refused = await client.get("/api/jobs", params={"group": "g" * 201})
    assert (refused.status_code, refused.text) == (400, "group: must have 1 to 200 characters, no NUL")
    asked = {"action": "cancel", "filter": {"group": "acme"}, "dry_run": True}
    assert (await client.post("/api/jobs/actions", json=asked)).json() == {"matched": 1}
