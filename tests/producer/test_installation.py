"""A producer without the database of the queue, or with another one, accepts nothing and says what to set."""

import httpx
import pytest

from tests.producer.serving import serving
from tests.support.steps import make_installation
from tests.support.wait import until
from workqueue.core.store import migrate

JOB = {"type": "x", "payload": {}}
LINES = b'{"type":"x"}\n{"type":"y"}\n'


async def answers(client: httpx.AsyncClient) -> set[tuple[int, str]]:
    said = {(answer.status_code, answer.text) for answer in [
        await client.post("/enqueue", json=JOB),
        await client.post("/enqueue", json=JOB, headers={"Idempotency-Key": "k"}),
    ]}  # fmt: skip
    batch = await client.post("/api/jobs/batch", content=LINES)
    assert all("error" in line for line in batch.text.splitlines()), batch.text
    return said


async def test_without_the_database_nothing_is_accepted(queue, store, redis_url, queue_name):
    await make_installation(queue, store).run_once()
    async with serving({"REDIS_URL": redis_url, "QUEUE_NAME": queue_name}) as client:
        assert await answers(client) == {(500, "failed to enqueue task")}, "not even the very first"

        async def is_told() -> bool:
            ready = await client.get("/ready")
            assert ready.status_code == 503
            return "DATABASE_URL is not set: set it" in ready.json().get("postgres", "")

        await until(is_told)  # the first look at Redis itself may come later
        assert (await client.get("/health")).text == "ok"
    assert await queue.ready_length() == 0


async def test_with_another_database_nothing_is_accepted(
    bridge, queue, store, psql, environ, postgres_dsn, database_schema
):
    await make_installation(queue, store).run_once()
    other = f"other_{database_schema}"[:60]
    await migrate(bridge, postgres_dsn, other)
    async with serving(environ | {"DATABASE_SCHEMA": other}) as client:
        assert await answers(client) == {(500, "failed to persist job")}

        async def is_told() -> bool:
            return "another database" in (await client.get("/ready")).json()["postgres"]

        await until(is_told)  # the first look at Postgres itself may come later
    assert await queue.ready_length() == 0
    assert await psql(f"SELECT * FROM {other}.jobs") == []
    assert await psql(f"SELECT * FROM {other}.outbox") == []


@pytest.mark.usefixtures("patient")
async def test_a_producer_that_runs_when_the_rows_come_accepts_nothing_any_more(queue, store, redis_only):
    assert (await redis_only.post("/enqueue", json=JOB)).status_code == 200
    await make_installation(queue, store).run_once()

    async def refuses() -> bool:
        return (await redis_only.post("/enqueue", json=JOB)).status_code == 500

    await until(refuses)
    await queue.remove()


@pytest.mark.usefixtures("patient")
async def test_the_first_producer_with_both_notes_its_database(queue, store, client):
    assert (await client.post("/enqueue", json=JOB)).status_code == 200
    assert (await queue._command("GET", queue.keys.rows)).decode() == str(await store.installation())
