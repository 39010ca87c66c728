"""The backend by itself, without an app. (Outages, seen through the app: test_outages.py.)"""

import pytest
import trio

from tests.support.wait import until
from workqueue.core.errors import EnqueueFailed
from workqueue.core.settings import load_settings
from workqueue.core.wire import Submission, read_submission
from workqueue.services.local.process import free_port
from workqueue.services.producer.backend import Backend, open_backend

SUBMISSION = b'{"type":"a","payload":{}}'


def submission() -> Submission:
    return read_submission(SUBMISSION)


async def test_it_is_whole_once_it_is_open_and_flushes_at_the_end(store, environ, queue, monkeypatch):
    monkeypatch.setattr(
        "workqueue.services.producer.backend.QUIET_SECONDS", 3600.0
    )  # only `flush` removes outbox entries

    async def has_looked() -> bool:
        return (await store.read_checkpoint(queue.name)).position_ms > 0

    async def outbox() -> int:
        return len(await store._pool.fetch("SELECT 1 FROM {schema}.outbox"))

    async with open_backend(load_settings(environ)) as backend:
        await until(has_looked)  # for a loss: the first look puts what is pending in the outbox
        assert backend.failure() is None
        job_id = await backend.enqueue(submission())
        assert await outbox() == 1
    assert await outbox() == 0
    assert (await queue.depths()).ready == 1
    row = await store.get(job_id)
    assert row is not None
    assert row.type == "a"


async def test_it_opens_without_servers_and_refuses(queue_name):
    settings = load_settings({"REDIS_URL": f"redis://127.0.0.1:{free_port()}", "QUEUE_NAME": queue_name})
    async with open_backend(settings) as backend:
        assert not backend.engine.keeps_rows
        with pytest.raises(EnqueueFailed):
            await backend.enqueue(submission())
        assert [type(refused) for refused in await backend.enqueue_many([submission()] * 2)] == [EnqueueFailed] * 2


async def test_a_bug_in_its_background_cancels_the_block(redis_url, queue_name, monkeypatch):
    async def broken(self: Backend) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Backend, "_watch_installation", broken)
    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        async with open_backend(load_settings({"REDIS_URL": redis_url, "QUEUE_NAME": queue_name})):
            await trio.sleep_forever()
