"""What a person does to one job over HTTP: cancel, retry, run now, delete."""

from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

from quart import Response

from workqueue.core.audit import AuditEntry, ids_target
from workqueue.core.job_filter import ActName
from workqueue.core.steps.acts import Acts
from workqueue.core.store import Acted
from workqueue.services.http.responses import Refused, empty, json
from workqueue.services.producer.audit import entry
from workqueue.services.producer.backend import Backend
from workqueue.services.producer.jobs import JOB_NOT_FOUND, NOT_A_JOB_ID
from workqueue.services.producer.views import job_view, read_job_id

HAS_ENDED = "the job has ended"
CANNOT_RETRY = "only a failed or cancelled job can be retried"
WAITS_FOR_NOTHING = "the job does not wait for a time"
HAS_NOT_ENDED = "only a job that has ended can be deleted"
ACT_FAILED = "failed to change the job: it is not known whether it was changed"

Act = Callable[[Acts, Sequence[UUID], AuditEntry], Awaitable[dict[UUID, Acted]]]


async def cancel_job(backend: Backend, job_id: str) -> Response:
    return await _change(backend, job_id, ActName.CANCEL, Acts.cancel, HAS_ENDED)


async def retry_job(backend: Backend, job_id: str) -> Response:
    return await _change(backend, job_id, ActName.RETRY, Acts.retry, CANNOT_RETRY)


async def run_job_now(backend: Backend, job_id: str) -> Response:
    return await _change(backend, job_id, ActName.RUN_NOW, Acts.run_now, WAITS_FOR_NOTHING)


async def delete_job(backend: Backend, job_id: str) -> Response:
    wanted = _job_id(job_id)
    async with backend.reading(backend.engine.rows(), ACT_FAILED):
        audit = entry(ActName.DELETE, ids_target([wanted]))
        _check((await backend.engine.acts().delete([wanted], audit)).get(wanted), HAS_NOT_ENDED)
    return empty()


async def _change(backend: Backend, job_id: str, name: ActName, act: Act, refusal: str) -> Response:
    """The job as it is after `act`. Raises Refused, with `refusal` where the act is none for the job's state."""
    wanted = _job_id(job_id)
    store = backend.engine.rows()
    async with backend.reading(store, ACT_FAILED):
        audit = entry(name, ids_target([wanted]))
        _check((await act(backend.engine.acts(), [wanted], audit)).get(wanted), refusal)
        row = await store.get(wanted)
    if row is None:  # deleted since
        raise Refused(404, JOB_NOT_FOUND)
    return json(job_view(row))


def _check(acted: Acted | None, refusal: str) -> None:
    if acted is None:
        raise Refused(404, JOB_NOT_FOUND)
    if not acted.changed:
        raise Refused(409, refusal)


def _job_id(text: str) -> UUID:
    wanted = read_job_id(text)
    if wanted is None:
        raise Refused(400, NOT_A_JOB_ID)
    return wanted
