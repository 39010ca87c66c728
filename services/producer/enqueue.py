"""POST /enqueue: from the bytes of a request to what core accepts, and from what it said to the bytes of the answer."""

from collections.abc import Sequence

from core.errors import InvalidKey
from core.steps.submit_once import Keyed, keyed
from core.wire import Submission, read_submission


def read_request(body: bytes, keys: Sequence[str]) -> Submission | Keyed:
    """`keys`: the values of all Idempotency-Key headers. Raises InvalidTask and its kinds, and InvalidKey."""
    submission = read_submission(body)
    if not keys:
        return submission
    if len(keys) > 1:
        raise InvalidKey("several idempotency keys")
    return keyed(submission, keys[0], body)
