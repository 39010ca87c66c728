"""What stands behind the routes of one process: the connections, group commit, and the watch over both servers."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TypeVar
from uuid import UUID

import trio

from workqueue.core.batching import Batcher
from workqueue.core.bridge import Bridge, open_bridge
from workqueue.core.engine import Engine, engine_of
from workqueue.core.errors import (
    BatchFailed,
    EnqueueFailed,
    KeyReused,
    PersistFailed,
    QueueUnavailable,
    StoreUnavailable,
)
from workqueue.core.queue import Queue, open_queue
from workqueue.core.settings import Settings, without_password
from workqueue.core.steps.installation import Installation
from workqueue.core.steps.submit import BATCH_BYTES_MAX, BATCH_MAX, SubmitResult, size
from workqueue.core.steps.submit_once import Keyed, keyed_size
from workqueue.core.store import JobStore, migrate, open_store
from workqueue.core.wire import Submission
from workqueue.services.health import Dependency
from workqueue.services.http.answers import Refused

ENTER_SECONDS = 5.0  #: how long a request waits for room in the Batcher
WAITING_MAX = 1000
INSTALLATION_SECONDS = 1.0  #: between two looks whether our database is the one of the queue
QUIET_SECONDS = 1.0  #: without a batch for so long, outbox entries are removed by a statement of their own
FLUSH_SECONDS = 2.0
READS_MAX = 4  #: of the pool's 8 connections: pages must not keep submits, or the watch, from Postgres
READ_ENTER_SECONDS = 5.0

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Answer = TypeVar("Answer", bound=SubmitResult | KeyReused)


class Producer:
    """One a process. `run` opens it and owns everything; the rest is for routes, while it runs.

    Mutable state: what `run` opens, set before it reports to have started; `_last_batch_at`, by the batches.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.queue: Queue
        self.store: JobStore | None = None
        self.redis: Dependency
        self.postgres: Dependency | None = None
        self.installation: Installation
        self._looked = trio.Event()  #: for the first time, answered or not
        self._batcher: Batcher[Submission, SubmitResult]
        self._keyed_batcher: Batcher[Keyed, SubmitResult | KeyReused]
        self._engine: Engine
        self._bulk_turn = trio.CapacityLimiter(1)
        self._reads = trio.CapacityLimiter(READS_MAX)
        self._last_batch_at = 0.0
        self._stopping = trio.Event()
        self._ended = trio.Event()

    # --- its life

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve the routes until `stop`. Needs neither Redis nor Postgres to start: it waits for them meanwhile."""
        try:
            async with AsyncExitStack() as stack:
                bridge = await stack.enter_async_context(open_bridge())
                await self._open(bridge, stack)
                async with trio.open_nursery() as nursery:
                    await nursery.start(self._batcher.run)
                    await nursery.start(self._keyed_batcher.run)
                    nursery.start_soon(self.redis.watch, self.queue.depths, partial(self.queue.check, room=True))
                    if self.store is not None and self.postgres is not None:
                        nursery.start_soon(self._keep_store, bridge, self.store, self.postgres)
                    else:
                        nursery.start_soon(self._watch_installation)
                    task_status.started()
                    await self._stopping.wait()
                    nursery.cancel_scope.cancel()
                await self._flush()
        finally:
            self._ended.set()

    async def stop(self) -> None:
        """End `run` once nobody asks any more; returns when everything is closed."""
        self._stopping.set()
        await self._ended.wait()

    async def _open(self, bridge: Bridge, stack: AsyncExitStack) -> None:
        settings = self.settings
        redis_url = without_password(settings.redis_url)
        self.queue = await stack.enter_async_context(open_queue(bridge, settings.redis_url, settings.queue_name))
        self.redis = Dependency("Redis", f"Start it, or point REDIS_URL (now {redis_url}) to one that runs")
        database_url = "none: DATABASE_URL is not set"
        if settings.database_url:
            database_url = without_password(settings.database_url)
            self.store = await stack.enter_async_context(
                open_store(bridge, settings.database_url, settings.database_schema)
            )
            self.postgres = Dependency(
                "Postgres", f"Start it, or point DATABASE_URL (now {database_url}) to one that runs"
            )
        self._engine = engine_of(self.queue, self.store)
        self.installation = self._engine.installation
        once = self._engine.submit_once(ttl_seconds=settings.idempotency_ttl)
        limits = {"batch_max": BATCH_MAX, "waiting_max": WAITING_MAX, "bytes_max": BATCH_BYTES_MAX}
        self._batcher = Batcher(partial(self._run_batch, self._engine.submit.run_batch), **limits, size=size)
        self._keyed_batcher = Batcher(partial(self._run_batch, once.run_batch), **limits, size=keyed_size)
        log.info("queue %s on %s, job rows: %s", settings.queue_name, redis_url, database_url)

    async def _keep_store(self, bridge: Bridge, store: JobStore, postgres: Dependency) -> None:
        """Bring the tables up to date as soon as Postgres lets us; then watch it, and clear up when it is quiet."""
        database_url = self.settings.database_url or ""
        pause = 0.1
        while True:
            try:
                done = await migrate(bridge, database_url, self.settings.database_schema)
                break
            except StoreUnavailable as error:
                postgres.lost(error)
                self._looked.set()
            await trio.sleep(pause)
            pause = min(pause * 2, 1.0)
        if done:
            log.info("migrated schema %s: %s", self.settings.database_schema, ", ".join(done))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(postgres.watch, store.check, store.check_fitness)
            nursery.start_soon(self._watch_installation)
            nursery.start_soon(self._clear)
            nursery.start_soon(self._look_for_a_loss)

    async def _watch_installation(self) -> None:
        """Is our database the one of the queue? Looked at beside the requests: none makes a trip for it."""
        while True:
            try:
                await self.installation.run_once()
            except (QueueUnavailable, StoreUnavailable) as error:
                if not self.installation.known.is_set():
                    log.debug(
                        "whose rows the queue has is not known yet: %s", error
                    )  # the watch tells about the outage
            self._looked.set()
            await trio.sleep(INSTALLATION_SECONDS)

    async def _look_for_a_loss(self) -> None:
        """Look once, as soon as Redis lets us; workers look each second.

        The first look ever marks whatever is pending, because nothing is known yet. Made here it finds an empty queue;
        left to the first worker, it would push all that was accepted before a second time (15 % more work in a drain).
        """
        await self.installation.known.wait()
        while True:
            try:
                if self.installation.may_work:
                    await self._engine.look_for_loss()
                    return
            except (QueueUnavailable, StoreUnavailable):
                pass  # the watch tells about the outage
            await trio.sleep(QUIET_SECONDS)

    async def _clear(self) -> None:
        """While batches follow each other, each takes the entries of those before it along; the last needs us."""
        while True:
            await trio.sleep(QUIET_SECONDS / 2)
            if trio.current_time() - self._last_batch_at >= QUIET_SECONDS:
                try:
                    await self._engine.clear()
                except StoreUnavailable:
                    continue  # they are kept; the watch tells about the outage

    async def _flush(self) -> None:
        with trio.move_on_after(FLUSH_SECONDS):
            try:
                await self._engine.clear()
            except StoreUnavailable as error:  # an outbox entry that stays costs one needless push by the relay
                log.info("outbox entries are left to the relay: %s", error)

    # --- for the routes

    async def enqueue(self, item: Submission | Keyed) -> UUID:
        """Accept a job, together with whoever else asks now; returns its id.

        Raises PersistFailed or EnqueueFailed, at once where the server is known to be away, KeyReused, and BatchFailed
        for a bug. Cancelled: the job may be accepted all the same.
        """
        if not self._looked.is_set():
            await self._wait_for_the_first_look()
        if (failure := self.failure()) is not None:
            raise failure
        try:
            if isinstance(item, Keyed):
                accepted = await self._keyed_batcher.submit(item, enter_seconds=ENTER_SECONDS)
            else:
                accepted = await self._batcher.submit(item, enter_seconds=ENTER_SECONDS)
        except trio.TooSlowError:
            raise EnqueueFailed(f"no room within {ENTER_SECONDS:g} s") from None
        except trio.BrokenResourceError:
            raise EnqueueFailed("this process is ending") from None
        if isinstance(accepted, Exception):  # the Batcher raises these itself
            raise accepted
        return accepted

    async def _wait_for_the_first_look(self) -> None:
        with trio.move_on_after(ENTER_SECONDS):
            await self._looked.wait()

    def failure(self) -> PersistFailed | EnqueueFailed | None:
        """Why nothing can be accepted now, as far as it is known without asking."""
        if self.postgres is not None and self.postgres.is_away:
            return PersistFailed("Postgres is away")
        if self.redis.is_away:
            return EnqueueFailed("Redis is away")
        if not self.installation.may_work:
            reason = self.installation.refusal or "it was not yet asked where the jobs of this queue have rows"
            return EnqueueFailed(reason) if self.postgres is None else PersistFailed(reason)
        return None

    async def _run_batch(
        self, run_batch: Callable[[Sequence[Item]], Awaitable[list[Answer]]], items: Sequence[Item]
    ) -> list[Answer]:
        self._last_batch_at = trio.current_time()
        try:
            answers = await run_batch(items)
        except Exception:
            log.exception("a batch of %d jobs met a bug", len(items))
            raise
        failure = next((answer for answer in answers if isinstance(answer, PersistFailed | EnqueueFailed)), None)
        if isinstance(failure, PersistFailed) and self.postgres is not None:
            self.postgres.failed(failure)
        elif failure is not None:
            self.redis.failed(failure)
        return answers

    async def enqueue_many(self, submissions: Sequence[Submission]) -> list[SubmitResult | BatchFailed]:
        """Accept up to BATCH_MAX jobs that came together; the answer for each, in order. Callers take turns, also those
        that have read nothing but what they must refuse.

        Cancelled: the jobs may be accepted all the same.
        """
        if not self._looked.is_set():
            await self._wait_for_the_first_look()
        if (failure := self.failure()) is not None:  # a fresh one for each: tasks that share one garble its traceback
            return [type(failure)(str(failure)) for _ in submissions]
        async with self._bulk_turn:
            if not submissions:
                return []
            try:
                return list(await self._run_batch(self._engine.submit.run_batch, submissions))
            except Exception as error:  # noqa: BLE001 - a bug, logged by _run_batch
                return [BatchFailed(str(error)) for _ in submissions]

    @asynccontextmanager
    async def reading(self, store: JobStore, sentence: str) -> AsyncIterator[None]:
        """A block that reads rows, when its turn has come. Raises Refused(500, `sentence`) in an outage."""
        assert self.postgres is not None  # noqa: S101 - there is a store
        if self.postgres.is_away:
            raise Refused(500, sentence)
        try:
            with trio.fail_after(READ_ENTER_SECONDS):
                await self._reads.acquire()
        except trio.TooSlowError:
            raise Refused(500, sentence) from None
        try:
            yield
        except StoreUnavailable as error:
            self.postgres.failed(error)
            raise Refused(500, sentence) from error
        finally:
            self._reads.release()

    @asynccontextmanager
    async def asking(self, sentence: str) -> AsyncIterator[Queue]:
        """A block that asks Redis. Raises Refused(500, `sentence`) in an outage."""
        if self.redis.is_away:
            raise Refused(500, sentence)
        try:
            yield self.queue
        except QueueUnavailable as error:
            self.redis.failed(error)
            raise Refused(500, sentence) from error
