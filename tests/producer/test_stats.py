"""GET /api/stats."""

from datetime import datetime
from uuid import uuid4

import pytest
from uuid_utils.compat import uuid7

from tests.support.wait import until
from workqueue.core.queue import Queue
from workqueue.core.stats import FailureSums, Sums, TypeSums
from workqueue.core.store import JobStore
from workqueue.services.producer import backend


@pytest.mark.parametrize(
    ("name", "seconds", "count"), [("15m", 60, 15), ("1h", 60, 60), ("24h", 600, 144), ("7d", 3600, 168)]
)
async def test_a_range_has_all_of_its_buckets_and_sums(client, store: JobStore, queue: Queue, name, seconds, count):
    last = uuid7()
    sums = Sums(
        {"x": TypeSums(5, 4, waits=[0, 0, 10] + [0] * 10), "y": TypeSums(1, failed=2, runs=[0] * 6 + [4] + [0] * 6)},
        {("y", "E: <n>"): FailureSums(2, 1, last)},
    )
    await store.stats.add(queue.name, uuid4(), 1, sums, age_seconds=0)
    answer = await client.get(f"/api/stats?range={name}")
    assert answer.status_code == 200
    stats = answer.json()
    assert (stats["range"], stats["seconds"], len(stats["buckets"])) == (name, seconds, count)
    moments = [datetime.fromisoformat(each["at"]).timestamp() for each in stats["buckets"]]
    assert moments == [moments[0] + seconds * number for number in range(count)]
    assert (stats["total"]["enqueued"], stats["total"]["done"], stats["total"]["failed"]) == (6, 4, 2)
    assert (stats["total"]["wait_p50"], stats["total"]["run_p95"]) == (pytest.approx(0.0075), pytest.approx(0.975))
    assert sum(each["enqueued"] for each in stats["buckets"]) == 6
    assert [each["type"] for each in stats["types"]] == ["x", "y"]
    [failure] = stats["failures"]
    assert (failure["type"], failure["error"], failure["failed"], failure["retried"]) == ("y", "E: <n>", 2, 1)
    assert failure["last_job_id"] == str(last)
    assert (sum(failure["trend"]), len(failure["trend"])) == (3, count)
    only = (await client.get(f"/api/stats?range={name}&type=x")).json()
    assert (only["total"]["done"], only["failures"], len(only["types"])) == (4, [], 1)


async def test_nothing_yet_is_zeros_and_no_times(client):
    stats = (await client.get("/api/stats")).json()
    assert (stats["range"], stats["types"], stats["failures"]) == ("1h", [], [])
    assert {name for name, value in stats["total"].items() if value is None} == {
        "wait_p50", "wait_p95", "run_p50", "run_p95",
    }  # fmt: skip


async def test_what_is_wrong_is_said(client, redis_only):
    for query, sentence in (
        ("range=2h", "range: must be one of 15m, 1h, 24h, 7d"),
        ("since=1h", "since: unknown parameter; allowed are range, type"),
        ("type=" + "t" * 201, "type: must have 1 to 200 characters, none of them NUL"),
    ):
        answer = await client.get(f"/api/stats?{query}")
        assert (answer.status_code, answer.text) == (400, sentence)
    answer = await redis_only.get("/api/stats")
    assert (answer.status_code, answer.text) == (404, "jobs are stored only with DATABASE_URL")


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "STATS_SECONDS", 0.05)


async def test_jobs_that_are_accepted_are_counted_once(soon, client):
    await client.post("/enqueue", json={"type": "x"})
    for _ in range(3):
        await client.post("/enqueue", json={"type": "x"}, headers={"Idempotency-Key": "k"})
    await client.post("/api/jobs/batch", content=b'{"type":"x"}\n{"type":""}\n{"type":"y"}\n')

    async def counted() -> bool:
        total = (await client.get("/api/stats")).json()["total"]
        assert total["enqueued"] <= 4
        return total["enqueued"] == 4

    await until(counted)
