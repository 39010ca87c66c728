"""A real worker and a real producer: a person looks inside of a running job."""

import threading
import time
from uuid import UUID, uuid4

import httpx
import pytest
import trio

from tests.producer.serving import serving
from tests.support.wait import until, until_true
from workqueue.core.control import ControlMessage, write_message
from workqueue.core.handlers import Registry
from workqueue.core.job import Job
from workqueue.core.queue import Queue
from workqueue.core.store import JobStore
from workqueue.services.job_tree import TreeAnswer, read_answer
from workqueue.services.worker import inspecting
from workqueue.services.worker.running import tree


@pytest.fixture
def rows(store: JobStore) -> JobStore:
    return store


@pytest.fixture
async def client(store, redis_url, postgres_dsn, queue_name, database_schema):
    environ = {"REDIS_URL": redis_url, "DATABASE_URL": postgres_dsn, "DATABASE_SCHEMA": database_schema}
    async with serving(environ | {"QUEUE_NAME": queue_name}) as client:
        yield client


async def get(client: httpx.AsyncClient, job_id: object) -> httpx.Response:
    return await client.get(f"/api/jobs/{job_id}/tree")


async def test_a_running_job_is_shown_and_goes_on_undisturbed(run_worker, submit, client, registry: Registry, psql):
    inside, end = trio.Event(), trio.Event()

    async def child() -> None:
        with trio.fail_after(500):
            inside.set()
            await end.wait()

    @registry.handler("tree", timeout=1000)
    async def handler(job: Job) -> object:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
        return "fine"

    [job_id] = await submit("tree")
    async with run_worker(worker_concurrency=3) as worker:
        await inside.wait()
        answer = await get(client, job_id)
        assert answer.status_code == 200, answer.text
        shown = answer.json()
        assert (shown["job_id"], shown["type"], shown["worker"]) == (str(job_id), "tree", worker.name)
        assert 900 < shown["deadline"] <= 1000
        root = shown["task"]
        assert root["name"].endswith(".handler")
        assert root["frames"][0]["source"] == "async with trio.open_nursery() as nursery:"
        assert root["scopes"] == [], "the scope of the slot is none of the handler's"
        [task] = root["nurseries"][0]["tasks"]
        assert [frame["source"] for frame in task["frames"] if frame["file"] == __file__] == ["await end.wait()"]
        assert 400 < task["scopes"][0]["deadline"] <= 500
        end.set()
        await until_true(lambda: worker.counts.done == 1)
    assert await psql.value("SELECT result FROM jobs WHERE id = $1", job_id) == '"fine"'


async def test_a_job_in_a_thread_is_shown_with_its_stack(run_worker, submit, client, registry: Registry):
    inside, end = threading.Event(), threading.Event()

    @registry.handler("plain")
    def plain(job: Job) -> object:
        inside.set()
        return end.wait(60)

    [job_id] = await submit("plain")
    async with run_worker():
        await until_true(inside.is_set)
        root = (await get(client, job_id)).json()["task"]
        end.set()
    assert root["frames"] == []
    assert (root["thread"][0]["source"], root["thread"][0]["file"]) == ("return end.wait(60)", __file__)


async def test_a_claimed_job_that_has_not_begun_is_not_running(run_worker, submit, client, registry: Registry, psql):
    began, end = trio.Event(), trio.Event()
    ran: list[str] = []

    @registry.handler("waits")
    async def waits(job: Job) -> object:
        ran.append(job.id)
        if len(ran) == 500:  # jobs as short as those before it are claimed ahead
            began.set()
            await end.wait()
        return None

    await submit("waits", 1000)
    async with run_worker(worker_concurrency=1) as worker:
        await began.wait()
        claimed = worker._buffer._items[-1].job_id
        assert await psql.value("SELECT state FROM jobs WHERE id = $1", claimed) == "processing"
        answer = await get(client, claimed)
        assert (answer.status_code, answer.text) == (409, "the job is not running")
        end.set()


async def test_a_handler_that_blocks_the_loop_is_said_to(run_worker, submit, queue: Queue, registry: Registry):
    """The test plays the producer: both share one loop here."""
    request = uuid4()

    @registry.handler("blocks")
    async def blocks(job: Job) -> object:
        token = worker.leases.current.tasks[1].token
        await queue.tell_workers(write_message(ControlMessage(tree=[(request, token, UUID(job.id))])))
        time.sleep(1)  # noqa: ASYNC251 - what it is about
        assert await queue.answers([request]) == {}
        return None

    await submit("blocks")
    async with run_worker() as worker:
        await until_true(lambda: worker.counts.done == 1)


async def test_others_runs_are_not_answered(run_worker, submit, queue: Queue, registry: Registry):
    inside, end = trio.Event(), trio.Event()

    @registry.handler("waits")
    async def waits(job: Job) -> object:
        inside.set()
        await end.wait()
        return None

    [job_id] = await submit("waits")
    earlier, ours = uuid4(), uuid4()
    async with run_worker() as worker:
        await inside.wait()
        [claimed] = worker.leases.current.tasks.values()
        message = ControlMessage(tree=[(earlier, uuid4(), job_id), (ours, claimed.token, job_id)])
        await queue.tell_workers(write_message(message))

        async def has_come() -> bool:
            return ours in await queue.answers([ours])

        await until(has_come)
        assert set(await queue.answers([earlier, ours])) == {ours}
        end.set()


async def test_an_answer_goes_after_seconds(run_worker, submit, queue: Queue, redis, registry: Registry):
    request = uuid4()
    await queue.answer(request, b"{}", keep_seconds=10)
    assert 0 < await redis("PTTL", queue.keys.answer(request)) <= 10_000


async def test_a_handler_whose_objects_raise_ends_no_worker(
    run_worker, submit, client, registry: Registry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    inside, end = trio.Event(), trio.Event()

    @registry.handler("odd")
    async def odd(job: Job) -> object:
        inside.set()
        await end.wait()
        return None

    def broken(*_: object) -> None:
        raise RuntimeError("odd")

    monkeypatch.setattr(tree, "_scopes", broken)
    [job_id] = await submit("odd")
    async with run_worker() as worker:
        await inside.wait()
        assert (await get(client, job_id)).status_code == 409
        assert "a look inside of job" in caplog.text
        end.set()
        await until_true(lambda: worker.counts.done == 1)


async def test_files_that_hang_do_not_keep_the_answer_back(
    run_worker, submit, client, registry: Registry, monkeypatch: pytest.MonkeyPatch
):
    inside, end, go_on = trio.Event(), trio.Event(), threading.Event()

    @registry.handler("waits")
    async def waits(job: Job) -> object:
        inside.set()
        await end.wait()
        return None

    def hangs(shown: object) -> object:
        go_on.wait(60)
        return shown

    monkeypatch.setattr(inspecting, "with_source", hangs)
    [job_id] = await submit("waits")
    async with run_worker():
        await inside.wait()
        for _ in range(2):
            frame = (await get(client, job_id)).json()["task"]["frames"][0]
            assert (frame["file"], frame["source"]) == (__file__, "")
        go_on.set()
        end.set()


def test_the_answer_of_a_later_release_without_a_tree_is_read():
    assert read_answer(b'{"reason":"x"}') == TreeAnswer()
