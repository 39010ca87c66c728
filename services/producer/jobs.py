"""Job rows over HTTP: the list, one job, its runs, its artifacts."""

from uuid import UUID

from quart import Response, current_app, request

from workqueue.core.job import TERMINAL
from workqueue.core.report import LINES_MAX
from workqueue.core.store import JobStore, Run
from workqueue.services.http.connection import EXTENSION
from workqueue.services.http.connections import Connections
from workqueue.services.http.responses import Refused, json
from workqueue.services.producer import artifact
from workqueue.services.producer.backend import Backend
from workqueue.services.producer.parameters import read_filter, read_log_number, read_run_number, read_wait
from workqueue.services.producer.views import job_details, listed_job, log_view, read_job_id, write_cursor
from workqueue.services.producer.waiters import TooManyWait

NOT_A_JOB_ID = "not a job id"
JOB_NOT_FOUND = "job not found"
ARTIFACT_NOT_FOUND = "artifact not found"
LIST_FAILED = "failed to list jobs"
READ_FAILED = "failed to read job"
TOO_MANY_WAIT = "too many requests wait for jobs"
ARTIFACT_FAILED = "failed to read artifact"


async def list_jobs(backend: Backend) -> Response:
    wanted = read_filter(request.args)
    if not backend.engine.keeps_rows:
        return json([])
    store, queue, total = backend.engine.rows(), backend.settings.queue_name, None
    async with backend.reading(store, LIST_FAILED):
        page = await store.lists.page(queue, wanted.jobs, wanted.payload, before=wanted.before, limit=wanted.limit)
        if wanted.counts:
            total = await store.lists.count(queue, wanted.jobs, wanted.payload)
    response = json([listed_job(row) for row in page.rows])
    if page.next is not None:
        response.headers["Link"] = wanted.link(write_cursor(page.next))
    if page.looked_until is not None:
        response.headers["X-Looked-Until"] = page.looked_until.isoformat()
    if total is not None:
        response.headers["X-Total-Count"] = f"{total.count}{'' if total.exact else '+'}"
    return response


async def get_job(backend: Backend, job_id: str) -> Response:
    store, wanted = _stored(backend, job_id)
    if (seconds := read_wait(request.args)) > 0:
        async with backend.reading(store, READ_FAILED):
            status = (await store.get_status([wanted])).get(wanted)
        if status is None:
            raise Refused(404, JOB_NOT_FOUND)
        if status.state not in TERMINAL:
            await _wait_for_end(backend, wanted, seconds)
    async with backend.reading(store, READ_FAILED):
        row = await store.get(wanted)
        if row is None:
            raise Refused(404, JOB_NOT_FOUND)
        runs, more = await store.run_page(wanted)
        response = json(job_details(row, await store.artifacts(wanted), runs))
    if more:
        response.headers["Link"] = _link_to_runs(wanted, runs)
    return response


async def _wait_for_end(backend: Backend, job_id: UUID, seconds: float) -> None:
    connections: Connections = current_app.extensions[EXTENSION]
    try:
        await backend.waiters.wait(job_id, seconds, connections.stopping)
    except TooManyWait:
        raise Refused(503, TOO_MANY_WAIT) from None


async def get_runs(backend: Backend, job_id: str) -> Response:
    store, wanted = _stored(backend, job_id)
    before = read_run_number(request.args)
    async with backend.reading(store, READ_FAILED):
        runs, more = await store.run_page(wanted, before=before)
        if not runs and await store.get(wanted) is None:
            raise Refused(404, JOB_NOT_FOUND)
    response = json(runs)
    if more:
        response.headers["Link"] = _link_to_runs(wanted, runs)
    return response


async def get_logs(backend: Backend, job_id: str) -> Response:
    store, wanted = _stored(backend, job_id)
    after = read_log_number(request.args)
    async with backend.reading(store, READ_FAILED):
        lines = await store.reports.logs(wanted, after=after, limit=LINES_MAX)
        if not lines and await store.get(wanted) is None:
            raise Refused(404, JOB_NOT_FOUND)
    return json([log_view(line) for line in lines])


async def get_artifact(backend: Backend, job_id: str) -> Response:
    store, wanted = _stored(backend, job_id)
    async with backend.reading(store, ARTIFACT_FAILED):
        found = await store.artifact(wanted, _artifact_name())
        if found is None and await store.get(wanted) is None:
            raise Refused(404, JOB_NOT_FOUND)
    if found is None:
        raise Refused(404, ARTIFACT_NOT_FOUND)
    return artifact.response(found)


def _stored(backend: Backend, job_id: str) -> tuple[JobStore, UUID]:
    wanted = read_job_id(job_id)
    if wanted is None:
        raise Refused(400, NOT_A_JOB_ID)
    return backend.engine.rows(), wanted


def _artifact_name() -> str | None:
    name = request.args.get("name") or None
    if name is not None and "\0" in name:
        raise Refused(404, ARTIFACT_NOT_FOUND)
    return name


def _link_to_runs(job_id: UUID, runs: list[Run]) -> str:
    """The Link header that leads to the runs before these."""
    return f'</api/jobs/{job_id}/runs?before={runs[0].number}>; rel="next"'
