"""Submit under unique keys: one job at a time under each. What comes while a job holds its key is answered with that
job, and may replace what it is to do while it waits."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

import trio
from msgspec import Struct
from uuid_utils.compat import uuid7

from workqueue.core.errors import (
    EnqueueFailed,
    KeyReused,
    PersistFailed,
    QueueUnavailable,
    StoreBusy,
    StoreRefused,
    StoreUnavailable,
)
from workqueue.core.ids import new_ids
from workqueue.core.options import REPLACE
from workqueue.core.queue import Queue, UniqueTask
from workqueue.core.steps.outbox import push_waiting
from workqueue.core.steps.piggyback import Piggyback
from workqueue.core.steps.submit import SubmitResult, SubmitRows, due_text, far_of, rows_of, size, tasks_of
from workqueue.core.steps.submit_once import REUSED, Keyed, keyed_size
from workqueue.core.store import JobStore
from workqueue.core.wire import Submission

ROUNDS_MAX = 5  #: of asking for a key; each further one means that it changed hands just then

Item = Submission | Keyed  #: with a unique key; Keyed: and with an idempotency key


class Duplicate(Struct, frozen=True):
    """Nothing was accepted: this job holds the unique key."""

    job_id: UUID


UniqueResult = SubmitResult | Duplicate | KeyReused


def submission_of(item: Item) -> Submission:
    return item.submission if isinstance(item, Keyed) else item


def item_size(item: Item) -> int:
    """Bytes, for the Batcher."""
    return keyed_size(item) if isinstance(item, Keyed) else size(item)


class SubmitUnique(Protocol):
    """Accepts jobs in batches, each if its unique key is free.

    A batch of its own beside those of other jobs: they wait for no key that is locked.
    """

    async def run_batch(self, items: Sequence[Item]) -> list[UniqueResult]:
        """Accept 1 to BATCH_MAX submissions; the answer for each, in order. An id will run; a Duplicate's will, or has
        begun to.

        Bounded, and to be cancelled, as Submit.run_batch. What is refused, or not known to be accepted, may be sent
        again.
        """


def _copy(answer: UniqueResult) -> UniqueResult:
    """A fresh exception for each: tasks that share one garble its traceback. A job is another's duplicate."""
    if isinstance(answer, Exception):
        return type(answer)(str(answer))
    return answer if isinstance(answer, Duplicate) else Duplicate(answer)


class SubmitUniqueTasks:
    """Redis only: the key stands beside the task, with the id of its job."""

    def __init__(self, queue: Queue, *, ttl_seconds: float) -> None:
        self._queue = queue
        self._ttl_seconds = ttl_seconds

    async def run_batch(self, items: Sequence[Item]) -> list[UniqueResult]:
        """SubmitUnique.run_batch. Without an answer the key stands in Redis if the task does: a repeat is its
        duplicate."""
        submissions = [submission_of(item) for item in items]
        ids = new_ids(len(items))
        rows = [
            UniqueTask(
                submission.options,
                submission.type,
                job_id,
                due_text(submission),
                task,
                (item.key_hash, item.body_hash) if isinstance(item, Keyed) else None,
            )
            for item, submission, job_id, task in zip(items, submissions, ids, tasks_of(ids, submissions), strict=True)
        ]
        try:
            said = await self._queue.push_unique(rows, ttl_seconds=self._ttl_seconds)
        except QueueUnavailable as error:
            return [EnqueueFailed(str(error)) for _ in items]
        return [self._answer(job_id, word, holder) for job_id, (word, holder) in zip(ids, said, strict=True)]

    def _answer(self, job_id: UUID, word: str, holder: UUID | None) -> UniqueResult:
        if word == "pushed":
            return job_id
        if word == "other":
            return KeyReused(REUSED)
        if word == "held" and holder is not None:
            return Duplicate(holder)
        if word == "same":  # the idempotency key has been here before; whose job it was is written down for duplicates
            return job_id if holder is None else Duplicate(holder)
        return EnqueueFailed("Redis: the key that would remember this unique key holds something else")


class SubmitUniqueRows:
    """With Postgres: the row of the job that holds a key says whether it is free."""

    def __init__(
        self, queue: Queue, store: JobStore, piggyback: Piggyback, submit: SubmitRows, *, ttl_seconds: float
    ) -> None:
        self._queue = queue
        self._store = store
        self._piggyback = piggyback
        self._submit = submit
        self._ttl_seconds = ttl_seconds

    async def run_batch(self, items: Sequence[Item]) -> list[UniqueResult]:
        """SubmitUnique.run_batch. Cancelled or killed after the insert: the relay pushes what is pending."""
        answers: dict[int, UniqueResult] = {}
        keyed = {index: item for index, item in enumerate(items) if isinstance(item, Keyed)}
        if keyed:
            answers |= await self._known(keyed)
        rest = [index for index in range(len(items)) if index not in answers]
        first: dict[str, int] = {}  # a key that comes several times: the first is asked for,
        last: dict[str, int] = {}  # then the last one that replaces; what stands between is a duplicate
        for index in rest:
            options = submission_of(items[index]).options
            key = options.unique_key or ""
            if first.setdefault(key, index) != index and options.on_duplicate == REPLACE and index not in keyed:
                last[key] = index
        for part in (first, last):
            if part:
                answers |= await self._ask({index: items[index] for index in part.values()})
        for index in rest:
            if index in answers:
                continue
            if index in keyed:  # each is remembered by itself
                answers |= await self._known({index: keyed[index]}) or await self._ask({index: items[index]})
            else:
                answers[index] = _copy(answers[first[submission_of(items[index]).options.unique_key or ""]])
        return [answers[index] for index in range(len(items))]

    async def _known(self, items: dict[int, Keyed]) -> dict[int, UniqueResult]:
        """The answers that were given before under these idempotency keys."""
        pairs = {(item.key_hash, item.body_hash) for item in items.values()}
        try:
            holders = await self._store.join(self._queue.name, sorted(pairs))
            if expired := [key_hash for key_hash, holder in holders.items() if holder.expired]:
                await self._store.free_keys(self._queue.name, expired)
        except StoreUnavailable as error:
            return {index: PersistFailed(str(error)) for index in items}
        answers: dict[int, UniqueResult] = {}
        for index, item in items.items():
            holder = holders.get(item.key_hash)
            if holder is None or holder.expired:
                continue
            if holder.body_hash != item.body_hash:
                answers[index] = KeyReused(REUSED)
            elif holder.answerable:
                answers[index] = Duplicate(holder.job_id) if holder.duplicate else holder.job_id
        return answers

    async def _ask(self, asked: dict[int, Item]) -> dict[int, UniqueResult]:
        """No key comes twice."""
        answers: dict[int, UniqueResult] = {}
        for _ in range(ROUNDS_MAX):
            left = {index: item for index, item in asked.items() if index not in answers}
            if not left:
                break
            try:
                answers |= await self._insert(left)
            except (StoreBusy, StoreRefused) as error:
                if len(asked) > 1:  # one of them has a value that Postgres does not take, or a key that is locked
                    for index, item in left.items():
                        answers |= await self._ask({index: item})
                elif isinstance(error, StoreRefused):
                    return dict.fromkeys(asked, PersistFailed("Postgres refused a value of this job"))
                else:
                    break
            except StoreUnavailable:
                break  # rows and keys are there, or are not: a repeat will find out
        repeats = {
            index: item
            for index, item in asked.items()
            if isinstance(item, Keyed) and isinstance(answers.get(index), Duplicate)
        }
        if repeats:  # of a request that was accepted a moment ago: the same answer
            answers |= await self._known(repeats)
        for index in asked.keys() - answers.keys():
            answers[index] = PersistFailed("Postgres did not say who holds this unique key")
        return answers

    async def _insert(self, items: dict[int, Item]) -> dict[int, UniqueResult]:
        """One statement, and the push of what got its key; keys that changed hands meanwhile are missing."""
        ids, batch, sooner, inserted_at = new_ids(len(items)), uuid7(), uuid7(), trio.current_time()
        submissions = [submission_of(item) for item in items.values()]
        rows = rows_of(ids, submissions)
        keys = [(item.key_hash, item.body_hash) if isinstance(item, Keyed) else None for item in items.values()]
        with self._piggyback.outbox() as pushed:
            holders = await self._store.insert_unique(
                batch, self._queue.name, rows, keys, sooner, pushed, ttl_seconds=self._ttl_seconds
            )
        mine: list[tuple[int, UUID, Submission]] = []
        answers: dict[int, UniqueResult] = {}
        for index, job_id, submission in zip(items, ids, submissions, strict=True):
            if (holder := holders.get(submission.options.unique_key or "")) is None:
                continue
            if holder.is_new:
                mine.append((index, job_id, submission))
            else:
                answers[index] = Duplicate(holder.job_id)
        if mine:
            pushed_answers = await self._submit.push_inserted(
                batch, inserted_at, [each[1] for each in mine], [each[2] for each in mine], far_of(rows)
            )
            answers |= {index: answer for (index, _, _), answer in zip(mine, pushed_answers, strict=True)}
        if due := sorted({holder.job_id for holder in holders.values() if holder.is_sooner}):
            await self._push_again(due, sooner, inserted_at)
        return answers

    async def _push_again(self, ids: list[UUID], batch: UUID, inserted_at: float) -> None:
        """Tasks for jobs that are due sooner than before: those in Redis come too late."""
        try:
            await push_waiting(self._queue, self._store.waiting, ids)
        except (QueueUnavailable, StoreUnavailable):
            return  # they are in the outbox: the relay pushes them
        self._piggyback.pushed(batch, inserted_at=inserted_at)
