"""What has changed lately: every change is told, whichever statement made it, and however many rows there are."""

from functools import partial
from uuid import UUID, uuid4

import pytest
from uuid_utils.compat import uuid7

from tests.support.rows import Psql
from tests.support.wait import until
from workqueue.core.job import JobState, RunOutcome
from workqueue.core.options import DEFAULTS
from workqueue.core.report import JobReport, Progress
from workqueue.core.store import Changes, Counter, Finish, JobStore, NewJob, Requeue
from workqueue.core.store.changes import OVERLAP_SECONDS

Q = "q"
MICROSECONDS = 1_000_000


async def insert(store: JobStore, count: int = 1, queue: str = Q) -> list[UUID]:
    ids = [uuid7() for _ in range(count)]
    await store.insert(uuid7(), queue, [NewJob(job_id, "x", "{}", DEFAULTS) for job_id in ids], [])
    return ids


async def claim(store: JobStore, *ids: UUID) -> UUID:
    token = uuid7()
    claimed = await store.claim(ids, token, queue=Q, owner=uuid4(), worker="w", earlier=[], done_claims=[])
    assert len(claimed) == len(ids)
    return token


async def since(store: JobStore, position: int | None, *, limit: int = 100, max_seconds: float = 60) -> Changes:
    return await store.changes.since(Q, position, max_seconds=max_seconds, limit=limit)


AGE = """
UPDATE jobs SET updated_at = now() - make_interval(secs => $1), created_at = now() - make_interval(secs => $1)
"""
CLOCK = """
SELECT (extract(epoch FROM now()) * 1000000)::bigint AS now, (extract(epoch FROM updated_at) * 1000000)::bigint AS at
FROM jobs
"""
FILL = """
INSERT INTO jobs (id, queue, type, payload, retries, state, created_at, updated_at)
SELECT gen_random_uuid(), 'q', 'x', '{}', 0, 'completed', at, at
FROM (SELECT now() - make_interval(secs => 200000 - n) AS at FROM generate_series(1, 100000) AS n) AS rows
"""
PAGES_READ = """
SELECT heap_blks_read + heap_blks_hit AS pages FROM pg_statio_user_tables WHERE schemaname = $1 AND relname = 'jobs'
"""


async def age(psql: Psql, seconds: float = 3600) -> None:
    """Nothing was done lately."""
    await psql(AGE, seconds)


async def states(store: JobStore, position: int | None) -> dict[UUID, str | None]:
    found = await since(store, position)
    assert not found.more
    return {row.id: row.state for row in found.rows}


async def test_each_change_of_an_old_job_is_told(store, psql):
    ids = await insert(store, 7)
    await age(psql)
    start = (await since(store, None)).position
    assert await states(store, start) == {}
    told: dict[UUID, str | None] = {}

    async def tells(state: str | None, *changed: UUID) -> None:
        told.update(dict.fromkeys(changed, state))
        assert await states(store, start) == told

    token = await claim(store, *ids[:4])
    await tells("processing", *ids[:4])
    await store.finish([Finish(ids[0], token, JobState.COMPLETED, RunOutcome.COMPLETED, 0.1, "1")])
    await tells("completed", ids[0])
    await store.finish([Finish(ids[1], token, JobState.FAILED, RunOutcome.FAILED, 0.1, error="no")])
    await tells("failed", ids[1])
    await store.requeue(uuid7(), Q, [Requeue(ids[2], token, Counter.ATTEMPTS, 0, RunOutcome.FAILED, 0.1, "no")])
    await tells("pending", ids[2])
    await store.cancel(Q, [ids[4]])
    await tells("cancelled", ids[4])
    await store.retry(uuid7(), Q, [ids[1]])
    await tells("pending", ids[1])
    await store.delete(Q, [ids[0]])
    await tells(None, ids[0])
    [new] = await insert(store)
    await tells("pending", new)


async def test_a_position_is_a_moment_of_the_clock_of_postgres_and_nothing_is_lost_between_two(store, psql):
    [job_id] = await insert(store)
    first = await since(store, None)
    [row] = first.rows
    [clock] = await psql(CLOCK)
    assert (row.id, row.type, row.state, row.at_us) == (job_id, "x", "pending", clock["at"])
    assert clock["at"] <= first.position <= clock["now"]
    # A statement that began before the last look, and is committed after it.
    await age(psql)
    await psql("UPDATE jobs SET updated_at = to_timestamp($1::bigint / 1e6)", first.position - MICROSECONDS)
    assert await states(store, first.position) == {job_id: "pending"}
    assert await states(store, first.position + int((OVERLAP_SECONDS + 1) * MICROSECONDS)) == {}


async def test_it_is_said_when_there_are_more(store):
    await insert(store, 5)
    position = (await since(store, None)).position
    for limit, more in ((4, True), (5, False)):
        found = await since(store, position, limit=limit)
        assert (len(found.rows), found.more) == (limit, more)


async def test_so_many_seconds_back_and_no_further(store, psql):
    [job_id] = await insert(store)
    await age(psql, 30)
    assert [row.id for row in (await since(store, 0)).rows] == [job_id]
    assert (await since(store, 0, max_seconds=20)).rows == []


async def test_jobs_of_another_queue_are_not_told(store):
    await insert(store, queue="another")
    found = await since(store, 0)
    assert (found.rows, found.more) == ([], False)


async def test_of_a_large_table_the_new_pages_alone_are_read(store, psql: Psql, database_schema):
    """By the number of pages, which the load of the machine does not change."""
    await psql(FILL)
    await psql("VACUUM ANALYZE jobs")
    [(pages,)] = await psql("SELECT pg_relation_size('jobs') / 8192")
    ids = [row["id"] for row in await psql("SELECT id FROM jobs ORDER BY created_at LIMIT 10")]
    await psql("UPDATE jobs SET updated_at = now() WHERE id = ANY ($1)", ids)
    await psql("SELECT pg_stat_force_next_flush()")
    read = partial(psql, PAGES_READ, database_schema)
    before = (await read())[0]["pages"]
    assert set(await states(store, (await since(store, None)).position)) == set(ids)

    async def is_counted() -> bool:
        return (await read())[0]["pages"] > before

    await until(is_counted, seconds=60)
    assert (await read())[0]["pages"] - before < pages / 4


async def test_new_pages_are_summarized_without_a_vacuum(psql, database_schema):
    [row] = await psql("SELECT reloptions FROM pg_class WHERE oid = to_regclass($1)", f"{database_schema}.jobs_updated")
    assert row["reloptions"] == ["autosummarize=on"]


async def test_jobs_are_told_as_they_are_with_the_progress_of_their_last_run(store):
    ids = await insert(store, 3)
    token = await claim(store, ids[0], ids[1])
    await store.reports.write([JobReport(ids[0], token, 1, Progress(0.5, "half"), [], trims=False)])
    await store.cancel(Q, [ids[1]])
    found = await store.changes.watched([*ids, uuid4()])
    assert set(found) == set(ids)
    assert [(found[each].state, found[each].cancelling) for each in ids] == [
        ("processing", False), ("processing", True), ("pending", False),
    ]  # fmt: skip
    progress = found[ids[0]].progress
    assert progress is not None
    assert (progress.fraction, progress.text) == (0.5, "half")
    assert [found[job_id].progress for job_id in ids[1:]] == [None, None]
    await store.requeue(uuid7(), Q, [Requeue(ids[0], token, Counter.ATTEMPTS, 60_000, RunOutcome.FAILED, 0.1, "no")])
    again = (await store.changes.watched([ids[0]]))[ids[0]]
    assert (again.state, again.attempts) == ("pending", 1)
    assert again.run_at is not None


@pytest.mark.parametrize("count", [0, 2000])
async def test_any_number_of_jobs_is_watched_by_one_statement(store, count):
    assert await store.changes.watched([uuid4() for _ in range(count)]) == {}
