"""GET /api/workers, and POST /api/workers/<id>/quiet, resume and stop, with workers as they are seen in Redis."""

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import httpx
import pytest
import trio

from tests.producer.published import PUBLISHED, publish
from workqueue.core.control import ControlMessage, read_message
from workqueue.core.gone import Became, Gone, write_gone
from workqueue.core.queue import Queue

SAID = json.dumps(PUBLISHED).encode()
LIVING = {"state": "working", "asked": None, "ended_at": None, "became": None}
JSON = {"Content-Type": "application/json"}


async def workers(client: httpx.AsyncClient) -> list[dict]:
    answer = await client.get("/api/workers")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def end(queue: Queue, *, is_clean: bool = True, became: Became = Became(), at: int | None = None) -> UUID:  # noqa: B008
    """A worker ends now, or at this time in ms."""
    lease = await publish(queue, SAID)
    gone = write_gone(Gone(lease, is_clean, became, SAID.decode()))
    await queue.end(lease)
    await queue.retire(lease, gone)
    if at is not None:
        await queue._command("LSET", queue.keys.gone, 0, b"%d %s" % (at, gone))
    return lease


async def test_workers_are_shown_as_they_publish_themselves(redis_only, queue):
    lease = await publish(queue, SAID)
    [worker] = await workers(redis_only)
    assert list(worker) == ["id", *PUBLISHED, "seen_seconds_ago", *LIVING]
    assert 0 <= worker.pop("seen_seconds_ago") < 14
    assert worker == {"id": str(lease), **PUBLISHED, **LIVING}


@pytest.mark.parametrize(
    "said", [b"{}", b"", b"no json", b"[1]", b'{"concurrency":"many"}', b"\xff\xfe", b'{"more":1}', b"[" * 100_000]
)
async def test_a_worker_that_says_less_or_nonsense_is_shown_all_the_same(redis_only, queue, said):
    lease = await publish(queue, said)
    [worker] = await workers(redis_only)
    assert (worker["id"], worker["concurrency"], worker["running"]) == (str(lease), 0, [])
    assert (await redis_only.get("/api/overview")).json()["workers"] == 1
    assert (await redis_only.get("/metrics")).status_code == 200


async def test_at_most_a_hundred_running_jobs_are_shown(redis_only, queue):
    running = [{"job_id": str(number), "type": "a", "seconds": 1} for number in range(300)]
    await publish(queue, json.dumps({"running": running}).encode())
    [worker] = await workers(redis_only)
    assert len(worker["running"]) == 100


async def test_one_that_is_silent_says_so_and_is_forgotten_after_an_hour(redis_only, queue):
    lease = await publish(queue, SAID, seconds_ago=60)
    await publish(queue, SAID, seconds_ago=3700)
    [worker] = await workers(redis_only)
    assert (worker["id"], worker["state"], worker["ended_at"]) == (str(lease), "silent", None)


async def test_those_that_are_gone_come_last_the_newest_first_for_an_hour(redis_only, queue):
    now = datetime.now(UTC)
    await end(queue, at=int((now - timedelta(seconds=3700)).timestamp() * 1000))
    died = await end(queue, is_clean=False, became=Became(3, 2, 1), at=int((now.timestamp() - 100) * 1000))
    stopped = await end(queue, became=Became(given_back=4))
    await queue._command("RPUSH", queue.keys.gone, "another program's")
    living = await publish(queue, SAID)
    ended = await publish(queue, SAID)
    await queue.end(ended)  # and not removed yet
    shown = await workers(redis_only)
    assert [(worker["id"], worker["state"]) for worker in shown] == [
        (str(living), "working"), (str(stopped), "stopped"), (str(died), "gone")
    ]  # fmt: skip
    _, first, second = shown
    assert first["became"] == {"given_back": 4, "failed": 0, "cancelled": 0}
    assert second["became"] == {"given_back": 3, "failed": 2, "cancelled": 1}
    assert (second["name"], second["jobs_done"], second["running"]) == ("host.7", 10, [])
    assert 90 < second["seen_seconds_ago"] < 200
    assert abs(datetime.fromisoformat(second["ended_at"]) - now) < timedelta(seconds=150)


async def test_a_worker_is_asked_and_shows_it_until_it_does_so(redis_only, queue, nursery):
    await check_that_it_is_asked(redis_only, queue, nursery)


async def test_with_postgres_as_well(client, queue, nursery):
    await check_that_it_is_asked(client, queue, nursery)


async def check_that_it_is_asked(client: httpx.AsyncClient, queue: Queue, nursery: trio.Nursery) -> None:
    lease = await publish(queue, SAID)
    heard: list[ControlMessage] = []

    async def listen(*, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with queue.listen() as receive:
            task_status.started()
            while True:
                if (text := await receive()) is not None:
                    heard.append(read_message(text))

    await nursery.start(listen)
    for act in ("quiet", "stop"):
        answer = await client.post(f"/api/workers/{lease}/{act}", headers=JSON)
        assert answer.status_code == 200
        assert (answer.json()["id"], answer.json()["state"], answer.json()["asked"]) == (str(lease), "working", act)
        assert [worker["asked"] for worker in await workers(client)] == [act]
    answer = await client.post(f"/api/workers/{lease}/resume", headers=JSON)
    assert answer.json()["asked"] is None, "it works already"
    assert await queue.asked([lease]) == {lease: "resume"}
    await trio.sleep(0.2)
    assert [message.workers for message in heard] == [[(lease, act)] for act in ("quiet", "stop", "resume")]


@pytest.mark.parametrize("act", ["quiet", "resume", "stop"])
async def test_who_is_no_worker_is_not_found(redis_only, queue, act):
    ended = await end(queue)
    for worker_id in (uuid4(), "x", ended):
        answer = await redis_only.post(f"/api/workers/{worker_id}/{act}", headers=JSON)
        assert (answer.status_code, answer.text) == (404, "worker not found")
    assert (await redis_only.post(f"/api/workers/{ended}/{act}")).status_code == 415


async def test_an_outage_says_whether_it_was_asked(redis_only, queue, monkeypatch):
    lease = await publish(queue, SAID)
    await queue._command("RPUSH", queue.keys.asked(lease), "another program's")
    assert (await redis_only.get("/api/workers")).status_code == 500
    answer = await redis_only.post(f"/api/workers/{lease}/quiet", headers=JSON)
    assert (answer.status_code, answer.json()["asked"]) == (200, "quiet"), "SET replaces whatever is there"
