"""`workqueue enqueue` against a real producer."""

from functools import partial

import pytest
import trio

from tests.cli.support import workqueue
from tests.producer.serving import serving


@pytest.fixture
async def url(store, redis_url, postgres_dsn, queue_name, database_schema):
    environ = {
        "REDIS_URL": redis_url,
        "DATABASE_URL": postgres_dsn,
        "DATABASE_SCHEMA": database_schema,
        "QUEUE_NAME": queue_name,
    }
    async with serving(environ) as client:
        yield str(client.base_url)


async def enqueue(*arguments: str, stdin: str = ""):
    return await trio.to_thread.run_sync(partial(workqueue, "enqueue", *arguments, stdin=stdin))


async def test_the_same_key_prints_the_same_id(url, queue):
    first = await enqueue("a", "--url", url, "--key", "k")
    again = await enqueue("a", "--url", url, "--key", "k")
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout == again.stdout
    other = await enqueue("b", "--url", url, "--key", "k")
    assert (other.returncode, other.stdout) == (1, "")
    assert other.stderr == "workqueue: the producer refused the job: idempotency key reused with another body (422)\n"
    assert (await queue.depths()).ready == 1
