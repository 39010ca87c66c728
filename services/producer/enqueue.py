"""POST /enqueue: from the bytes of a request to what core accepts, and from what it said to the bytes of the answer."""

from collections.abc import Sequence

import msgspec
from msgspec import UNSET

from workqueue.core.errors import InvalidKey
from workqueue.core.steps.submit_once import Keyed, keyed
from workqueue.core.wire import Submission, read_submission
from workqueue.services.http.asgi import Direct
from workqueue.services.http.messages import Headers
from workqueue.services.producer.producer import Producer
from workqueue.services.producer.views import EnqueueAnswer

_encode = msgspec.json.Encoder().encode


async def enqueue(producer: Producer, body: bytes, keys: Sequence[str]) -> bytes:
    """The JSON of the answer. Raises what errors.py has a line for.

    `keys`: the values of all Idempotency-Key headers.
    """
    item = read_request(body, keys)
    job_id = await producer.enqueue(item)
    submission = item.submission if isinstance(item, Keyed) else item
    shown = UNSET if producer.store is None else job_id
    queue_name = producer.settings.queue_name
    return _encode(EnqueueAnswer("queued", submission.type, submission.options.retries, queue_name, shown))


def directly(producer: Producer) -> Direct:
    """The same without Quart."""

    async def direct(body: bytes, headers: Headers) -> bytes:
        keys = [value.decode("latin-1") for name, value in headers if name == b"idempotency-key"]
        return await enqueue(producer, body, keys)

    return direct


def read_request(body: bytes, keys: Sequence[str]) -> Submission | Keyed:
    """Raises InvalidTask and its kinds, and InvalidKey."""
    submission = read_submission(body)
    if not keys:
        return submission
    if len(keys) > 1:
        raise InvalidKey("several idempotency keys")
    return keyed(submission, keys[0], body)
