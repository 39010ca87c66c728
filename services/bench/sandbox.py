"""A queue and a schema for a measurement, on servers that others may use: nothing of it is left at the end."""

import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import uuid4

import trio
from msgspec import Struct

from workqueue.core.bridge import open_bridge
from workqueue.core.engine import engine_of
from workqueue.core.errors import QueueUnavailable, StoreUnavailable
from workqueue.core.queue import Queue, open_queue
from workqueue.core.settings import Settings, load_settings
from workqueue.core.store import JobStore, migrate, open_store
from workqueue.core.store.pool import Pool, open_pool
from workqueue.core.wire import Submission

REMOVE_SECONDS = 30.0
BATCH = 500
#: About 100 bytes, as a small real job has.
PAYLOAD = b'{"to":"someone@example.com","subject":"Welcome!","body":"a payload of about 100 bytes as it comes"}'


class Sandbox(Struct, frozen=True):
    """Where a measurement works."""

    settings: Settings
    queue: Queue
    store: JobStore | None  #: None: Redis only

    async def submit(self, job_type: str, count: int, payload: bytes = PAYLOAD) -> None:
        """As a producer does it, in batches. Raises EnqueueFailed or PersistFailed for the first that is refused."""
        engine = engine_of(self.queue, self.store)
        for begin in range(0, count, BATCH):
            for answer in await engine.submit.run_batch([Submission(job_type, payload)] * min(BATCH, count - begin)):
                if isinstance(answer, Exception):  # or the drain would wait for it
                    raise answer
        await engine.clear()


@asynccontextmanager
async def open_sandbox(redis_url: str, database_url: str | None, *, concurrency: int) -> AsyncIterator[Sandbox]:
    """Raises QueueUnavailable, StoreUnavailable. What it made is removed however the block ends, within a bound."""
    name = f"bench_{uuid4().hex[:12]}"
    settings = load_settings({"REDIS_URL": redis_url, "QUEUE_NAME": name, "WORKER_CONCURRENCY": str(concurrency)})
    async with AsyncExitStack() as stack:
        bridge = await stack.enter_async_context(open_bridge())
        queue = await stack.enter_async_context(open_queue(bridge, redis_url, name))
        await queue.check(room=True)
        stack.push_async_callback(_remove_queue, queue)
        store = None
        if database_url is not None:
            pool = await stack.enter_async_context(open_pool(bridge, database_url, name, connections=1))
            stack.push_async_callback(_remove_schema, pool, name)
            await migrate(bridge, database_url, name)
            store = await stack.enter_async_context(open_store(bridge, database_url, name))
            await engine_of(queue, store).look_for_loss()  # as a producer does when it starts
        yield Sandbox(settings, queue, store)


async def _remove_queue(queue: Queue) -> None:
    with trio.move_on_after(REMOVE_SECONDS, shield=True), contextlib.suppress(QueueUnavailable):
        await queue.remove()


async def _remove_schema(pool: Pool, schema: str) -> None:
    with trio.move_on_after(REMOVE_SECONDS, shield=True), contextlib.suppress(StoreUnavailable):
        await pool.fetch(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE', seconds=REMOVE_SECONDS)
