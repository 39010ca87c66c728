"""GET /api/jobs/<id>/tree: the worker that runs the job is asked what goes on inside of it."""

from uuid import UUID

from quart import Response

from workqueue.core.control import ControlMessage, write_message
from workqueue.core.job import JobState
from workqueue.core.store import JobStore
from workqueue.services.http.responses import Refused, json
from workqueue.services.job_tree import read_answer
from workqueue.services.producer.answers import TooManyAsk
from workqueue.services.producer.backend import Backend
from workqueue.services.producer.jobs import JOB_NOT_FOUND, NOT_A_JOB_ID, READ_FAILED
from workqueue.services.producer.views import read_job_id

ANSWER_SECONDS = 3.0
NOT_RUNNING = "the job is not running"
ASK_FAILED = "failed to ask the worker"
TOO_MANY_ASK = "too many requests ask workers for what they run"
NO_ANSWER = (
    f"no answer from the worker within {ANSWER_SECONDS:g} s: a handler holds up its loop, or it is cut off from Redis"
)


async def get_tree(backend: Backend, job_id: str) -> Response:
    wanted = read_job_id(job_id)
    if wanted is None:
        raise Refused(400, NOT_A_JOB_ID)
    store = backend.engine.rows()
    token = await _token(backend, store, wanted)

    async def send(request: UUID) -> None:
        async with backend.asking(ASK_FAILED) as queue:
            await queue.tell_workers(write_message(ControlMessage(tree=[(request, token, wanted)])))

    try:
        text = await backend.answers.ask(send, seconds=ANSWER_SECONDS)
    except TooManyAsk:
        raise Refused(429, TOO_MANY_ASK) from None
    if text is None:
        if await _token(backend, store, wanted) != token:  # that run has ended meanwhile
            raise Refused(409, NOT_RUNNING)
        raise Refused(504, NO_ANSWER)
    if (answer := read_answer(text)) is None:
        raise Refused(500, ASK_FAILED)
    if answer.tree is None:
        raise Refused(409, NOT_RUNNING)
    return json(answer.tree)


async def _token(backend: Backend, store: JobStore, job_id: UUID) -> UUID:
    """Of the claim under which the job runs. Raises Refused where it does not run."""
    async with backend.reading(store, READ_FAILED):
        status = (await store.get_status([job_id])).get(job_id)
    if status is None:
        raise Refused(404, JOB_NOT_FOUND)
    if status.state is not JobState.PROCESSING or status.token is None:
        raise Refused(409, NOT_RUNNING)
    return status.token
