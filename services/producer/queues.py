"""The queues of this installation over HTTP: what is in them, pause and resume, and purge."""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from quart import Response, request
from uuid_utils.compat import uuid7

from workqueue.core.audit import filter_target, queue_target
from workqueue.core.errors import QueueUnavailable
from workqueue.core.job_filter import ActName, JobFilter, StatusFilter
from workqueue.core.options import is_queue_name
from workqueue.core.pauses import PAUSED_TYPES_MAX, Paused
from workqueue.services.http.responses import Refused, json
from workqueue.services.producer.actions import ASK_FAILED, ActionAccepted
from workqueue.services.producer.audit import entry
from workqueue.services.producer.backend import Backend
from workqueue.services.producer.openapi import INVALID_JSON
from workqueue.services.producer.overview import live_workers
from workqueue.services.producer.pauses import PAUSE_FAILED
from workqueue.services.producer.views import age_of

QUEUES_FAILED = "failed to read queues"
NOT_A_QUEUE = "a queue has 1 to 64 letters, digits, - and _"
QUEUE_NOT_FOUND = "queue not found"
TOO_MANY_PAUSED = f"at most {PAUSED_TYPES_MAX} queues can be paused"
NOT_CONFIRMED = "confirm: must be the name of the queue"


class QueueView(Struct, frozen=True):
    """A queue that had a job once, and what is in it."""

    name: str
    key: str  #: of its list in Redis
    waiting: int
    scheduled: int  #: those that are due within the hour; the others wait in Postgres
    running: int
    oldest_seconds: float | None  #: since the job that is next was accepted; null: none waits, or it has no id
    paused: bool
    done_per_minute: int  #: in the last minute that is over, or in this one where it has more
    failed_per_minute: int


class PausedQueue(Struct, frozen=True):
    """A queue that is paused, or was."""

    name: str
    paused: bool


class Purge(Struct, frozen=True, forbid_unknown_fields=True):
    """What POST /api/queues/<name>/purge takes."""

    confirm: Annotated[str, Meta(description="the name of the queue")]


async def list_queues(backend: Backend) -> Response:
    """GET /api/queues."""
    store = backend.engine.rows()
    async with backend.reading(store, QUEUES_FAILED):
        ended = await store.stats.by_queue(backend.settings.queue_name)
    async with backend.asking(QUEUES_FAILED) as queue:
        heads, now = await queue.heads()
        paused = (await queue.depths()).paused.queues
        workers = await live_workers(queue, backend.settings)
    views = []
    for head in sorted(heads, key=lambda head: head.queue):
        done, failed = ended.get(head.queue, (0, 0))
        views.append(
            QueueView(
                head.queue,
                backend.queue.keys.ready_of(head.queue),
                head.ready,
                head.scheduled,
                sum(worker.running_in.get(head.queue, 0) for worker in workers),
                age_of(head.task, now) if head.task else None,
                head.queue in paused,
                done,
                failed,
            )
        )
    return json(views)


async def pause_queue(backend: Backend, queue_name: str) -> Response:
    await _check(backend, queue_name)
    async with backend.reading(backend.engine.rows(), PAUSE_FAILED):
        audit = entry("pause queue", queue_target(queue_name))
        paused = await backend.engine.pauses().pause_queue(queue_name, audit)
    if paused is None:
        raise Refused(409, TOO_MANY_PAUSED)
    return _answer(queue_name, paused)


async def resume_queue(backend: Backend, queue_name: str) -> Response:
    _check_name(queue_name)
    async with backend.reading(backend.engine.rows(), PAUSE_FAILED):
        audit = entry("resume queue", queue_target(queue_name))
        paused = await backend.engine.pauses().resume_queue(queue_name, audit)
    return _answer(queue_name, paused)


async def purge_queue(backend: Backend, queue_name: str) -> Response:
    """Cancel all that waits in it: an action like those of POST /api/jobs/actions."""
    await _check(backend, queue_name)
    try:
        wanted = msgspec.json.decode(bytes(await request.data), type=Purge)
    except msgspec.ValidationError:
        raise Refused(400, NOT_CONFIRMED) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refused(400, INVALID_JSON) from None
    if wanted.confirm != queue_name:
        raise Refused(409, NOT_CONFIRMED)
    store, action_id = backend.engine.rows(), uuid7()
    what = JobFilter(status=StatusFilter.PENDING, queue=queue_name)
    async with backend.reading(store, ASK_FAILED):
        matched = await store.actions.count(backend.settings.queue_name, ActName.CANCEL, what)
        audit = entry("purge queue", filter_target(action_id, what))
        await store.actions.insert(action_id, backend.settings.queue_name, ActName.CANCEL, what, matched, audit)
    return json(ActionAccepted(action_id, matched))


def _answer(name: str, paused: Paused) -> Response:
    return json(PausedQueue(name, name in paused.queues))


def _check_name(name: str) -> None:
    if not is_queue_name(name):
        raise Refused(400, NOT_A_QUEUE)


async def _check(backend: Backend, name: str) -> None:
    """Raise Refused for a name that no queue has: a mistake, most likely."""
    backend.engine.rows()
    _check_name(name)
    try:
        known = await backend.queue.queues()
    except QueueUnavailable:
        return
    if name not in known:
        raise Refused(404, QUEUE_NOT_FOUND)
