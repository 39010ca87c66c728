"""Submit under idempotency keys: one job a key; each repeat is told of that job, by every producer, at any time."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256
from typing import Protocol

import trio
from msgspec import Struct
from uuid_utils.compat import uuid7

from workqueue.core.errors import (
    EnqueueFailed,
    InvalidKey,
    KeyReused,
    PersistFailed,
    QueueUnavailable,
    StoreRefused,
    StoreUnavailable,
)
from workqueue.core.ids import new_ids
from workqueue.core.queue import Queue
from workqueue.core.steps.piggyback import Piggyback
from workqueue.core.steps.submit import SubmitResult, SubmitRows, due_text, far_of, rows_of, size, tasks_of
from workqueue.core.store import JobStore
from workqueue.core.wire import Submission

KEY_LENGTH_MAX = 255
ROUNDS_MAX = 5  #: of looking for a key's holder; each further one means that the key changed hands just then

_KEY = re.compile(r"[!-~]{1,255}")


class Keyed(Struct, frozen=True):
    """A submission under a key. Only hashes are kept: both may be long, and a key may be a secret."""

    submission: Submission
    key_hash: bytes
    body_hash: bytes


def keyed(submission: Submission, key: str, body: bytes) -> Keyed:
    """`submission` under the idempotency key `key`; `body` is the request's, as it was sent: a repeat sends the same
    bytes. Raises InvalidKey unless the key is 1 to KEY_LENGTH_MAX visible characters of ASCII."""
    check_key(key)
    return Keyed(submission, sha256(key.encode()).digest(), sha256(body).digest())


def check_key(key: str) -> None:
    """Raise InvalidKey unless `key` may be one."""
    if not _KEY.fullmatch(key):
        raise InvalidKey(f"an idempotency key has 1 to {KEY_LENGTH_MAX} visible ASCII characters")


def keyed_size(item: Keyed) -> int:
    """Bytes, for the Batcher."""
    return size(item.submission)


class _Holder(Struct, frozen=True):
    """Whose job a key stands for; `answer` is an error where it was ours and was refused."""

    answer: SubmitResult
    body_hash: bytes


class SubmitOnce(Protocol):
    """Accepts jobs in batches, each at most once for its key.

    A batch of its own beside Submit's: a job without a key waits for no key that is locked, and its statement is no
    slower.
    """

    async def run_batch(self, items: Sequence[Keyed]) -> list[SubmitResult | KeyReused]:
        """Accept 1 to BATCH_MAX submissions; the answer for each, in order. An id will run, or its job has ended.

        Bounded, and to be cancelled, as Submit.run_batch. What is refused, or not known to be accepted, may be sent
        again.
        """


class SubmitOnceTasks:
    """Redis only: the key stands beside the task. The ids of repeats are not those of their jobs, which are written
    down nowhere."""

    def __init__(self, queue: Queue, *, ttl_seconds: float) -> None:
        self._queue = queue
        self._ttl_seconds = ttl_seconds

    async def run_batch(self, items: Sequence[Keyed]) -> list[SubmitResult | KeyReused]:
        """SubmitOnce.run_batch. Without an answer the key stands in Redis if the task does: repeat it."""
        ids = new_ids(len(items))
        tasks = tasks_of(ids, [item.submission for item in items])
        rows = [
            (item.key_hash, item.body_hash, due_text(item.submission), task)
            for item, task in zip(items, tasks, strict=True)
        ]
        try:
            said = await self._queue.push_once(rows, ttl_seconds=self._ttl_seconds)
        except QueueUnavailable as error:
            return [EnqueueFailed(str(error)) for _ in items]
        odd = "Redis: the key that would remember this idempotency key holds another type"
        refusals: dict[str, Callable[[], EnqueueFailed | KeyReused]] = {
            "other": partial(KeyReused, REUSED),
            "odd": partial(EnqueueFailed, odd),
        }
        return [refusals[word]() if word in refusals else job_id for job_id, word in zip(ids, said, strict=True)]


class SubmitOnceRows:
    """With Postgres: the key is inserted with the row."""

    def __init__(
        self, queue: Queue, store: JobStore, piggyback: Piggyback, submit: SubmitRows, *, ttl_seconds: float
    ) -> None:
        self._queue = queue
        self._store = store
        self._piggyback = piggyback
        self._submit = submit
        self._ttl_seconds = ttl_seconds

    async def run_batch(self, items: Sequence[Keyed]) -> list[SubmitResult | KeyReused]:
        """SubmitOnce.run_batch."""
        groups: dict[bytes, list[Keyed]] = {}  # the same key twice in one batch is one question
        for item in items:
            groups.setdefault(item.key_hash, []).append(item)
        try:
            holders = await self._find_holders(groups)
        except StoreRefused:
            if len(items) == 1:
                return [PersistFailed("Postgres refused a value of this job")]
            return [(await self.run_batch([item]))[0] for item in items]
        return [_answer(item, holders.get(item.key_hash)) for item in items]

    async def _find_holders(self, groups: dict[bytes, list[Keyed]]) -> dict[bytes, _Holder]:
        """Who holds each key, after trying to be it. Missing: not known. Raises StoreRefused."""
        found: dict[bytes, _Holder] = {}
        for _ in range(ROUNDS_MAX):
            open_ = {key_hash: group for key_hash, group in groups.items() if key_hash not in found}
            if not open_:
                break
            try:
                mine = await self._insert([group[0] for group in open_.values()])
                found |= mine
                others = {key_hash: group for key_hash, group in open_.items() if key_hash not in mine}
                if others:
                    found |= await self._join(others)
            except StoreUnavailable:
                break  # rows and keys are there, or are not: a repeat will find out
        return found

    async def _insert(self, items: Sequence[Keyed]) -> dict[bytes, _Holder]:
        """Insert and push what gets its key; the others are missing in the answer."""
        ids, batch, inserted_at = new_ids(len(items)), uuid7(), trio.current_time()
        rows = rows_of(ids, [item.submission for item in items])
        keys = [(item.key_hash, item.body_hash) for item in items]

        with self._piggyback.outbox() as pushed:
            inserted = await self._store.insert_once(
                batch, self._queue.name, rows, keys, pushed, ttl_seconds=self._ttl_seconds
            )
        if not inserted:
            return {}
        mine = [(job_id, item) for job_id, item in zip(ids, items, strict=True) if job_id in inserted]
        answers = await self._submit.push_inserted(
            batch, inserted_at, [job_id for job_id, _ in mine], [item.submission for _, item in mine], far_of(rows)
        )
        return {item.key_hash: _Holder(answer, item.body_hash) for (_, item), answer in zip(mine, answers, strict=True)}

    async def _join(self, groups: dict[bytes, list[Keyed]]) -> dict[bytes, _Holder]:
        """Those whose answer may go out. The others have lost their key meanwhile, by refusal or by age."""
        pairs = {(key_hash, item.body_hash) for key_hash, group in groups.items() for item in group}
        holders = await self._store.join(self._queue.name, sorted(pairs))
        if expired := [key_hash for key_hash, holder in holders.items() if holder.expired]:
            await self._store.free_keys(self._queue.name, expired)
        return {
            key_hash: _Holder(holder.job_id, holder.body_hash)
            for key_hash, holder in holders.items()
            if not holder.expired and (holder.answerable or (key_hash, holder.body_hash) not in pairs)
        }


REUSED = "this idempotency key came with another body before"


def _answer(item: Keyed, holder: _Holder | None) -> SubmitResult | KeyReused:
    """A fresh exception for each: tasks that share one garble its traceback."""
    if holder is None:
        return PersistFailed("Postgres did not say who holds this idempotency key")
    if isinstance(holder.answer, Exception):  # nothing runs under this key, so no body is another one
        return type(holder.answer)(str(holder.answer))
    return holder.answer if item.body_hash == holder.body_hash else KeyReused(REUSED)
