"""What a worker learns of the other workers of its queue."""

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest

from workqueue.core.protocol import OLDEST, PROTOCOL
from workqueue.core.queue import LeaseConnection, Queue
from workqueue.core.queue.keys import Keys
from workqueue.core.steps.lease import Lease
from workqueue.services.published import Published
from workqueue.services.worker.peers import LOOK_SECONDS, Peers, find_incompatible_worker


@contextmanager
def another_worker(redis_url: str, queue: Queue, published: bytes) -> Iterator[Lease]:
    """A worker that has just renewed its lease."""
    lease = Lease()
    connection = LeaseConnection(redis_url, Keys(queue.name), seconds=3)
    connection.register(lease.id, published)
    yield lease
    connection.close()


async def test_an_answer_is_used_for_a_while_and_then_asked_for_again(queue: Queue, redis_url: str):
    now = 100.0
    peers = Peers(queue, lambda: now)
    assert peers.knew("a") is None, "not asked yet"
    assert not await peers.know("a")
    with another_worker(redis_url, queue, msgspec.json.encode(Published(types=["a"]))):
        now += LOOK_SECONDS
        assert peers.knew("a") is False
        assert not await peers.know("a")
        now += 0.1
        assert peers.knew("a") is None
        assert await peers.know("a")
        assert (peers.knew("a"), peers.knew("b")) == (True, False)


async def test_a_worker_that_publishes_nonsense_knows_nothing(queue: Queue, redis_url: str):
    with another_worker(redis_url, queue, b"\xff{"):
        assert not await Peers(queue).know("a")
        assert await find_incompatible_worker(queue, lease_seconds=10) is None


@pytest.mark.parametrize(
    ("published", "is_incompatible"),
    [
        (Published("w", version="9", protocol=PROTOCOL, oldest=OLDEST), False),
        (Published("w", version="9", protocol=PROTOCOL + 1, oldest=PROTOCOL), False),
        (Published("w", version="9", protocol=PROTOCOL + 1, oldest=PROTOCOL + 1), True),
        (Published("w", version="9", protocol=OLDEST - 1, oldest=1), True),
    ],
)
async def test_a_worker_of_an_incompatible_release_is_named_while_its_lease_lasts(
    queue: Queue, redis_url: str, published: Published, is_incompatible: bool
):
    with another_worker(redis_url, queue, msgspec.json.encode(published)):
        found = await find_incompatible_worker(queue, lease_seconds=10)
        assert (found is not None) == is_incompatible
        if found is not None:
            assert found.startswith(f"worker w (version 9) speaks protocol {published.protocol}")
        assert await find_incompatible_worker(queue, lease_seconds=0) is None
