"""GET /api/jobs/<id>?wait=: answered when the job ends, at one statement for all who wait."""

from collections.abc import Sequence
from uuid import UUID, uuid4

import httpx
import pytest
import trio
from trio.testing import MockClock

from tests.producer.rows import claim, enqueue, finish
from tests.producer.serving import connect
from tests.support.wait import until_true
from workqueue.core.errors import StoreUnavailable
from workqueue.core.job import JobState
from workqueue.services.producer import waiters
from workqueue.services.producer.waiters import LOOK_SECONDS, TooManyWait, Waiters


async def ask(client: httpx.AsyncClient, job_id: UUID, seconds: str) -> httpx.Response:
    return await client.get(f"/api/jobs/{job_id}?wait={seconds}")


async def test_the_answer_comes_with_the_end_of_the_job(client, queue, store, nursery):
    job_id = await enqueue(client)
    token = await claim(store, queue, job_id)
    answers: list[httpx.Response] = []

    async def wait() -> None:
        answers.append(await ask(client, job_id, "60"))

    for _ in range(20):
        nursery.start_soon(wait)
    await trio.sleep(0.2)
    assert answers == []
    await finish(store, job_id, token, JobState.COMPLETED, result="7")
    await until_true(lambda: len(answers) == 20, seconds=20)
    assert {(answer.status_code, answer.json()["status"], answer.json()["result"]) for answer in answers} == {
        (200, "completed", 7)
    }


async def test_after_so_many_seconds_the_job_is_told_as_it_is(client):
    job_id = await enqueue(client)
    begun = trio.current_time()
    answer = await ask(client, job_id, "1")
    assert (answer.status_code, answer.json()["status"]) == (200, "pending")
    assert trio.current_time() - begun >= 1


@pytest.mark.parametrize("state", [JobState.COMPLETED, JobState.FAILED])
async def test_a_job_that_has_ended_is_told_at_once(client, queue, store, state: JobState):
    job_id = await enqueue(client)
    await finish(store, job_id, await claim(store, queue, job_id), state)
    with trio.fail_after(30):  # of 60
        assert (await ask(client, job_id, "60")).json()["status"] == state


async def test_a_job_that_is_deleted_meanwhile_is_not_found(client, nursery, psql):
    job_id = await enqueue(client)
    answers: list[httpx.Response] = []

    async def wait() -> None:
        answers.append(await ask(client, job_id, "60"))

    nursery.start_soon(wait)
    await trio.sleep(0.2)
    await psql("DELETE FROM jobs")
    await until_true(lambda: answers, seconds=20)
    assert answers[0].status_code == 404


@pytest.mark.parametrize("seconds", ["-1", "x", "61", "6.5", "1e1", "nan", "5&wait=6", "٣"])
async def test_a_wait_that_is_none_is_refused(client, seconds: str):
    job_id = await enqueue(client)
    answer = await ask(client, job_id, seconds)
    assert (answer.status_code, answer.text) == (
        400,
        "wait: must be a whole number of seconds from 0 to 60, given once",
    )


async def test_what_is_no_job_is_not_waited_for(client):
    with trio.fail_after(30):
        assert (await ask(client, uuid4(), "60")).status_code == 404


async def test_a_client_that_hangs_up_no_longer_waits(client, monkeypatch):
    made: list[Waiters] = []
    wait = Waiters.wait

    async def noting(self: Waiters, *arguments) -> None:
        made.append(self)
        await wait(self, *arguments)

    monkeypatch.setattr(Waiters, "wait", noting)
    job_id = await enqueue(client)
    async with await connect(client) as connection:
        await connection.send(f"GET /api/jobs/{job_id}?wait=60 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        await until_true(lambda: made and len(made[0]) == 1)
    await until_true(lambda: len(made[0]) == 0)


# --- the waiters alone


class Rows:
    """Jobs that end one after the other. Mutable state: which have, and what was asked."""

    def __init__(self) -> None:
        self.over: set[UUID] = set()
        self.asked: list[float] = []
        self.away = False

    async def ended(self, ids: Sequence[UUID]) -> set[UUID]:
        self.asked.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        if self.away:
            raise StoreUnavailable("away")
        return self.over & set(ids)


async def test_a_thousand_waiters_cost_one_statement_a_look(autojump_clock: MockClock, nursery):
    rows = Rows()
    ours = Waiters(rows.ended)
    nursery.start_soon(ours.run)
    await trio.sleep(10)
    assert rows.asked == [], "no request waits"
    ids = [uuid4() for _ in range(1000)]
    told: list[float] = []

    async def wait(job_id: UUID) -> None:
        await ours.wait(job_id, 60, trio.Event())
        told.append(trio.current_time())

    async with trio.open_nursery() as waiting:
        for job_id in ids:
            waiting.start_soon(wait, job_id)
        await trio.sleep(1)
        with pytest.raises(TooManyWait):
            await ours.wait(uuid4(), 60, trio.Event())
        assert len(rows.asked) <= 1 / LOOK_SECONDS + 1
        ended_at = trio.current_time()
        rows.over = set(ids)
    assert max(told) - ended_at <= 0.1
    assert len(ours) == 0


async def test_an_outage_is_waited_out(autojump_clock: MockClock, nursery):
    rows = Rows()
    rows.away = True
    ours = Waiters(rows.ended)
    nursery.start_soon(ours.run)
    job_id = uuid4()
    begun = trio.current_time()
    rows.over = {job_id}
    async with trio.open_nursery() as waiting:
        waiting.start_soon(ours.wait, job_id, 60, trio.Event())
        await trio.sleep(5)
        rows.away = False
    assert trio.current_time() - begun < 7
    assert len(rows.asked) <= 5 / waiters.AWAY_SECONDS + 2
    await ours.wait(uuid4(), 2, trio.Event())
    assert len(ours) == 0
