"""The rate at which a real worker drains a queue."""

import pytest

from workqueue.services.bench.drain import drain
from workqueue.services.bench.sandbox import open_sandbox


@pytest.mark.parametrize("job_type", ["noop", "fails"])
async def test_jobs_are_counted_whatever_their_end(redis_url, job_type):
    seen: list[int] = []
    async with open_sandbox(redis_url, None, concurrency=5) as sandbox:
        await sandbox.submit(job_type, 600)
        found = await drain(sandbox, 600, seen.append)
        assert (await sandbox.queue.depths()).ready == 0
    assert found.per_second > 0
    assert found.cpu_us > 0
    assert seen == sorted(seen)
