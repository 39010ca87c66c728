"""Pages of pending jobs: what they find, what they learn, and what they need not look at."""

import json
from datetime import timedelta
from functools import partial
from uuid import UUID, uuid4

import pytest
from msgspec import structs
from uuid_utils.compat import uuid7

from tests.core.store.test_jobs import OWNER, Q, claim, finish, insert, pages
from tests.support.wait import until
from workqueue.core.job import JobState, RunOutcome
from workqueue.core.job_filter import JobFilter, StatusFilter
from workqueue.core.store import Finish, Requeue, sql
from workqueue.core.store.jobs import Counter
from workqueue.core.store.oldest_waiting import KEPT_SECONDS, UNKNOWN, OldestWaiting

HOUR = timedelta(hours=1)


async def listed(store, job_type="x", before=None, limit=500) -> list[UUID]:
    page = await store.lists.page(Q, waiting(job_type), before=before, limit=limit)
    assert page.next is None
    return [row.id for row in page.rows]


def waiting(job_type: str | None) -> JobFilter:
    return JobFilter(status=StatusFilter.PENDING, type=job_type)


def floor(store, job_type="x"):
    return store.lists._oldest_waiting.floor(Q, job_type).created_at


async def fill(psql, count: int, state: str = "completed") -> None:
    """Jobs of the last hour but a minute, one a second, the newest first."""
    await psql(
        "INSERT INTO jobs (id, queue, type, payload, retries, state, created_at)"
        " SELECT gen_random_uuid(), $1, 'x', '{}', 0, $2, now() - interval '1 min' - n * interval '1 s'"
        " FROM generate_series(1, $3::int) n",
        Q, state, count,
    )  # fmt: skip


async def retry(store, job_id, token):
    return await store.requeue(
        uuid7(), Q, [Requeue(job_id, token, Counter.ATTEMPTS, 3_600_000, RunOutcome.FAILED, 1, "E")]
    )


async def give_back(store, job_id, token):
    return await store.requeue(uuid7(), Q, [Requeue(job_id, token, Counter.NONE, 0)])


async def recover(store, job_id, token, *, blameless):
    return await store.recover(OWNER, Q, uuid7(), blameless=blameless, started=[], max_recoveries=3)


@pytest.mark.parametrize(
    "again", [retry, give_back, partial(recover, blameless=True), partial(recover, blameless=False)],
    ids=["retry", "give back", "stopped", "died"],
)  # fmt: skip
async def test_what_waits_again_is_listed_though_it_is_older_than_what_can_wait_for_its_first_run(store, psql, again):
    [job_id], token = await insert(store), uuid4()
    await claim(store, [job_id], token)
    await psql("UPDATE jobs SET created_at = created_at - interval '1 h'")
    assert await listed(store) == await listed(store, None) == []
    row = await store.get(job_id)
    assert row.created_at < floor(store)
    assert row.created_at < floor(store, None)
    assert await again(store, job_id, token) == {job_id: JobState.PENDING}
    assert await listed(store) == await listed(store, None) == [job_id]
    assert ((await store.get(job_id)).run_at is not None) == (again is retry)
    if again is not retry:
        assert (await store.get_status([job_id]))[job_id].delay_ms == 0
        token = uuid4()
        assert set(await claim(store, [job_id], token)) == {job_id}, "it is due at once"
        assert await finish(store, [Finish(job_id, token, JobState.COMPLETED, RunOutcome.COMPLETED, 1, "1")]) == {
            job_id
        }
        assert (await store.get(job_id)).run_at is None
        assert await listed(store) == await listed(store, None) == []


@pytest.mark.parametrize("way", ["release", "recover", "died too often"])
async def test_what_does_not_wait_again_has_no_run_at(store, psql, way):
    [job_id], token = await insert(store), uuid4()
    await claim(store, [job_id], token)
    if way == "died too often":
        await store.recover(OWNER, Q, uuid7(), blameless=False, started=[], max_recoveries=1)
    else:
        await psql("UPDATE jobs SET cancel_at = now()")
        await (give_back if way == "release" else partial(recover, blameless=True))(store, job_id, token)
    row = await store.get(job_id)
    assert (row.state, row.run_at) == ("failed" if way == "died too often" else "cancelled", None)


async def test_jobs_that_wait_again_and_jobs_that_wait_for_their_first_run_come_in_one_order(store, psql):
    await fill(psql, 30, "pending")
    rows = await psql("SELECT id FROM jobs ORDER BY created_at DESC, id DESC")
    await psql("UPDATE jobs SET requeued = true WHERE id = ANY ($1)", [row["id"] for row in rows[::3]])
    await fill(psql, 30)
    for limit in (1, 7, 30, 500):
        assert await pages(store, JobState.PENDING, "x", limit=limit) == [row["id"] for row in rows]
        assert await pages(store, JobState.PENDING, None, limit=limit) == [row["id"] for row in rows]


async def rows_looked_at(store, psql, job_type, before=None) -> int:
    """How many rows the statement throws away or returns, from wherever it takes them."""
    created_at, job_id = before or (None, None)
    floor = store.lists._oldest_waiting.floor(Q, job_type)
    explain = "EXPLAIN (ANALYZE, FORMAT JSON) " + sql.LIST_WAITING_JOBS
    _, *values = sql.LIST_WAITING_JOBS.bind(
        queue=Q, type=job_type, before_at=created_at, before_id=job_id, created_after=None, limit=50,
        floor=floor.created_at, left=floor.left, payload_max=1, error_max=1,
    )  # fmt: skip
    plan = await psql.value(explain, *values)
    nodes, looked_at = [json.loads(plan)[0]["Plan"]], 0
    while nodes:
        node = nodes.pop()
        nodes += node.get("Plans", [])
        if "Relation Name" in node:
            rows = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
            looked_at += (rows + node.get("Rows Removed by Index Recheck", 0)) * node["Actual Loops"]
    return looked_at


@pytest.mark.parametrize("job_type", ["x", None])
async def test_what_was_seen_once_is_not_looked_at_again(store, psql, job_type):
    await fill(psql, 3000)
    await psql("ANALYZE jobs")
    assert await rows_looked_at(store, psql, job_type) == 3000
    assert await listed(store, job_type) == []
    assert await rows_looked_at(store, psql, job_type) == 0
    old = await psql("SELECT created_at, id FROM jobs ORDER BY created_at LIMIT 1 OFFSET 1500")
    assert await rows_looked_at(store, psql, job_type, tuple(old[0])) == 0
    [job_id] = await insert(store)
    assert await rows_looked_at(store, psql, job_type) == 2, "itself, and once more to be shown"
    assert await listed(store, job_type) == [job_id]


async def test_a_few_that_wait_for_ever_are_found_without_a_look_at_those_that_are_newer(store, psql):
    # An operator has taken their tasks out of Redis: their rows stay as they are until a person acts.
    await fill(psql, 3000)
    await psql("UPDATE jobs SET state = 'pending' WHERE id IN (SELECT id FROM jobs ORDER BY created_at LIMIT 3)")
    await psql("ANALYZE jobs")
    lost = [row["id"] for row in await psql("SELECT id FROM jobs WHERE state = 'pending' ORDER BY created_at DESC")]
    assert await listed(store) == lost
    assert await rows_looked_at(store, psql, "x") == 6, "themselves, and once more to be shown"
    assert await listed(store) == lost
    token = uuid4()
    assert set(await claim(store, lost[:1], token)) == set(lost[:1])
    await give_back(store, lost[0], token)
    assert await listed(store) == lost, "once, though it is known in two ways"
    assert set(await claim(store, lost[:1])) == set(lost[:1])
    assert await listed(store) == lost[1:]
    assert await rows_looked_at(store, psql, "x") == 5, "what is listed twice, and the one that runs again"


async def test_many_jobs_that_wait_again_do_not_slow_the_look_for_jobs_that_wait_for_their_first_run(store, psql):
    await fill(psql, 20_000)
    newest = "SELECT id FROM jobs ORDER BY created_at DESC LIMIT 60"
    await psql(f"UPDATE jobs SET state = 'pending', requeued = true WHERE id IN ({newest})")
    await psql("ANALYZE jobs")
    page = await store.lists.page(Q, waiting("x"), before=None, limit=50)
    assert (len(page.rows), page.next is not None, floor(store)) == (50, True, UNKNOWN)
    assert await rows_looked_at(store, psql, "x") == 51 + 51 + 51, (
        "by each of the two indexes, and those that are shown"
    )


async def test_a_page_behind_a_cursor_teaches_up_to_there(store, psql):
    await fill(psql, 100)
    rows = await psql("SELECT id, created_at FROM jobs ORDER BY created_at DESC")
    place, newer = rows[50], rows[20]
    twin = UUID(int=place["id"].int + 1)  # of the same microsecond, and before the cursor
    await psql(
        "INSERT INTO jobs SELECT $2, queue, type, payload, extra, retries, 0, 0, 0, 'pending' FROM jobs WHERE id = $1",
        place["id"], twin,
    )  # fmt: skip
    await psql("UPDATE jobs SET created_at = $2 WHERE id = $1", twin, place["created_at"])
    await psql("UPDATE jobs SET state = 'pending' WHERE id = $1", newer["id"])
    assert await listed(store, before=(place["created_at"], place["id"])) == []
    assert floor(store) == place["created_at"]
    assert await listed(store) == [newer["id"], twin]


async def test_a_page_that_is_cut_teaches_nothing(store, psql, monkeypatch):
    monkeypatch.setattr(store.lists, "_oldest_waiting", OldestWaiting(left_max=2))
    await fill(psql, 5, "pending")
    rows = await psql("SELECT id, created_at FROM jobs ORDER BY created_at DESC")
    read = partial(store.lists.page, Q, before=None)
    page = await read(waiting("x"), limit=4)
    assert (len(page.rows), page.next) == (4, (rows[3]["created_at"], rows[3]["id"]))
    assert floor(store) == UNKNOWN
    since = structs.replace(waiting("x"), created_after=rows[2]["created_at"])
    assert len((await read(since, limit=500)).rows) == 3
    assert floor(store) == UNKNOWN
    page = await read(waiting("x"), limit=5)
    assert (len(page.rows), page.next) == (5, None)
    assert floor(store) == rows[2]["created_at"], "two are left behind"
    await psql("UPDATE jobs SET requeued = true WHERE id = ANY ($1)", [row["id"] for row in rows[3:]])
    assert len(await listed(store)) == 5
    assert floor(store) == rows[0]["created_at"], "what waits again is found without it"


async def test_an_insert_that_is_not_committed_when_a_page_is_read_is_in_the_next_one(store, psql):
    await psql("BEGIN")
    job_id = uuid7()
    await psql("INSERT INTO jobs (id, queue, type, payload, retries, state) VALUES ($1, $2, 'x', '{}', 0, 'pending')",
               job_id, Q)  # fmt: skip
    assert await listed(store) == await listed(store, None) == []
    ids = await insert(store, 3)
    assert await listed(store) == ids[::-1]
    await psql("COMMIT")
    assert await listed(store) == await listed(store, None) == [*ids[::-1], job_id]
    assert await listed(store, "y") == []


async def test_what_no_floor_can_know_is_found_when_it_is_forgotten(store, psql):
    now = 0.0
    store.lists._oldest_waiting = OldestWaiting(lambda: now)
    assert await listed(store) == []
    await fill(psql, 1, "pending")  # by hand, with a created_at of its own; or the database is one of an hour ago
    while now < KEPT_SECONDS:
        assert await listed(store) == [], "the page is being looked at all the time"
        now += KEPT_SECONDS / 4
    assert len(await listed(store)) == 1


async def test_jobs_that_wait_once_and_complete_are_updated_in_place(store, psql):
    ids, token = await insert(store, 10), uuid4()  # few: their page has room for all versions
    await claim(store, ids, token)
    await finish(store, [Finish(job_id, token, JobState.COMPLETED, RunOutcome.COMPLETED, 1, "1") for job_id in ids])
    statistics = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relid = 'jobs'::regclass"

    async def counted() -> bool:
        await store._pool.fetch("SELECT pg_stat_force_next_flush()")
        return await psql.value(statistics) == 20

    await until(counted)
    assert tuple((await psql(statistics))[0]) == (20, 20)
