"""The producer as a real process under a bare Hypercorn: starts, stops, wrong starts, kill -9, SIGSTOP."""

import contextlib
import signal
from functools import partial
from uuid import uuid4

import httpx
import pytest
import trio
from uuid_utils.compat import uuid7

from tests.e2e.processes import running, running_producer
from tests.producer.test_event_stream import open_stream
from tests.support.proxy import Proxy, through
from tests.support.steps import make_submit
from tests.support.wait import is_ready, until, until_true
from tests.worker.processes import ledger_counts, worker_process
from workqueue.core.job import JobState, RunOutcome
from workqueue.core.job_filter import JobFilter
from workqueue.core.steps.outbox import OutboxRelay
from workqueue.core.steps.piggyback import Piggyback
from workqueue.core.store import Finish
from workqueue.core.wire import Submission

APP = "services.producer:app"
TASK = {"type": "a"}


@pytest.fixture
def environ(redis_url, postgres_dsn, queue_name, database_schema):
    return {
        "REDIS_URL": redis_url,
        "DATABASE_URL": postgres_dsn,
        "DATABASE_SCHEMA": database_schema,
        "QUEUE_NAME": queue_name,
    }


@pytest.fixture
async def redis_proxy(redis_port, nursery):
    proxy = Proxy(redis_port)
    await nursery.start(proxy.run)
    return proxy


async def has_looked(store, queue) -> bool:
    """For a loss of Redis. The very first look puts all pending jobs into the outbox."""
    return (await store.read_checkpoint(queue.name)).position_ms > 0


async def rows(store, queue):
    return (await store.lists.page(queue.name, JobFilter(), before=None, limit=500)).rows


async def some_rows(store, queue) -> bool:
    return bool(await rows(store, queue))


async def ten_rows(store, queue) -> bool:
    return len(await rows(store, queue)) == 10


async def test_requests_under_way_are_answered_and_then_it_ends(environ, redis_url, redis_proxy, store, queue):
    async with running_producer(environ | {"REDIS_URL": through(redis_url, redis_proxy)}) as (process, client):
        await until(partial(is_ready, client))
        await until(partial(has_looked, store, queue))
        answers = []

        async def send() -> None:
            answers.append(await client.post("/enqueue", json=TASK))

        redis_proxy.delay_seconds = 1.0
        async with trio.open_nursery() as senders:
            for _ in range(10):
                senders.start_soon(send)
            await until(partial(ten_rows, store, queue))  # all were read, and are on their way to Redis
            process.send(signal.SIGTERM)
        assert [answer.status_code for answer in answers] == [200] * 10
        assert await process.ended() == 0
        assert "Traceback" not in process.said
    assert await store._pool.fetch("SELECT 1 FROM {schema}.outbox") == []  # deleted, or left to the relay
    assert (await queue.depths()).ready == 10


async def test_a_stop_answers_those_who_wait_for_a_job(environ, store):
    async with running_producer(environ) as (process, client):
        await until(partial(is_ready, client))
        job_id = (await client.post("/enqueue", json=TASK)).json()["job_id"]
        answers = []

        async def wait() -> None:
            answers.append(await client.get(f"/api/jobs/{job_id}?wait=60", timeout=70))

        async with trio.open_nursery() as waiting:
            waiting.start_soon(wait)
            await trio.sleep(0.5)
            begun = trio.current_time()
            process.send(signal.SIGTERM)
        assert trio.current_time() - begun < 30, "not after its minute"
        assert answers[0].json()["status"] == "pending"
        assert await process.ended() == 0


async def test_a_stop_ends_streams_of_events_at_once(environ, store):
    async with running_producer(environ) as (process, client):
        await until(partial(is_ready, client))
        streams = [await open_stream(client) for _ in range(20)]
        for stream in streams:
            await stream.data("counts")
        begun = trio.current_time()
        process.send(signal.SIGTERM)
        for stream in streams:
            await stream.read_to_end()
            assert stream.is_complete
            await stream.stream.aclose()
        assert trio.current_time() - begun < 1.5
        assert await process.ended(seconds=8) == 0, "not after the grace of 10 s"
        assert "Traceback" not in process.said


async def test_several_workers_serve_one_port(environ, bridge, queue):
    """Each migrates the empty schema, each has its own connections; one SIGTERM ends all of them."""
    async with running_producer(environ, "-w", "3") as (process, client):
        await until_true(lambda: process.said.count("Running on") == 3, seconds=30)
        await until_true(lambda: process.said.count("Postgres answers") == 3, seconds=30)
        statuses = []

        async def send() -> None:
            statuses.append((await client.post("/enqueue", json=TASK)).status_code)

        async with trio.open_nursery() as senders:
            for _ in range(60):
                senders.start_soon(send)
        assert statuses == [200] * 60
        process.send(signal.SIGTERM)
        assert await process.ended(seconds=60) == 0
        # Each migration has a lock of its own, so two processes may each have made some of them.
        assert process.said.count("0001_initial") == 1
        assert "Traceback" not in process.said
    assert (await queue.depths()).ready == 60


async def test_wrong_settings_are_lines_and_the_end():
    wrong = {"QUEUE_NAME": "no spaces", "REDIS_URL": "redis://:secret@host:port/0", "MAX_BODY_BYTES": "0"}
    async with running(["hypercorn", "-k", "trio", "-b", "127.0.0.1:0", APP], wrong) as process:
        await process.ended()
        lines = process.said.splitlines()
    assert len(lines) == 3
    assert {line.partition("=")[0] for line in lines} == {
        "workqueue: QUEUE_NAME",
        "workqueue: REDIS_URL",
        "workqueue: MAX_BODY_BYTES",
    }
    assert "secret" not in process.said


async def test_a_redis_url_that_redis_py_cannot_read_is_one_line():
    wrong = {"REDIS_URL": "redis://:secret@127.0.0.1/0?socket_timeout=soon"}
    async with running(["hypercorn", "-k", "trio", "-b", "127.0.0.1:0", APP], wrong) as process:
        await process.ended()
        (line,) = process.said.splitlines()
    assert line.startswith("workqueue: REDIS_URL=***: ")
    assert "secret" not in line


async def test_without_trio_it_says_so_in_one_line(environ):
    async with running(["hypercorn", "-b", "127.0.0.1:0", APP], environ) as process:
        await process.ended()
        (line,) = process.said.splitlines()
    right = "hypercorn -k trio workqueue.services.producer:app"
    assert line == f"workqueue: the producer runs on Trio: start it with `{right}`"


async def test_a_crash_of_what_stands_behind_it_ends_the_process(environ, tmp_path):
    """Hypercorn alone would go on serving, without its lifespan."""
    (tmp_path / "broken.py").write_text(
        "import workqueue.core.queue.client\n"
        "async def broken(self): raise ZeroDivisionError('a bug')\n"
        "workqueue.core.queue.client.Queue.depths = broken\n"
        "from workqueue.services.producer import app\n"
    )
    command = ["hypercorn", "-k", "trio", "-b", "127.0.0.1:0", "broken:app"]
    async with running(command, environ | {"PYTHONPATH": str(tmp_path)}) as process:
        await process.ended()
    assert "its backend has crashed" in process.said
    assert "ZeroDivisionError: a bug" in process.said


async def test_case_1_killed_after_the_insert(environ, redis_url, redis_proxy, store, queue):
    """kill -9 between the row and its push: the outbox entry is there, so a worker's relay brings the job to Redis."""
    async with (
        running_producer(environ | {"REDIS_URL": through(redis_url, redis_proxy)}) as (process, client),
        trio.open_nursery() as senders,
    ):
        await until(partial(is_ready, client))
        redis_proxy.swallow_requests()
        senders.start_soon(_ignored, client)
        await until(partial(some_rows, store, queue))
        process.send_to_all(signal.SIGKILL)
        await process.ended()
        senders.cancel_scope.cancel()
    (row,) = await rows(store, queue)
    assert row.state == JobState.PENDING
    assert (await queue.depths()).ready == 0
    await store._pool.fetch("UPDATE {schema}.outbox SET at = at - interval '10 s'")
    await OutboxRelay(queue, store).run_once()
    assert (await queue.depths()).ready == 1


async def _ignored(client) -> None:
    with contextlib.suppress(httpx.HTTPError):
        await client.post("/enqueue", json=TASK)


async def test_case_2_stopped_after_the_insert(environ, redis_url, redis_proxy, store, queue, psql):
    """SIGSTOP there: it holds no lock. Its job is pushed again and run; SIGCONT: 200 is true, the job ran once."""
    answers = []
    owner = {"queue": queue.name, "owner": uuid4(), "worker": "w", "earlier": [], "done_claims": []}
    async with running_producer(environ | {"REDIS_URL": through(redis_url, redis_proxy)}) as (process, client):
        await until(partial(is_ready, client))

        async def send() -> None:
            answers.append(await client.post("/enqueue", json=TASK))

        async with trio.open_nursery() as senders:
            redis_proxy.swallow_requests()
            senders.start_soon(send)
            await until(partial(some_rows, store, queue))
            process.send_to_all(signal.SIGSTOP)
            (row,) = await rows(store, queue)
            assert await psql(OPEN_TRANSACTIONS) == []
            assert len(await psql(LOCK_NOW, [row.id])) == 1, "its row is not locked"
            await store._pool.fetch("UPDATE {schema}.outbox SET at = at - interval '10 s'")
            await OutboxRelay(queue, store).run_once()
            token = uuid7()
            assert await store.claim([row.id], token, **owner)
            assert await store.finish([Finish(row.id, token, JobState.COMPLETED, RunOutcome.COMPLETED, 0.0)])
            redis_proxy.heal()
            process.send_to_all(signal.SIGCONT)
        (answer,) = answers
        assert (answer.status_code, answer.json().get("job_id")) == (200, str(row.id))
    (row,) = await rows(store, queue)
    assert (row.state, row.attempts) == (JobState.COMPLETED, 0)
    # What the relay pushed, and the producer's own task, where it was stopped before it had sent that. The claim drops
    # both: the row says completed.
    assert (await queue.depths()).ready in {1, 2}


async def test_case_7_one_key_and_two_producers_of_which_one_is_stopped(environ, redis_url, redis_proxy, store, queue):
    """The first is stopped between its insert and its push; the second is answered; the first one's push fails."""
    answers = []

    async def send(client) -> None:
        answers.append(await client.post("/enqueue", json=TASK, headers={"Idempotency-Key": "k"}))

    async with (
        running_producer(environ | {"REDIS_URL": through(redis_url, redis_proxy)}) as (first, to_first),
        running_producer(environ) as (_, to_second),
    ):
        await until(partial(is_ready, to_first))
        await until(partial(is_ready, to_second))
        async with trio.open_nursery() as senders:
            redis_proxy.swallow_requests()
            senders.start_soon(send, to_first)
            await until(partial(some_rows, store, queue))
            first.send_to_all(signal.SIGSTOP)
            await send(to_second)
            redis_proxy.go_away()
            first.send_to_all(signal.SIGCONT)
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].content == answers[1].content
    (row,) = await rows(store, queue)
    assert (row.state, str(row.id)) == (JobState.PENDING, answers[0].json()["job_id"])
    assert (await queue.depths()).ready == 0
    await store._pool.fetch("UPDATE {schema}.outbox SET at = at - interval '10 s'")
    await OutboxRelay(queue, store).run_once()
    assert (await queue.depths()).ready == 1


async def test_case_2_a_producer_that_stands_still_under_load_blocks_no_other(
    environ, redis_url, redis_proxy, store, queue, psql, tmp_path, nursery
):
    """An open transaction across the push let one stopped producer block every worker: there is none."""
    answers: list[tuple[int, str]] = []
    ledger = tmp_path / "ledger"
    async with (
        running_producer(environ | {"REDIS_URL": through(redis_url, redis_proxy)}) as (process, client),
        worker_process(nursery, ledger, **environ, WORKER_CONCURRENCY="10"),
    ):
        await until(partial(is_ready, client))

        async def send() -> None:
            answer = await client.post("/enqueue", json={"type": "quick"})
            answers.append((answer.status_code, answer.json()["job_id"] if answer.status_code == 200 else answer.text))

        async with trio.open_nursery() as senders:
            redis_proxy.swallow_requests()
            for _ in range(20):
                senders.start_soon(send)
            await until(partial(some_rows, store, queue))
            process.send_to_all(signal.SIGSTOP)
            stopped = [row.id for row in await rows(store, queue)]
            others: list[str] = []
            submit = make_submit(queue, store, Piggyback())
            with trio.move_on_after(3):
                while True:
                    with trio.CancelScope(shield=True):
                        others += map(str, await submit.run_batch([Submission("quick", b"{}")] * 10))
                        assert await psql(OPEN_TRANSACTIONS) == []
                        assert len(await psql(LOCK_NOW, stopped)) == len(stopped), "none of its rows is locked"
                    await trio.sleep(0.05)
            await until_true(lambda: set(others) <= set(ledger_counts(ledger)[1]), seconds=60)
            redis_proxy.heal()
            process.send_to_all(signal.SIGCONT)
        accepted = [said for status, said in answers if status == 200]
        assert {said for status, said in answers if status != 200} <= {"failed to enqueue task"}

        async def is_quiet() -> bool:
            return not await psql("SELECT FROM jobs WHERE state IN ('pending', 'processing')")

        await until(is_quiet, seconds=60)
    assert ledger_counts(ledger)[0] == dict.fromkeys([*others, *accepted], 1)


LOCK_NOW = "SELECT id FROM jobs WHERE id = ANY ($1) FOR UPDATE NOWAIT"
OPEN_TRANSACTIONS = "SELECT pid, query FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"
