"""Latencies of a real worker, and their percentiles."""

import pytest

from workqueue.services.bench.latency import Latencies, latency, percentiles
from workqueue.services.bench.sandbox import open_sandbox


@pytest.mark.parametrize(
    ("waits", "p50", "p99"),
    [([7.0], 7, 7), ([2.0, 1.0], 1, 2), ([float(n) for n in range(1, 101)], 50, 99), ([3.0, 1.0, 2.0], 2, 3)],
)
def test_a_percentile_is_the_smallest_that_so_many_do_not_exceed(waits, p50, p99):
    assert percentiles(waits) == Latencies(p50, p99)


async def test_each_job_is_measured(redis_url):
    seen: list[int] = []
    async with open_sandbox(redis_url, None, concurrency=1) as sandbox:
        found = await latency(sandbox, 5, seen.append)
    assert 0 < found.p50 <= found.p99
    assert seen == [1, 2, 3, 4, 5]
