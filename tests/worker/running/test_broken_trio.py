"""A handler may break Trio itself: that ends its worker, costs no other job anything, and ends with its own failure."""

from pathlib import Path

import pytest

from tests.support.steps import make_submit
from tests.support.wait import until, until_true
from tests.worker.processes import ledger_counts, worker_process
from workqueue.core.wire import Submission


async def states(psql) -> dict[str, str]:
    return {row["type"]: row["state"] for row in await psql("SELECT DISTINCT type, state FROM jobs")}


@pytest.mark.slow
async def test_a_handler_that_leaves_a_nursery_open_fails_after_three_workers_and_others_go_on(
    nursery, tmp_path: Path, redis_url, queue_name, queue, store, psql, postgres_dsn, database_schema
):
    variables = {
        "REDIS_URL": redis_url, "QUEUE_NAME": queue_name, "DATABASE_URL": postgres_dsn,
        "DATABASE_SCHEMA": database_schema, "LEASE_SECONDS": "2", "WORKER_CONCURRENCY": "2",
    }  # fmt: skip
    submit = make_submit(queue, store)
    await submit.run_batch([Submission("leaves_a_nursery", b"{}")])
    async with worker_process(nursery, tmp_path / "ledger", wait=False, processes=2, **variables) as worker:
        await submit.run_batch([Submission("naps", b'{"seconds": 1}')] * 10)

        async def all_have_ended() -> bool:
            return await states(psql) == {"leaves_a_nursery": "failed", "naps": "completed"}

        await until(all_have_ended, seconds=150)
        error = await psql.value("SELECT error_message FROM jobs WHERE state = 'failed'")
        assert error == "its worker died 3 times while it ran"
        assert "(leaves_a_nursery) has left a Trio nursery open" in worker.said
        assert "TrioInternalError" not in worker.said
        await until_true(lambda: "takes jobs from" in worker.said, seconds=30)
        await worker.terminate()
    starts, ends = ledger_counts(tmp_path / "ledger")
    assert len(ends) == 10
    assert max(starts.values()) <= 4
