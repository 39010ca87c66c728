"""POST /enqueue: from the bytes of a request to a job that core accepts, and to the bytes of the response."""

from collections.abc import Sequence

import msgspec
from msgspec import UNSET, UnsetType

from workqueue.core.errors import InvalidKey
from workqueue.core.options import DEFAULT_QUEUE
from workqueue.core.steps.submit_once import Keyed, keyed
from workqueue.core.steps.submit_unique import Duplicate
from workqueue.core.wire import Submission, read_submission
from workqueue.services.http.messages import Headers
from workqueue.services.producer.backend import Backend
from workqueue.services.producer.views import EnqueueAnswer

_encode = msgspec.json.Encoder().encode


async def fast_enqueue(backend: Backend, body: bytes, headers: Headers) -> bytes:
    """The JSON of the response. Raises errors that errors.py has a row for."""
    item = read_request(body, [value.decode("latin-1") for name, value in headers if name == b"idempotency-key"])
    accepted = await backend.enqueue(item)
    submission = item.submission if isinstance(item, Keyed) else item
    options = submission.options
    if isinstance(accepted, Duplicate):
        queue_name = backend.queue.keys.ready_of(options.queue)
        return _encode(EnqueueAnswer("duplicate", submission.type, options.retries, queue_name, accepted.job_id))
    shown = accepted if backend.engine.keeps_rows else UNSET
    run_at = UNSET if options.run_at is None else options.run_at
    queue_name = backend.settings.queue_name
    queue: str | UnsetType = UNSET
    if options.queue != DEFAULT_QUEUE:
        queue_name, queue = backend.queue.keys.ready_of(options.queue), options.queue
    return _encode(EnqueueAnswer("queued", submission.type, options.retries, queue_name, shown, run_at, queue))


def read_request(body: bytes, keys: Sequence[str]) -> Submission | Keyed:
    """`keys`: the values of all Idempotency-Key headers. Raises InvalidTask and its kinds, and InvalidKey."""
    submission = read_submission(body)
    if not keys:
        return submission
    if len(keys) > 1:
        raise InvalidKey("several idempotency keys")
    return keyed(submission, keys[0], body)
