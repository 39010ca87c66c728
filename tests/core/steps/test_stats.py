"""Recording statistics: nothing is counted twice or lost while Postgres is away."""

import pytest

from tests.support.proxy import Proxy
from workqueue.core.errors import StoreUnavailable
from workqueue.core.queue import Queue
from workqueue.core.stats import Sums, TypeSums
from workqueue.core.steps.stats import PruneStats, RecordStats
from workqueue.core.store import JobStore


async def enqueued(store: JobStore, queue: Queue) -> int:
    rows = await store.stats.read(queue.name, span=60, since_seconds=3600, job_type=None)
    return sum(row.sums.enqueued for row in rows)


async def test_what_was_seen_during_an_outage_is_stored_after_it_once(
    far_store: JobStore, store: JobStore, queue: Queue, postgres_proxy: Proxy
):
    seen = [Sums({"x": TypeSums(1)}), Sums({"x": TypeSums(2)}), Sums()]
    record = RecordStats(far_store.stats, queue.name, lambda: seen.pop(0))
    postgres_proxy.swallow_replies()
    with pytest.raises(StoreUnavailable):
        await record.run_once()  # it may have arrived
    postgres_proxy.heal()
    await record.run_once()
    assert await enqueued(store, queue) == 1
    await record.run_once()
    await record.run_once()
    assert (await enqueued(store, queue), seen) == (3, [])


async def test_old_sums_are_forgotten_piece_by_piece(store: JobStore, queue: Queue, psql):
    await RecordStats(store.stats, queue.name, lambda: Sums({"x": TypeSums(1)})).run_once()
    await psql("UPDATE stats SET at = at - interval '100 days'")
    assert await PruneStats(store.stats).run_once() is False
    assert await psql("SELECT FROM stats") == []
