"""The backend of the routes: the connections of one process, group commit, and the health of both servers."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TypeVar, cast
from uuid import UUID

import trio

from workqueue.core.batching import Batcher
from workqueue.core.bridge import Bridge, open_bridge
from workqueue.core.engine import STATS_SECONDS, Engine, open_engine
from workqueue.core.errors import (
    BatchFailed,
    EnqueueFailed,
    InvalidOption,
    KeyReused,
    PersistFailed,
    QueueUnavailable,
    StoreUnavailable,
)
from workqueue.core.ids import clock, made_at
from workqueue.core.options import DEFAULT_QUEUE
from workqueue.core.queue import Queue
from workqueue.core.settings import Settings, without_password
from workqueue.core.steps.dead_acts import DeadLetters
from workqueue.core.steps.queues import KnownQueues
from workqueue.core.steps.submit import BATCH_BYTES_MAX, BATCH_MAX, SubmitResult, size
from workqueue.core.steps.submit_once import Keyed, keyed_size
from workqueue.core.steps.submit_unique import Duplicate, UniqueResult, item_size, submission_of
from workqueue.core.store import JobStore
from workqueue.core.wire import Submission
from workqueue.services.health import Dependency, remedy
from workqueue.services.http.responses import Refused
from workqueue.services.migration import migrate_until_done
from workqueue.services.producer.answers import Answers
from workqueue.services.producer.enqueued import Enqueued
from workqueue.services.producer.events import Events
from workqueue.services.producer.overview import read_overview
from workqueue.services.producer.views import Overview
from workqueue.services.producer.waiters import Waiters

ENTER_SECONDS = 5.0  #: how long a request waits for room in the Batcher
WAITING_MAX = 1000
INSTALLATION_SECONDS = 1.0  #: between two checks whether our database is the one of the queue
QUIET_SECONDS = 1.0  #: without a batch for so long, outbox entries are removed by a statement of their own
FLUSH_SECONDS = 2.0
READS_MAX = 4  #: of the pool's 8 connections: pages must not keep submits, or the watch, from Postgres
READ_ENTER_SECONDS = 5.0
DEAD_TURNS = 4  #: requests at once that read or change dead letters

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Answer = TypeVar("Answer", bound=UniqueResult)


@asynccontextmanager
async def open_backend(settings: Settings) -> AsyncIterator["Backend"]:
    """A backend that works until the block ends; then what it holds in memory is flushed, and its connections closed.

    Needs neither Redis nor Postgres to open: it waits for them in the background. Call it once a process. A bug of a
    background task cancels the block.
    """
    async with open_bridge() as bridge, open_engine(bridge, settings) as engine:
        backend = Backend(settings, engine)
        rows = without_password(settings.database_url) if settings.database_url else "none: DATABASE_URL is not set"
        log.info("queue %s on %s, job rows: %s", settings.queue_name, without_password(settings.redis_url), rows)
        async with trio.open_nursery() as nursery:
            await nursery.start(backend.run, bridge)
            yield backend
            nursery.cancel_scope.cancel()
        await backend.flush()


SubmitFailure = BatchFailed | InvalidOption | EnqueueFailed


class Backend:
    """What the routes of one process work with: the connections, group commit, and the health of both servers.

    Mutable state: whether the installation was looked at, set once; `_last_batch_at`, set by each batch.
    """

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self.settings = settings
        self.queue = engine.queue
        self.engine = engine
        self.installation = engine.installation
        self.redis = Dependency("Redis", remedy("REDIS_URL", settings.redis_url))
        self.postgres: Dependency | None = None
        if settings.database_url:
            self.postgres = Dependency("Postgres", remedy("DATABASE_URL", settings.database_url))
        self._looked = trio.Event()  #: at the installation, answered or not
        once = engine.submit_once(ttl_seconds=settings.idempotency_ttl)
        unique = engine.submit_unique(ttl_seconds=settings.idempotency_ttl)
        limits = {"batch_max": BATCH_MAX, "waiting_max": WAITING_MAX, "bytes_max": BATCH_BYTES_MAX}
        self._batcher: Batcher[Submission, SubmitResult] = Batcher(
            partial(self._run_batch, engine.submit.run_batch), **limits, size=size
        )
        self._keyed_batcher: Batcher[Keyed, SubmitResult | KeyReused] = Batcher(
            partial(self._run_batch, once.run_batch), **limits, size=keyed_size
        )
        self._submit_unique = unique
        self._unique_batcher: Batcher[Submission | Keyed, UniqueResult] = Batcher(
            partial(self._run_batch, unique.run_batch), **limits, size=item_size
        )
        self._bulk_turn = trio.CapacityLimiter(1)
        self._queues = KnownQueues(self.queue)
        self._reads = trio.CapacityLimiter(READS_MAX)
        self._dead_turns = trio.CapacityLimiter(DEAD_TURNS)
        self._last_batch_at = 0.0
        self.waiters = Waiters(self._ended)
        self.events: Events | None = None
        if engine.keeps_rows:
            changes = engine.rows().changes
            self.events = Events(self.overview, partial(changes.since, settings.queue_name), changes.watched)
        self._enqueued = Enqueued()
        self._record = engine.record_stats(self._enqueued.take)
        self.answers = Answers(self.queue.answers)

    # --- its background tasks

    async def run(self, bridge: Bridge, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take batches, watch both servers and keep the tables up to date, until cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._batcher.run)
            await nursery.start(self._keyed_batcher.run)
            await nursery.start(self._unique_batcher.run)
            nursery.start_soon(self.redis.watch, self.queue.depths, partial(self.queue.check, room=True))
            if self.postgres is not None:
                nursery.start_soon(self._keep_store, bridge, self.engine.rows(), self.postgres)
                if self.events is not None:
                    nursery.start_soon(self.events.run)
            else:
                nursery.start_soon(self._watch_installation)
            task_status.started()

    async def flush(self) -> None:
        """Remove the outbox entries that no later batch will take along, for FLUSH_SECONDS at most."""
        with trio.move_on_after(FLUSH_SECONDS):
            try:
                await self.engine.clear()
                await self._record()
            except StoreUnavailable as error:  # an entry that stays costs one needless push by the relay
                log.info("outbox entries are left to the relay: %s", error)

    async def _keep_store(self, bridge: Bridge, store: JobStore, postgres: Dependency) -> None:
        """Migrate as soon as Postgres answers; then watch it, and remove outbox entries while no batches come."""

        def lost(error: StoreUnavailable) -> None:
            postgres.lost(error)
            self._looked.set()

        database_url, schema = self.settings.database_url or "", self.settings.database_schema
        await migrate_until_done(bridge, database_url, schema, on_outage=lost)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(postgres.watch, store.check, store.check_fitness)
            nursery.start_soon(self._watch_installation)
            nursery.start_soon(self._clear_outbox)
            nursery.start_soon(self._record_stats)
            nursery.start_soon(self._look_for_a_loss)
            nursery.start_soon(self._push_notified)
            nursery.start_soon(self.waiters.run)
            nursery.start_soon(self.answers.run)

    async def _watch_installation(self) -> None:
        """Check whether our database is the one of the queue, beside the requests: none makes a trip for it."""
        while True:
            try:
                await self.installation.run_once()
            except (QueueUnavailable, StoreUnavailable) as error:
                if not self.installation.known.is_set():
                    # `watch` logs the outage
                    log.debug("the database of this queue is not known yet: %s", error)
            self._looked.set()
            await trio.sleep(INSTALLATION_SECONDS)

    async def _look_for_a_loss(self) -> None:
        """Look once for a loss of Redis, as soon as Redis answers; workers look each second.

        The first look of an installation puts every pending job in the outbox, because nothing is known yet. Made here
        it finds an empty queue; made by the first worker, it would push every job that was accepted before a second
        time (15 % more work in a drain).
        """
        await self.installation.known.wait()
        while True:
            try:
                if self.installation.may_work:
                    await self.engine.look_for_loss()
                    return
            except (QueueUnavailable, StoreUnavailable):
                pass  # `watch` logs the outage
            await trio.sleep(QUIET_SECONDS)

    async def _push_notified(self) -> None:
        await self.installation.known.wait()
        if self.installation.may_work:
            await self.engine.push_notified()

    async def _clear_outbox(self) -> None:
        """Remove the entries of the last batch: while batches follow, each removes those of the one before."""
        while True:
            await trio.sleep(QUIET_SECONDS / 2)
            if trio.current_time() - self._last_batch_at >= QUIET_SECONDS:
                try:
                    await self.engine.clear()
                except StoreUnavailable:
                    continue  # they are kept; `watch` logs the outage

    async def _record_stats(self) -> None:
        """Store how many jobs were accepted, until cancelled."""
        while True:
            await trio.sleep(STATS_SECONDS)
            with suppress(StoreUnavailable):  # the same again next time; `watch` logs the outage
                await self._record()

    async def _ended(self, ids: Sequence[UUID]) -> set[UUID]:
        return await self.engine.rows().ended(ids)

    # --- for the routes

    async def overview(self) -> Overview:
        """The system at a glance. Raises nothing: it says what is wrong."""
        return await read_overview(self.settings, self.asking, self.redis, self.postgres)

    async def enqueue(self, item: Submission | Keyed) -> UUID | Duplicate:
        """Accept a job, in one batch with the others that arrive now; returns its id, or whose duplicate it is.

        Raises PersistFailed or EnqueueFailed, at once where the server is known to be away, KeyReused, and BatchFailed
        for a bug, and InvalidOption where there are too many queues. Cancelled: the job may be accepted all the same.
        """
        if (failure := await self.known_failure()) is not None:
            raise failure
        submission = item.submission if isinstance(item, Keyed) else item
        if submission.options.queue != DEFAULT_QUEUE:
            await self._note_queue(submission.options.queue)
        accepted: UniqueResult
        try:
            if submission.options.unique_key is not None:
                accepted = await self._unique_batcher.submit(item, enter_seconds=ENTER_SECONDS)
            elif isinstance(item, Keyed):
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

    async def known_failure(self) -> PersistFailed | EnqueueFailed | None:
        """`failure`, once the installation was looked at: waited for at a start, for ENTER_SECONDS at most."""
        if not self._looked.is_set():
            with trio.move_on_after(ENTER_SECONDS):
                await self._looked.wait()
        return self.failure()

    def failure(self) -> PersistFailed | EnqueueFailed | None:
        """Why no job can be accepted now, as far as that is known without a trip; None: no reason is known."""
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
        self._last_batch_at, begun = trio.current_time(), clock()
        try:
            answers = await run_batch(items)
        except Exception:
            log.exception("a batch of %d jobs met a bug", len(items))
            raise
        self._count(items, answers, begun)
        failure = next((answer for answer in answers if isinstance(answer, PersistFailed | EnqueueFailed)), None)
        if isinstance(failure, PersistFailed) and self.postgres is not None:
            self.postgres.failed(failure)
        elif failure is not None:
            self.redis.failed(failure)
        return answers

    def _count(self, items: Sequence[object], answers: Sequence[object], begun: float) -> None:
        """Count the jobs that were accepted. Under a key the answer may be a job of long ago."""
        accepted = [item for item, answer in zip(items, answers, strict=True) if type(answer) is UUID]
        if any(isinstance(item, Keyed) for item in accepted):
            ids = [answer for answer in answers if type(answer) is UUID]
            pairs = zip(cast("list[Submission | Keyed]", accepted), ids, strict=True)
            self._enqueued.add(
                submission_of(item).type for item, job_id in pairs if (made_at(job_id) or 0.0) >= begun - 1
            )
        else:
            self._enqueued.add([item.type for item in cast("list[Submission]", accepted)])

    async def _note_queue(self, name: str) -> None:
        try:
            await self._queues.note(name)
        except QueueUnavailable as error:
            self.redis.failed(error)
            raise EnqueueFailed(str(error)) from error

    async def _note_queues(self, submissions: Sequence[Submission]) -> dict[str, Callable[[], SubmitFailure]]:
        """The queues that cannot be used, and the error for each of their jobs."""
        refused: dict[str, Callable[[], SubmitFailure]] = {}
        for name in {submission.options.queue for submission in submissions} - {DEFAULT_QUEUE}:
            try:
                await self._note_queue(name)
            except (InvalidOption, EnqueueFailed) as error:
                refused[name] = partial(type(error), str(error))
        return refused

    async def enqueue_many(self, submissions: Sequence[Submission]) -> list[UniqueResult | SubmitFailure]:
        """Accept up to BATCH_MAX jobs that came together; the result for each, in order. Callers take turns, also those
        whose jobs were all refused before (`submissions` is empty then).

        Cancelled: the jobs may be accepted all the same.
        """
        if (
            failure := await self.known_failure()
        ) is not None:  # a fresh one for each: tasks that share one garble its traceback
            return [type(failure)(str(failure)) for _ in submissions]
        async with self._bulk_turn:
            if not submissions:
                return []
            try:
                refused = await self._note_queues(submissions)
                if not refused:
                    return list(await self._submit_many(submissions))
                left = [submission for submission in submissions if submission.options.queue not in refused]
                answers = iter(await self._submit_many(left) if left else [])
                return [
                    refused[submission.options.queue]() if submission.options.queue in refused else next(answers)
                    for submission in submissions
                ]
            except Exception as error:  # noqa: BLE001 - a bug, logged by _run_batch
                return [BatchFailed(str(error)) for _ in submissions]

    async def _submit_many(self, submissions: Sequence[Submission]) -> Sequence[UniqueResult]:
        """Those with a unique key in a batch of their own, behind the others."""
        plain = [each for each in submissions if each.options.unique_key is None]
        if len(plain) == len(submissions):
            return await self._run_batch(self.engine.submit.run_batch, submissions)
        others = iter(await self._run_batch(self.engine.submit.run_batch, plain) if plain else [])
        unique = [each for each in submissions if each.options.unique_key is not None]
        answers = iter(await self._run_batch(self._submit_unique.run_batch, unique))
        return [next(others if each.options.unique_key is None else answers) for each in submissions]

    @asynccontextmanager
    async def reading(self, store: JobStore, message: str) -> AsyncIterator[None]:
        """A block that reads rows, entered in turn. Raises Refused(500, `message`) in an outage."""
        assert self.postgres is not None  # noqa: S101 - it exists where a store does
        if self.postgres.is_away:
            raise Refused(500, message)
        try:
            with trio.fail_after(READ_ENTER_SECONDS):
                await self._reads.acquire()
        except trio.TooSlowError:
            raise Refused(500, message) from None
        try:
            yield
        except StoreUnavailable as error:
            self.postgres.failed(error)
            raise Refused(500, message) from error
        finally:
            self._reads.release()

    @asynccontextmanager
    async def asking(self, message: str) -> AsyncIterator[Queue]:
        """A block that asks Redis. Raises Refused(500, `message`) in an outage."""
        if self.redis.is_away:
            raise Refused(500, message)
        try:
            yield self.queue
        except QueueUnavailable as error:
            self.redis.failed(error)
            raise Refused(500, message) from error

    @asynccontextmanager
    async def dead_letters(self, message: str) -> AsyncIterator[DeadLetters]:
        """A block that reads or changes dead letters, entered in turn: each may hold some MiB of them.

        Raises Refused(500, `message`) in an outage of Redis or Postgres.
        """
        try:
            with trio.fail_after(READ_ENTER_SECONDS):
                await self._dead_turns.acquire()
        except trio.TooSlowError:
            raise Refused(500, message) from None
        try:
            async with self.asking(message):
                yield self.engine.dead_letters()
        except StoreUnavailable as error:
            if self.postgres is not None:
                self.postgres.failed(error)
            raise Refused(500, message) from error
        finally:
            self._dead_turns.release()
