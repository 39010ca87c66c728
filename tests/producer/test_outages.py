"""Redis and Postgres away, slow, cut off: what the producer answers, and what becomes of the job."""

import logging
from functools import partial
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import trio
from uuid_utils.compat import uuid7

from tests.producer.serving import serving
from tests.support.proxy import through
from tests.support.restartable import restartable
from tests.support.wait import is_ready, until, until_true
from workqueue.core.job import JobState
from workqueue.core.job_filter import JobFilter
from workqueue.core.queue import open_queue
from workqueue.core.steps.outbox import OutboxRelay
from workqueue.core.steps.redis_loss import RedisLoss
from workqueue.core.steps.submit import REFUSED
from workqueue.services.local.process import free_port
from workqueue.services.local.valkey import run_valkey

TASK = {"type": "a"}
AT_ONCE_SECONDS = 4.0  #: a trip that gets no answer takes longer; without one it is some milliseconds


@pytest.fixture
async def client(store, environ, redis_url, redis_proxy, postgres_dsn, postgres_proxy):
    """A producer that reaches both servers through proxies, and has reached them."""
    through_proxies = {
        "REDIS_URL": through(redis_url, redis_proxy),
        "DATABASE_URL": through(postgres_dsn, postgres_proxy),
    }
    async with serving(environ | through_proxies) as client:
        await until(partial(is_ready, client))
        yield client


async def faults(client) -> set[str]:
    answer = await client.get("/ready")
    return set(answer.json()) if answer.status_code == 503 else set()


async def knows(client, *away: str) -> bool:
    return await faults(client) == set(away)


async def has_looked(store, queue) -> bool:
    """For a loss of Redis. The very first look puts all pending jobs into the outbox."""
    return (await store.read_checkpoint(queue.name)).position_ms > 0


async def enqueue(client) -> tuple[int, str]:
    answer = await client.post("/enqueue", json=TASK)
    return answer.status_code, answer.text if answer.status_code != 200 else answer.json()["job_id"]


async def rows(store, queue):
    return (await store.lists.page(queue.name, JobFilter(), before=None, limit=500)).rows


# --- away, and back


async def test_redis_away_is_answered_without_a_row(client, redis_proxy, store, queue):
    redis_proxy.go_away()
    await until(partial(knows, client, "redis"))
    assert await enqueue(client) == (500, "failed to enqueue task")
    assert await rows(store, queue) == []
    for path, sentence in (("/metrics", "failed to read queue length"), ("/api/workers", "failed to read workers")):
        answer = await client.get(path)
        assert (answer.status_code, answer.text) == (500, sentence)
    overview = (await client.get("/api/overview")).json()
    assert (overview["waiting"], overview["workers"], overview["redis"]["ok"]) == (None, None, False)
    assert (overview["postgres"]["ok"], (await client.get("/health")).text) == (True, "ok")
    redis_proxy.heal()
    await until(partial(is_ready, client), seconds=30)
    assert (await enqueue(client))[0] == 200


async def test_postgres_away_is_answered_at_once(client, postgres_proxy, queue):
    postgres_proxy.black_hole()
    await until(partial(knows, client, "postgres"), seconds=30)
    began = trio.current_time()
    assert await enqueue(client) == (500, "failed to persist job")
    answer = await client.get("/api/jobs")
    assert (answer.status_code, answer.text) == (500, "failed to list jobs")
    answer = await client.get("/api/jobs/01a20d6d-67b2-769b-970e-668ffa5cb42a")
    assert (answer.status_code, answer.text) == (500, "failed to read job")
    answer = await client.get("/api/jobs/01a20d6d-67b2-769b-970e-668ffa5cb42a/artifact")
    assert (answer.status_code, answer.text) == (500, "failed to read artifact")
    assert trio.current_time() - began < AT_ONCE_SECONDS
    assert (await queue.depths()).ready == 0
    postgres_proxy.heal()
    await until(partial(is_ready, client), seconds=30)
    assert (await enqueue(client))[0] == 200


async def test_with_both_away_the_row_is_what_failed(client, redis_proxy, postgres_proxy):
    redis_proxy.go_away()
    postgres_proxy.go_away()
    await until(partial(knows, client, "redis", "postgres"))
    assert await enqueue(client) == (500, "failed to persist job")


async def test_ready_says_what_is_wrong_and_what_to_do_and_keeps_secrets(
    client, redis_proxy, postgres_proxy, redis_url, postgres_dsn
):
    redis_proxy.go_away()
    postgres_proxy.go_away()
    await until(partial(knows, client, "redis", "postgres"))
    answer = await client.get("/ready")
    assert answer.headers["content-type"] == "application/json"
    said = answer.json()
    assert "point REDIS_URL (now redis://127.0.0.1" in said["redis"]
    assert "point DATABASE_URL (now postgres" in said["postgres"]
    for url in (redis_url, postgres_dsn):
        password = urlsplit(url).password
        assert password
        assert password not in answer.text


async def test_an_outage_is_told_once_when_it_comes_and_once_when_it_goes(client, redis_proxy, caplog):
    caplog.set_level(logging.INFO)
    redis_proxy.go_away()
    await until(partial(knows, client, "redis"))
    for _ in range(50):
        assert (await enqueue(client))[0] == 500
    before = redis_proxy.connections
    await until_true(lambda: redis_proxy.connections >= before + 3)  # some more looks of the watch
    redis_proxy.heal()
    await until(partial(is_ready, client), seconds=30)
    told = [record for record in caplog.records if record.name.startswith("workqueue.services.")]
    assert [record.levelname for record in told] == ["WARNING", "INFO"]
    assert "is back after" in told[1].getMessage()


async def test_a_server_that_does_not_answer_is_away_and_requests_do_not_wait_for_it(client, redis_proxy):
    redis_proxy.black_hole()
    await until(partial(knows, client, "redis"), seconds=30)
    began = trio.current_time()
    assert await enqueue(client) == (500, "failed to enqueue task")
    assert trio.current_time() - began < AT_ONCE_SECONDS


async def test_servers_that_come_later_are_waited_for(
    environ, redis_url, redis_proxy, postgres_dsn, postgres_proxy, bridge, caplog
):
    """Not migrated yet, either: that happens as soon as Postgres is there."""
    caplog.set_level(logging.INFO)
    redis_proxy.go_away()
    postgres_proxy.go_away()
    late = {"REDIS_URL": through(redis_url, redis_proxy), "DATABASE_URL": through(postgres_dsn, postgres_proxy)}
    async with serving(environ | late) as client:
        assert (await client.get("/health")).text == "ok"
        await until(partial(knows, client, "redis", "postgres"))
        redis_proxy.heal()
        await until(partial(knows, client, "postgres"))
        assert await enqueue(client) == (500, "failed to persist job")
        postgres_proxy.heal()
        await until(partial(is_ready, client))
        assert (await enqueue(client))[0] == 200
    assert "migrated schema" in caplog.text
    assert "Traceback" not in caplog.text


async def test_a_restart_of_redis_under_a_running_producer_loses_nothing(tmp_path, environ, store):
    run = partial(run_valkey, tmp_path / "valkey", port=free_port())
    async with restartable(run) as redis, serving(environ | {"REDIS_URL": redis.url}) as client:
        await until(partial(is_ready, client))
        assert (await enqueue(client))[0] == 200
        await redis.stop()
        await until(partial(knows, client, "redis"))
        assert (await enqueue(client))[0] == 500
        await redis.start()
        await until(partial(is_ready, client))
        assert (await enqueue(client))[0] == 200
        assert (await client.get("/metrics")).json()["total_jobs_in_queue"] == 2


async def test_a_redis_that_evicts_is_not_ready(tmp_path, queue_name, bridge):
    async with (
        run_valkey(tmp_path / "valkey") as server,
        serving({"REDIS_URL": server.url, "QUEUE_NAME": queue_name}) as client,
    ):
        await until(partial(is_ready, client))
        async with open_queue(bridge, server.url, queue_name) as queue:
            await queue._command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
            await until(partial(knows, client, "redis"))
            assert "allkeys-lru" in (await client.get("/ready")).json()["redis"]
            answer = await client.post("/enqueue", json=TASK)  # it still takes tasks
            assert answer.status_code == 200
            await queue._command("CONFIG", "SET", "maxmemory-policy", "noeviction")
            await until(partial(is_ready, client))


async def test_what_was_accepted_before_the_first_worker_came_is_lost_only_by_a_loss(client, store, queue):
    """The first look of all is the producer's: a worker's first one finds nothing to push again, or a real loss."""

    async def marked_by_a_loss() -> int:
        return len(await store._pool.fetch("SELECT 1 FROM {schema}.outbox WHERE at = 'epoch'"))

    await until(partial(has_looked, store, queue))
    assert (await enqueue(client))[0] == 200
    worker = RedisLoss(queue, store)
    await worker.run_once()
    assert (worker.counts.noticed, await marked_by_a_loss()) == (0, 0)
    await queue._command("DEL", queue.keys.checkpoint, queue.keys.ready)
    await worker.run_once()
    assert (worker.counts.noticed, await marked_by_a_loss()) == (1, 1)


# --- group commit


async def test_concurrent_requests_share_their_trips(client, queue, store, environ):
    async def calls(command: str) -> int:
        stats = await queue._command("INFO", "commandstats")
        return stats.get(f"cmdstat_{command}", {}).get("calls", 0)

    before, statuses = await calls("rpush"), []

    async def send() -> None:
        statuses.append((await enqueue(client))[0])

    async with trio.open_nursery() as senders:
        for _ in range(200):
            senders.start_soon(send)
    assert statuses == [200] * 200
    trips = await calls("rpush") - before
    assert trips <= 40  # it would be 200 without batches; 8 were seen
    assert len(await rows(store, queue)) == 200


async def test_outbox_entries_are_deleted_after_a_second_of_quiet_and_at_the_end(store, queue, environ):
    async def outbox() -> int:
        return len(await store._pool.fetch("SELECT 1 FROM {schema}.outbox"))

    async with serving(environ) as client:
        await until(partial(has_looked, store, queue))
        assert (await enqueue(client))[0] == 200
        await until(lambda: _none(outbox), seconds=30)
        assert (await enqueue(client))[0] == 200
    assert await outbox() == 0


async def _none(count) -> bool:
    return await count() == 0


# --- the protocol's cases


async def pushed_again(store, queue) -> int:
    """What the outbox relay of a worker pushes, as if the outbox entries were old enough."""
    await store._pool.fetch("UPDATE {schema}.outbox SET at = at - interval '10 s'")
    await OutboxRelay(queue, store).run_once()
    return (await queue.depths()).ready


async def test_case_3_the_reply_of_the_push_is_cut(client, redis_proxy, store, queue):
    """The task is in Redis, its sender does not know: the row is cancelled, so the task is a copy of nothing."""
    redis_proxy.swallow_replies()
    assert await enqueue(client) == (500, "failed to enqueue task")
    (row,) = await rows(store, queue)
    assert (row.state, row.error_message) == (JobState.CANCELLED, REFUSED)
    arrived = (await queue.depths()).ready
    assert arrived <= 1  # the lost push itself, if it got through
    assert await pushed_again(store, queue) == arrived, "never one more"
    assert await store._pool.fetch("SELECT 1 FROM {schema}.outbox") == []


async def test_case_3_a_job_that_was_claimed_meanwhile_was_accepted(client, redis_proxy, store, queue):
    """The push arrived, its reply is lost, a worker has claimed the job before submit looks: 200 is true."""
    redis_proxy.swallow_replies()
    answers: list[tuple[int, str]] = []

    async def send() -> None:
        answers.append(await enqueue(client))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await until(lambda: _some(partial(rows, store, queue)))
        (row,) = await rows(store, queue)
        await until_true(redis_proxy.replies_swallowed.is_set)
        owner = {"queue": queue.name, "owner": uuid4(), "worker": "w", "earlier": [], "done_claims": []}
        assert await store.claim([row.id], uuid7(), **owner)
    assert answers == [(200, str(row.id))]


async def _some(read) -> bool:
    return bool(await read())


async def test_case_4_the_reply_of_the_insert_is_cut(client, postgres_proxy, store, queue):
    """The row is there, with its outbox entry, and its client does not know: the relay brings it to Redis."""
    assert (await enqueue(client))[0] == 200
    assert (await queue.depths()).ready == 1
    postgres_proxy.swallow_replies()
    assert await enqueue(client) == (500, "failed to persist job")
    states = [row.state for row in await rows(store, queue)]
    assert set(states) == {JobState.PENDING}
    assert await pushed_again(store, queue) >= len(states)  # the first is pushed twice at most: a copy


async def test_case_5_postgres_dies_between_the_failed_push_and_the_look(
    client, redis_proxy, postgres_proxy, store, queue
):
    """Unknown: 500, and the outbox entry decides; here it runs."""
    answers: list[tuple[int, str]] = []

    async def send() -> None:
        answers.append(await enqueue(client))

    redis_proxy.swallow_requests()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await until(lambda: _some(partial(rows, store, queue)))
        postgres_proxy.go_away()
    assert answers == [(500, "failed to enqueue task")]
    (row,) = await rows(store, queue)
    assert row.state == JobState.PENDING
    assert await pushed_again(store, queue) == 1


async def test_case_6_a_client_that_hangs_up_does_not_end_the_others(client, redis_proxy, store, queue):
    """100 in one batch, one of them gone before its answer: 99 answered, 100 accepted."""
    redis_proxy.delay_seconds = 0.2
    statuses: list[int] = []

    async def send() -> None:
        statuses.append((await enqueue(client))[0])

    async with trio.open_nursery() as senders:
        hung_up = trio.CancelScope()

        async def gone() -> None:
            with hung_up:
                await enqueue(client)

        for number in range(100):
            senders.start_soon(gone if number == 50 else send)
        await until(lambda: _some(partial(rows, store, queue)))
        hung_up.cancel()
    assert statuses == [200] * 99
    redis_proxy.heal()
    assert len(await rows(store, queue)) in {99, 100}
    assert (await queue.depths()).ready == len(await rows(store, queue))


# --- idempotency keys


async def enqueue_once(client) -> tuple[int, str]:
    answer = await client.post("/enqueue", json=TASK, headers={"Idempotency-Key": "k"})
    return answer.status_code, answer.text if answer.status_code != 200 else answer.json()["job_id"]


async def test_a_key_is_free_after_redis_was_away(client, redis_proxy, store, queue):
    """Refused at once where that is known, and at the push where it is not."""
    assert (await enqueue(client))[0] == 200
    redis_proxy.go_away()
    assert await enqueue_once(client) == (500, "failed to enqueue task")
    await until(partial(knows, client, "redis"))
    assert await enqueue_once(client) == (500, "failed to enqueue task")
    redis_proxy.heal()
    await until(partial(is_ready, client), seconds=30)
    status, job_id = await enqueue_once(client)
    assert status == 200
    assert await enqueue_once(client) == (200, job_id)
    assert [str(row.id) for row in await rows(store, queue) if row.state == JobState.PENDING][:1] == [job_id]
    assert (await queue.depths()).ready == 2
