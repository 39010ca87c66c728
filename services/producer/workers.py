"""Workers over HTTP: the living and those that are gone; and what a person asks of one: quiet, resume, stop."""

from quart import Response

from workqueue.core.audit import worker_target
from workqueue.core.control import Wish
from workqueue.core.errors import StoreUnavailable
from workqueue.core.gone import read_gone
from workqueue.core.steps.worker_acts import ask_worker
from workqueue.services.http.responses import Refused, json
from workqueue.services.producer.audit import entry
from workqueue.services.producer.backend import Backend
from workqueue.services.producer.overview import worker_views
from workqueue.services.producer.views import gone_view, read_job_id, with_asked

WORKERS_FAILED = "failed to read workers"
WORKER_NOT_FOUND = "worker not found"
ASK_FAILED = "failed to ask the worker: it is not known whether it was asked"


async def list_workers(backend: Backend) -> Response:
    async with backend.asking(WORKERS_FAILED) as queue:
        views = await worker_views(queue, backend.settings)
        asked = await queue.asked([view.id for view in views])
        entries, now = await queue.gone()
    gone = (gone_view(*found, now) for entry in entries if (found := read_gone(entry)) is not None)
    return json([*(with_asked(view, asked.get(view.id)) for view in views), *(view for view in gone if view)])


async def quiet_worker(backend: Backend, worker_id: str) -> Response:
    return await _ask(backend, worker_id, Wish.QUIET)


async def resume_worker(backend: Backend, worker_id: str) -> Response:
    return await _ask(backend, worker_id, Wish.RESUME)


async def stop_worker(backend: Backend, worker_id: str) -> Response:
    return await _ask(backend, worker_id, Wish.STOP)


async def _ask(backend: Backend, worker_id: str, wish: Wish) -> Response:
    """The worker as it is, with what it was asked. Raises Refused."""
    wanted = read_job_id(worker_id)
    async with backend.asking(WORKERS_FAILED) as queue:
        found = next((view for view in await worker_views(queue, backend.settings) if view.id == wanted), None)
    if found is None:
        raise Refused(404, WORKER_NOT_FOUND)
    audit = entry(f"worker {wish}", worker_target(found.id, found.name))
    try:
        async with backend.asking(ASK_FAILED) as queue, backend.engine.audit().of(audit) as act:
            await ask_worker(queue, found.id, wish)
            act.count = 1
    except StoreUnavailable as error:
        if backend.postgres is not None:
            backend.postgres.failed(error)
        raise Refused(500, ASK_FAILED) from error
    return json(with_asked(found, wish))
