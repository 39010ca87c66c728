"""The routes of the producer. Each reads the request, asks core, and answers; what may go wrong stands in errors.py."""

from importlib.metadata import PackageNotFoundError, version
from uuid import UUID

import msgspec
from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.routing import BaseConverter

from workqueue.core.store import JobStore, Run
from workqueue.services.http.answers import Refused, json, text
from workqueue.services.producer import artifact, openapi
from workqueue.services.producer.bulk import BATCH_PATH
from workqueue.services.producer.enqueue import enqueue
from workqueue.services.producer.page import Page
from workqueue.services.producer.parameters import read_filter, read_run_number
from workqueue.services.producer.producer import Producer
from workqueue.services.producer.views import (
    Metrics,
    Overview,
    RedisView,
    WorkerView,
    job_details,
    job_view,
    read_job_id,
    redis_view,
    worker_view,
    write_cursor,
)

ONLY_WITH_DATABASE = "jobs are stored only with DATABASE_URL"


def our_version() -> str:
    try:
        return version("workqueue")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0.0.0"


def add_jobs(app: QuartTrio, producer: Producer) -> None:
    """POST /enqueue and everything below /api/jobs."""
    app.url_map.converters["job"] = _JobIdConverter

    @app.post("/enqueue")
    async def post_job() -> Response:
        keys = request.headers.getlist("Idempotency-Key")
        return Response(await enqueue(producer, await request.body, keys), content_type="application/json")

    app.add_url_rule(BATCH_PATH, "post_jobs", methods=["POST"])  # for a 405 only: Guard answers it

    @app.get("/api/jobs")
    async def list_jobs() -> Response:
        wanted = read_filter(request.args)
        if producer.store is None:
            return json([])
        async with producer.reading(producer.store, "failed to list jobs"):
            rows, more = await producer.store.page(
                producer.settings.queue_name,
                job_type=wanted.job_type,
                state=wanted.state,
                before=wanted.before,
                limit=wanted.limit,
            )
        answer = json([job_view(row) for row in rows])
        if more:
            answer.headers["Link"] = wanted.link(write_cursor(rows[-1]))
        return answer

    @app.get("/api/jobs/<job:job_id>")
    async def get_job(job_id: str) -> Response:
        store, wanted = _stored(producer, job_id)
        async with producer.reading(store, "failed to read job"):
            row = await store.get(wanted)
            if row is None:
                raise Refused(404, "job not found")
            runs, more = await store.run_page(wanted)
            answer = json(job_details(row, await store.artifacts(wanted), runs))
        if more:
            answer.headers["Link"] = _link_to_runs(wanted, runs)
        return answer

    @app.get("/api/jobs/<job:job_id>/runs")
    async def get_runs(job_id: str) -> Response:
        store, wanted = _stored(producer, job_id)
        before = read_run_number(request.args)
        async with producer.reading(store, "failed to read job"):
            runs, more = await store.run_page(wanted, before=before)
            if not runs and await store.get(wanted) is None:
                raise Refused(404, "job not found")
        answer = json(runs)
        if more:
            answer.headers["Link"] = _link_to_runs(wanted, runs)
        return answer

    @app.get("/api/jobs/<job:job_id>/artifact")
    async def get_artifact(job_id: str) -> Response:
        store, wanted = _stored(producer, job_id)
        async with producer.reading(store, "failed to read artifact"):
            found = await store.artifact(wanted, _artifact_name())
            if found is None and await store.get(wanted) is None:
                raise Refused(404, "job not found")
        if found is None:
            raise Refused(404, "artifact not found")
        return artifact.answer(found)


def _link_to_runs(job_id: UUID, runs: list[Run]) -> str:
    """The Link header that leads to the runs before these."""
    return f'</api/jobs/{job_id}/runs?before={runs[0].number}>; rel="next"'


class _JobIdConverter(BaseConverter):
    """One segment of a path that is not the name of another route."""

    regex = rf"(?!{BATCH_PATH.rpartition('/')[2]}\Z)[^/]+"
    part_isolating = True


def _stored(producer: Producer, job_id: str) -> tuple[JobStore, UUID]:
    wanted = read_job_id(job_id)
    if wanted is None:
        raise Refused(400, "not a job id")
    if producer.store is None:
        raise Refused(404, ONLY_WITH_DATABASE)
    return producer.store, wanted


def _artifact_name() -> str | None:
    name = request.args.get("name") or None
    if name is not None and "\0" in name:
        raise Refused(404, "artifact not found")
    return name


def add_state(app: QuartTrio, producer: Producer) -> None:
    """What runs and how it is: workers, overview, health, readiness, metrics."""

    async def living_workers(sentence: str) -> list[WorkerView]:
        async with producer.asking(sentence) as queue:
            workers = await queue.workers()
        views = [worker_view(lease, published, seen) for lease, (published, seen) in workers.items()]
        return sorted(views, key=lambda worker: (worker.name, worker.id))

    @app.get("/api/workers")
    async def list_workers() -> Response:
        return json(await living_workers("failed to read workers"))

    @app.get("/api/overview")
    async def overview() -> Response:
        try:
            workers = await living_workers("")
            async with producer.asking("") as queue:
                depths = await queue.depths()
        except Refused:  # the answer itself says what is wrong with Redis
            known = RedisView()
        else:
            known = redis_view(depths, workers)
        answer = Overview(
            queue_name=producer.settings.queue_name,
            version=our_version(),
            redis=producer.redis.health,
            postgres=None if producer.postgres is None else producer.postgres.health,
            **msgspec.structs.asdict(known),
        )
        return json(answer)

    @app.get("/metrics")
    async def metrics() -> Response:
        sentence = "failed to read queue length"
        workers = await living_workers(sentence)
        async with producer.asking(sentence) as queue:
            ready = await queue.ready_length()
        return json(
            Metrics(
                total_jobs_in_queue=ready,
                jobs_done=sum(worker.jobs_done for worker in workers),
                jobs_failed=sum(worker.jobs_failed for worker in workers),
                worker_concurrency=sum(worker.concurrency for worker in workers),
                queue_name=producer.settings.queue_name,
            )
        )

    @app.get("/health")
    async def health() -> Response:
        return text(200, "ok")

    @app.get("/ready")
    async def ready() -> Response:
        dependencies = {"redis": producer.redis, "postgres": producer.postgres}
        faults = {name: found.error for name, found in dependencies.items() if found and not found.health.ok}
        if not faults and (failure := producer.failure()) is not None:
            faults["postgres"] = str(failure)
        return json(faults, 503) if faults else text(200, "ready")


def add_pages(app: QuartTrio, page: Page) -> None:
    """The API's description, its documentation, and the dashboard at /."""
    document = openapi.document(our_version())

    @app.get("/openapi.json")
    async def openapi_json() -> Response:
        return json(document)

    @app.get("/docs")
    async def docs() -> Response:
        return await page.docs()

    @app.get("/")
    async def index() -> Response:
        return await page.answer("/")

    @app.errorhandler(404)
    async def unknown_path(error: Exception) -> Response:
        if request.method in {"GET", "HEAD"}:
            try:
                return await page.answer(request.path)
            except Refused as refused:
                return text(refused.status, refused.sentence)
        return text(404, "not found")
