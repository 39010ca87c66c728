"""The table of services/producer/errors.py against the words that clients rely on."""

import pytest

from workqueue.core import errors
from workqueue.core.errors import WorkQueueError
from workqueue.services.producer.errors import ERROR_RESPONSES

CONTRACT = {
    "InvalidTask": (400, "invalid JSON body"),
    "TypeMissing": (400, "type is required"),
    "RetriesNegative": (400, "retries cannot be negative"),
    "InvalidKey": (400, "Idempotency-Key must be 1 to 255 visible ASCII characters, given once"),
    "KeyReused": (422, "idempotency key reused with another body"),
    "PersistFailed": (500, "failed to persist job"),
    "EnqueueFailed": (500, "failed to enqueue task"),
}


@pytest.mark.parametrize("name", CONTRACT)
def test_each_error_has_the_answer_of_the_contract(name):
    kind: type[WorkQueueError] = getattr(errors, name)
    assert ERROR_RESPONSES[kind] == CONTRACT[name]
