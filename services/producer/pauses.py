"""Pausing and resuming a type of jobs over HTTP."""

from quart import Response

from workqueue.core.audit import type_target
from workqueue.core.errors import QueueUnavailable
from workqueue.core.pauses import PAUSED_TYPES_MAX, Paused
from workqueue.core.wire import TYPE_LENGTH_MAX
from workqueue.services.http.responses import Refused, json
from workqueue.services.producer.audit import entry
from workqueue.services.producer.backend import Backend
from workqueue.services.producer.views import TypeView

NOT_A_TYPE = f"a type has 1 to {TYPE_LENGTH_MAX} characters"
TOO_MANY_PAUSED = f"at most {PAUSED_TYPES_MAX} types can be paused"
PAUSE_FAILED = "failed to change what is paused: it is not known whether it was changed"


async def pause_type(backend: Backend, job_type: str) -> Response:
    _check(job_type)
    async with backend.reading(backend.engine.rows(), PAUSE_FAILED):
        paused = await backend.engine.pauses().pause(job_type, entry("pause", type_target(job_type)))
    if paused is None:
        raise Refused(409, TOO_MANY_PAUSED)
    return await _answer(backend, job_type, paused)


async def resume_type(backend: Backend, job_type: str) -> Response:
    _check(job_type)
    async with backend.reading(backend.engine.rows(), PAUSE_FAILED):
        paused = await backend.engine.pauses().resume(job_type, entry("resume", type_target(job_type)))
    return await _answer(backend, job_type, paused)


async def _answer(backend: Backend, job_type: str, paused: Paused) -> Response:
    try:
        parked = (await backend.queue.parked()).get(job_type, 0)
    except QueueUnavailable:  # it is paused all the same
        parked = None
    return json(TypeView(job_type, job_type in paused.types, parked))


def _check(job_type: str) -> None:
    if len(job_type) > TYPE_LENGTH_MAX or "\0" in job_type:
        raise Refused(400, NOT_A_TYPE)
