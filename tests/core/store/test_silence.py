"""What a statement did not tell is never taken for done: claim and completion compare how many rows they changed."""

from uuid import uuid4

import pytest

from tests.core.store.test_jobs import claim, finish, insert
from workqueue.core.errors import StoreUnavailable
from workqueue.core.job import JobState, RunOutcome
from workqueue.core.store import Finish, sql
from workqueue.core.store.sql import Statement


def silent(statement: Statement) -> Statement:
    """The statement as one that lost its rows on the way to its answer, all but the count."""
    head, count = statement.rsplit("UNION ALL", 1)
    return Statement(f"{head} AND false UNION ALL {count.replace('count(*)', '0')}", statement.names)


async def test_a_claim_that_tells_of_fewer_rows_than_it_claimed_is_no_answer(store, monkeypatch):
    ids = await insert(store, 3)
    monkeypatch.setattr(sql, "CLAIM_JOBS", silent(sql.CLAIM_JOBS))
    with pytest.raises(
        StoreUnavailable, match="0 rows were claimed where the answer amounts to 3: look for row security"
    ):
        await claim(store, ids, uuid4())


async def test_a_completion_that_tells_of_fewer_rows_than_it_completed_is_no_answer(store, monkeypatch):
    ids, token = await insert(store, 3), uuid4()
    await claim(store, ids, token)
    finishes = [Finish(job_id, token, JobState.COMPLETED, RunOutcome.COMPLETED, 0.1, "1") for job_id in ids]
    with monkeypatch.context() as patched:
        patched.setattr(sql, "COMPLETE_JOBS", silent(sql.COMPLETE_JOBS))
        with pytest.raises(StoreUnavailable, match="0 rows were completed where the answer amounts to 3"):
            await finish(store, finishes)
    status = await store.get_status(ids)
    assert {found.state for found in status.values()} <= {JobState.COMPLETED, JobState.PROCESSING}
