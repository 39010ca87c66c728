"""GET /api/jobs/<id>/tree, with a worker that is played by the test. worker/test_inspecting.py has a real one."""

from collections.abc import Awaitable, Callable
from uuid import UUID, uuid4

import httpx
import pytest
import trio
from uuid_utils.compat import uuid7

from tests.producer.rows import claim, enqueue, failed, finish
from tests.services.test_job_tree import TREE
from workqueue.core.control import read_message
from workqueue.core.job import JobState
from workqueue.core.queue import Queue
from workqueue.core.store import JobStore
from workqueue.services.job_tree import TreeAnswer, write_answer
from workqueue.services.producer import trees
from workqueue.services.producer.answers import WAITING_MAX


async def play_worker(
    queue: Queue, answer: Callable[[UUID, UUID, UUID], Awaitable[None]], *, task_status: trio.TaskStatus[None]
) -> None:
    async with queue.listen() as receive:
        task_status.started()
        while True:
            if (text := await receive()) is not None:
                for request in read_message(text).tree:
                    await answer(*request)


def says(queue: Queue, text: bytes) -> Callable[[UUID, UUID, UUID], Awaitable[None]]:
    async def answer(request: UUID, token: UUID, job_id: UUID) -> None:
        await queue.answer(request, text, keep_seconds=5)

    return answer


async def get(client: httpx.AsyncClient, job_id: object) -> tuple[int, str]:
    answer = await client.get(f"/api/jobs/{job_id}/tree")
    return answer.status_code, answer.text


async def test_the_answer_of_the_worker_is_the_answer(client, queue: Queue, store: JobStore, nursery):
    asked: list[tuple[UUID, UUID]] = []

    async def answer(request: UUID, token: UUID, job_id: UUID) -> None:
        asked.append((token, job_id))
        await says(queue, write_answer(TreeAnswer(TREE)))(request, token, job_id)

    await nursery.start(lambda task_status: play_worker(queue, answer, task_status=task_status))
    job_id = await enqueue(client)
    token = await claim(store, queue, job_id)
    shown = await client.get(f"/api/jobs/{job_id}/tree")
    assert shown.status_code == 200
    assert shown.json()["task"]["nurseries"][0]["tasks"][0]["frames"][0] == {
        "file": "/a.py", "line": 3, "function": "leaf", "source": "await x",
    }  # fmt: skip
    assert asked == [(token, job_id)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [(b"{}", (409, "the job is not running")), (b"another program's", (500, "failed to ask the worker"))],
)
async def test_a_worker_that_does_not_run_it_says_so(client, queue, store, nursery, text, expected):
    await nursery.start(lambda task_status: play_worker(queue, says(queue, text), task_status=task_status))
    job_id = await enqueue(client)
    await claim(store, queue, job_id)
    assert await get(client, job_id) == expected


async def test_no_answer_is_said_and_one_that_has_ended_meanwhile_is_not_running(
    client, queue, store, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(trees, "ANSWER_SECONDS", 0.2)
    job_id = await enqueue(client)
    token = await claim(store, queue, job_id)
    assert await get(client, job_id) == (
        504,
        "no answer from the worker within 3 s: a handler holds up its loop, or it is cut off from Redis",
    )
    monkeypatch.setattr(trees, "ANSWER_SECONDS", 2.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(finish, store, job_id, token, JobState.COMPLETED)
        assert await get(client, job_id) == (409, "the job is not running")


async def test_a_run_that_was_followed_by_another_is_not_said_to_block_its_worker(client, queue, store, monkeypatch):
    monkeypatch.setattr(trees, "ANSWER_SECONDS", 2.0)
    job_id = await enqueue(client)
    token = await claim(store, queue, job_id)

    async def run_anew() -> None:
        await trio.sleep(0.5)
        await store.requeue(uuid7(), queue.name, [failed(job_id, token, "E", "")])
        await claim(store, queue, job_id)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_anew)
        assert await get(client, job_id) == (409, "the job is not running")


async def test_what_does_not_run_and_what_is_none(client, redis_only, queue, store):
    job_id = await enqueue(client)
    assert await get(client, job_id) == (409, "the job is not running")
    assert await get(client, uuid4()) == (404, "job not found")
    assert await get(client, "x") == (400, "not a job id")
    assert await get(redis_only, uuid4()) == (404, "jobs are stored only with DATABASE_URL")


async def test_sixteen_may_ask_at_once(client, queue, store):
    job_id = await enqueue(client)
    await claim(store, queue, job_id)
    answers: list[tuple[int, str]] = []

    async def ask() -> None:
        answers.append(await get(client, job_id))

    async with trio.open_nursery() as nursery:
        for _ in range(WAITING_MAX + 3):
            nursery.start_soon(ask)
    assert sorted(status for status, _ in answers) == [429] * 3 + [504] * WAITING_MAX
    assert (429, "too many requests ask workers for what they run") in answers
