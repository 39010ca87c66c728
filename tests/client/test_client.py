"""The client against a real producer, in three colours: what is said, what is asked, and what goes wrong on the way."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID, uuid4

import msgspec
import pytest
import trio

from tests.client.colours import opened
from tests.producer.serving import serving
from workqueue import Client, Task, aio
from workqueue.client import (
    JobCancelled,
    JobFailed,
    MaybeEnqueued,
    NotAllowed,
    NotEnqueued,
    Refused,
    StillRunning,
    Unavailable,
    declare,
)
from workqueue.core.job import RunOutcome
from workqueue.core.outcome import Complete, Fail
from workqueue.core.steps.lease import ClaimedTask
from workqueue.core.steps.settle import Ending


class Letter(msgspec.Struct):
    to: str
    at: datetime


async def rows(psql):
    return [dict(row) for row in await psql("SELECT * FROM jobs ORDER BY id")]


async def finish(steps, lease, outcome) -> None:
    """What a worker does with the next job."""
    claimed: list[ClaimedTask] = []
    while not claimed:
        claimed = await steps.claim.run_once(lease, 1)
    await steps.settle.run_batch([Ending(claimed[0], outcome, 0.1)])


async def test_a_job_has_what_was_chosen(client, psql):
    due = datetime.now(UTC) + timedelta(hours=2)
    queued = await client.enqueue(
        "send", {"to": "a@example.org"}, retries=3, queue="mail", run_at=due, timeout=timedelta(seconds=9), group="acme"
    )
    assert (queued.duplicate, queued.queue) == (False, "mail")
    assert queued.run_at is not None
    assert abs(queued.run_at - due) < timedelta(milliseconds=1)
    [row] = await rows(psql)
    assert (row["id"], row["type"], row["payload"], row["retries"]) == (queued.id, "send", '{"to":"a@example.org"}', 3)
    assert (row["in_queue"], row["timeout"], row["in_group"]) == ("mail", 9.0, "acme")


async def test_a_payload_may_be_a_struct_and_a_task_a_value(client):
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    queued = await client.enqueue(Task("send", Letter("a", moment), {"delay": 60}))
    job = await client.get(queued)
    assert (job.status, job.payload) == ("pending", {"to": "a", "at": "2026-01-02T00:00:00Z"})
    assert job.run_at is not None


async def test_a_second_job_under_its_key_is_a_duplicate(client):
    first = await client.enqueue("x", unique_key="k")
    second = await client.enqueue("x", unique_key="k")
    assert (first.duplicate, second) == (False, msgspec.structs.replace(first, duplicate=True))


async def test_the_same_idempotency_key_is_the_same_job(client, psql):
    key = uuid4().hex
    assert await client.enqueue("x", idempotency_key=key) == await client.enqueue("x", idempotency_key=key)
    assert len(await rows(psql)) == 1


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"retries": -1}, "retries cannot be negative"),
        ({"queue": "no name"}, "queue is not valid"),
        ({"delay": 1, "run_at": datetime(2030, 1, 1, tzinfo=UTC)}, "delay and run_at exclude each other"),
    ],
)
async def test_what_no_job_can_be_is_refused_with_the_producers_sentence(client, psql, options, text):
    with pytest.raises(Refused) as refused:
        await client.enqueue("x", **options)
    assert (str(refused.value), refused.value.status) == (text, 400)
    assert await rows(psql) == []


async def test_what_cannot_be_said_is_not_sent(client, psql):
    with pytest.raises(TypeError, match="no option of a job: retires"):
        await client.enqueue("x", retires=3)
    with pytest.raises(ValueError, match="run_at has no time zone"):
        await client.enqueue("x", run_at=datetime(2026, 1, 1))  # noqa: DTZ001 - that is the fault
    with pytest.raises(TypeError):
        await client.enqueue("x", {"a": object()})
    with pytest.raises(TypeError, match="a task has its payload"):
        await client.enqueue(Task("x"), {"a": 1})
    assert await rows(psql) == []


async def test_many_are_answered_one_by_one_in_order(client, psql):
    tasks = [Task("x", {"n": n}) for n in range(25)]
    tasks[7] = Task("", {"n": 7})
    answers = await client.enqueue_many(iter(tasks), chunk=10)
    assert isinstance(answers[7], Refused)
    assert str(answers[7]) == "type is required"
    ids = [answer.id for number, answer in enumerate(answers) if number != 7]
    assert ids == [row["id"] for row in await rows(psql)]
    assert [msgspec.json.decode(row["payload"])["n"] for row in await rows(psql)] == [n for n in range(25) if n != 7]
    assert await client.enqueue_many([]) == []


async def test_many_may_come_from_an_asynchronous_iterator(url, psql):
    async def tasks() -> AsyncIterator[Task]:
        for n in range(25):
            yield Task("x", {"n": n})

    async with aio.Client(url) as client:
        assert len([answer async for answer in client.enqueue_many(tasks(), chunk=10)]) == 25
    assert len(await rows(psql)) == 25


async def test_without_postgres_there_is_no_id_to_ask_for(colour, redis_only):
    async with opened(colour, redis_only) as client:
        queued = await client.enqueue("x")
        assert queued.id is None
        with pytest.raises(ValueError, match="this job has no id"):
            await client.get(queued)
        with pytest.raises(Refused, match="jobs are stored only with DATABASE_URL"):
            await client.get(uuid4())


async def test_the_result_of_a_job_is_waited_for(client, steps, lease):
    queued = await client.enqueue("x")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(finish, steps, lease, Complete(b'{"sum":42}'))
        assert await client.wait(queued, timeout=20) == {"sum": 42}
    assert (await client.get(queued)).status == "completed"


class Receipt(msgspec.Struct):
    number: str


async def test_a_declared_type_makes_tasks_and_reads_results(client, steps, lease):
    letter = declare("letter", Letter, Receipt)
    queued = await client.enqueue(letter(Letter("a", datetime(2026, 1, 2, tzinfo=UTC)), retries=2))
    job = await client.get(queued)
    assert (job.type, job.retries, job.payload["to"]) == ("letter", 2, "a")
    await finish(steps, lease, Complete(b'{"number":"7"}'))
    assert await client.wait(queued, type=Receipt) == Receipt("7")
    assert await client.wait(queued) == {"number": "7"}
    with pytest.raises(msgspec.ValidationError):
        await client.wait(queued, type=int)


async def test_a_failure_is_raised_with_its_error_and_may_be_retried(client, steps, lease):
    queued = await client.enqueue("x")
    await finish(steps, lease, Fail("no such address", RunOutcome.FAILED))
    with pytest.raises(JobFailed, match="no such address") as failed:
        await client.wait(str(queued.id))
    assert (failed.value.job.status, failed.value.job.attempts) == ("failed", 1)
    assert (await client.retry(failed.value.job)).status == "pending"
    with pytest.raises(Refused, match="only a failed or cancelled job can be retried"):
        await client.retry(queued)


async def test_a_job_that_waits_is_cancelled_and_deleted(client, psql):
    queued = await client.enqueue("x", delay=600)
    assert (await client.run_now(queued)).status == "pending"
    assert (await client.cancel(queued)).status == "cancelled"
    with pytest.raises(JobCancelled):
        await client.wait(queued)
    await client.delete(queued)
    with pytest.raises(Refused) as refused:
        await client.get(queued)
    assert refused.value.status == 404
    assert await rows(psql) == []


async def test_waiting_ends_with_its_time(client):
    queued = await client.enqueue("x")
    begun = time.monotonic()
    with pytest.raises(StillRunning, match=f"job {queued.id} has not ended within 0.5 s: it is pending"):
        await client.wait(queued, timeout=0.5)
    assert 0.4 < time.monotonic() - begun < 5


async def test_what_ends_within_less_than_a_second_is_seen(client, steps, lease):
    queued = await client.enqueue("x")

    async def soon() -> None:
        await trio.sleep(0.2)
        await finish(steps, lease, Complete(b"1"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(soon)
        assert await client.wait(queued, timeout=0.9) == 1


async def test_nobody_there_is_told_from_no_answer(colour, proxy, psql, far):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{unused.getsockname()[1]}"
    async with opened(colour, nowhere, timeout=1) as client:
        begun = time.monotonic()
        with pytest.raises(NotEnqueued, match="the job was not enqueued: the producer was not reached within 1 s"):
            await client.enqueue("x")
        with pytest.raises(NotEnqueued, match="after 0 answers"):
            await client.enqueue_many([Task("x")])
        with pytest.raises(Unavailable):
            await client.get(uuid4())
        assert time.monotonic() - begun < 6
    proxy.swallow_replies()
    with pytest.raises(MaybeEnqueued, match="within 2 s") as maybe:
        await far.enqueue("x")
    assert len(await rows(psql)) == 1
    proxy.heal()
    queued = await far.enqueue("x", idempotency_key=maybe.value.idempotency_key)
    assert [row["id"] for row in await rows(psql)] == [queued.id]


async def test_an_answer_that_is_lost_is_asked_for_again_and_there_is_one_job(proxy, psql, colour):
    async with opened(colour, f"http://127.0.0.1:{proxy.port}", timeout=10) as far:
        await far.enqueue("first")  # the connection is open

        async def heal() -> None:
            await proxy.replies_swallowed.wait()
            proxy.heal()

        proxy.swallow_replies()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(heal)
            queued = await far.enqueue("x")
    assert [row["id"] for row in await rows(psql)][1:] == [queued.id]


async def test_a_batch_whose_answer_is_lost_is_not_repeated(proxy, far, psql):
    proxy.swallow_replies()
    with pytest.raises(MaybeEnqueued, match="these jobs may have been enqueued") as maybe:
        await far.enqueue_many([Task("x")] * 3)
    assert (maybe.value.idempotency_key, maybe.value.answered) == (None, 0)
    assert len(await rows(psql)) == 3
    proxy.heal()


async def test_a_token_is_asked_for_and_sent(colour, store, environ):
    async with serving(environ | {"API_TOKENS": "app:enqueue:0123456789abcdef0123"}) as producer:
        url = str(producer.base_url)
        async with opened(colour, url, token="0123456789abcdef0123") as client:
            queued = await client.enqueue("x")
            with pytest.raises(NotAllowed) as refused:
                await client.cancel(queued)
            assert refused.value.status == 403
        async with opened(colour, url) as client:
            with pytest.raises(NotAllowed, match="token required"):
                await client.enqueue("x")


async def test_many_threads_share_one_client(url, psql):
    ids: list[UUID | None] = []
    with Client(url) as client:

        def ten() -> None:
            ids.extend(client.enqueue("x", {"n": n}).id for n in range(10))

        async with trio.open_nursery() as nursery:
            for _ in range(16):
                nursery.start_soon(partial(trio.to_thread.run_sync, ten))
    assert {row["id"] for row in await rows(psql)} == set(ids)
    assert len(ids) == 160


FORKS = """
import os, sys

for name in ("trio", "trio_asyncio", "asyncpg", "redis", "quart", "hypercorn", "httpx"):
    sys.modules[name] = None  # as where they are not installed

from workqueue import Client

client = Client(sys.argv[1])
ids = [client.enqueue("x").id]
children = []
for _ in range(3):
    if (child := os.fork()) == 0:
        for _ in range(5):
            client.enqueue("x")
        os._exit(0)
    children.append(child)
ids += [client.enqueue("x").id for _ in range(5)]
assert all(os.waitpid(child, 0)[1] == 0 for child in children)
client.close()
print(len(set(ids)))
"""


async def test_a_client_works_on_in_forked_processes_and_needs_no_trio(url, psql):
    run = partial(
        subprocess.run, [sys.executable, "-W", "error", "-c", FORKS, url], capture_output=True, text=True, timeout=60,
        check=False, env=os.environ | {"PYTHONPATH": os.getcwd()},
    )  # fmt: skip
    done = await trio.to_thread.run_sync(run)
    assert (done.stdout.strip(), done.stderr) == ("6", "")
    assert len(await rows(psql)) == 21


async def test_the_environment_says_where(url, monkeypatch, psql):
    monkeypatch.setenv("WORKQUEUE_URL", url)
    async with aio.Client() as client:
        await client.enqueue("x")
    assert len(await rows(psql)) == 1


@pytest.mark.parametrize(
    "url", ["ftp://a", "localhost:8080", "http://", "http://a/?b=c", "http://a:port", "http://u:p@a"]
)
def test_what_is_no_url_of_a_producer_is_named(url):
    with pytest.raises(ValueError, match=r"URL|port|Port"):
        Client(url)


def test_a_token_that_no_header_can_carry_is_not_shown():
    with pytest.raises(ValueError, match="characters that no token has") as wrong:
        Client("http://a", token="geheim\r\nX: y")
    assert "geheim" not in str(wrong.value)
