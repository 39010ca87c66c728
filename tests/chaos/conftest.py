import pytest

from tests.support.steps import Steps, registered
from workqueue.core.wire import Submission


@pytest.fixture
async def ids(queue, store, redis_url, queue_name):
    """Two jobs that wait, of which the ready list knows, and two that a worker has; their checkpoints are gone."""
    steps = Steps(queue, store)
    ids = await steps.submit.run_batch([Submission("x", b"{}")] * 4)
    await steps.claim.run_once(registered(redis_url, queue_name), 2)
    await steps.piggyback.clear(store)
    return ids
