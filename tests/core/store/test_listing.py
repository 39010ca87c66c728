"""Lists of jobs: what is found by looking at rows, against a plain loop over all of them; counts; bounds."""

import json
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from tests.core.store.test_jobs import Q
from tests.support.rows import Psql
from workqueue.core.job_filter import JobFilter, PayloadMatch, StatusFilter
from workqueue.core.options import DEFAULTS
from workqueue.core.store import JobStore, NewJob, listing
from workqueue.core.store.oldest_waiting import OldestWaiting

STRANGE = r'{"a":"\ud800","to":"x"}'  # half of a surrogate pair: Postgres can make no text of it

PAYLOADS = [
    '{"to":"x"}', '{"to":"y","n":1}', '{"n":1.0}', '{"n":"1"}', '{"to":null}', '{"a":{"b":[true,"x"]}}', "{}", STRANGE,
    r'{"to":"\u0078"}', '{"to":"\\ud83d\\ude00"}', '{"to":"a\\u0000"}', '{"t.o":"x"}', '{"to":{"x":1}}', '{"to":""}',
]  # fmt: skip


async def fill(store: JobStore, payloads: list[str]) -> list[UUID]:
    jobs = [NewJob(uuid7(), "t", payload, DEFAULTS) for payload in payloads]
    for job in jobs:
        await store.insert(uuid7(), Q, [job], [])
    return [job.id for job in jobs]


async def found(store: JobStore, wanted: JobFilter, *payload: PayloadMatch) -> list[UUID]:
    page = await store.lists.page(Q, wanted, payload, before=None, limit=500)
    assert page.next is None
    return [row.id for row in page.rows]


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("to", "x", [0, 8]), ("n", "1", [1, 3]), ("n", "1.0", [2]), ("to", "null", []), ("a.b.1", "x", [5]),
        ("a.b.0", "true", [5]), ("to", "😀", [9]), ("to", "", [13]), ("a.b", '[true,"x"]', [5]), ("zz", "x", []),
        ("to.x", "1", [12]), ("to", "' OR true --", []), ('"', "x", []), ("{a}", "x", []),
    ],
)  # fmt: skip
async def test_a_value_in_a_payload_is_compared_as_text(store, path: str, value: str, expected: list[int]):
    ids = await fill(store, PAYLOADS)
    match = PayloadMatch(tuple(path.split(".")), value)
    assert sorted(ids.index(job_id) for job_id in await found(store, JobFilter(), match)) == expected
    assert (await store.lists.count(Q, JobFilter(), [match])) == listing.JobCount(len(expected), True)


async def test_the_parts_of_pending_are_told_apart(store, psql):
    ids = await fill(store, ["{}"] * 5)
    await psql("UPDATE jobs SET requeued = true, run_at = now() + interval '1 h' WHERE id = ANY ($1)", ids[:2])
    await psql("UPDATE jobs SET attempts = 1 WHERE id = $1", ids[1])
    await psql("UPDATE jobs SET requeued = true, attempts = 2 WHERE id = $1", ids[2])
    assert await found(store, JobFilter(status=StatusFilter.SCHEDULED)) == [ids[0]]
    assert await found(store, JobFilter(status=StatusFilter.RETRYING)) == [ids[2], ids[1]]
    assert len(await found(store, JobFilter(status=StatusFilter.PENDING))) == 5


STATES = ["pending", "processing", "completed", "failed", "cancelled"]
MOMENTS = [datetime.fromisoformat(f"2026-01-0{day}T00:00:00Z") for day in range(1, 6)]
rows_of = st.lists(
    st.fixed_dictionaries({
        "type": st.sampled_from(["x", "y"]), "state": st.sampled_from(STATES), "at": st.sampled_from(MOMENTS),
        "error": st.sampled_from([None, "boom", "BOOM 50%", "a_b"]), "to": st.sampled_from(["1", "2"]),
    }),
    max_size=25,
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=rows_of,
    wanted=st.builds(
        JobFilter,
        status=st.sampled_from([None, *StatusFilter]),
        type=st.sampled_from([None, "x"]),
        created_after=st.sampled_from([None, MOMENTS[1]]),
        created_before=st.sampled_from([None, MOMENTS[3]]),
        error=st.sampled_from([None, None, "boom", "50%", "_", "%"]),
    ),
    to=st.sampled_from([None, None, "1"]),
    limit=st.sampled_from([1, 3, 100]),
    look=st.sampled_from([1, 4, 1000]),
    bytes_max=st.sampled_from([1, 25, 10_000]),
)
def test_all_pages_together_are_what_a_loop_over_the_rows_finds(
    portal, lists, rows: list[dict[str, Any]], wanted: JobFilter, to: str | None, limit: int, look: int, bytes_max: int
):
    store, psql = lists
    portal.call(check, store, psql, rows, wanted, to, limit, look, bytes_max)


async def check(store, psql, rows, wanted, to, limit, look, bytes_max) -> None:
    await psql("DELETE FROM jobs")
    await psql("DELETE FROM claimed")
    ids = [uuid7() for _ in rows]
    for job_id, row in zip(ids, rows, strict=True):
        await psql(
            "INSERT INTO jobs (id, queue, type, payload, retries, state, created_at, error_message, token, failed_at)"
            " VALUES ($1, $2, $3, $4, 0, $5, $6, $7, $1, CASE WHEN $5 IN ('failed', 'cancelled') THEN now() END)",
            job_id, Q, row["type"], json.dumps({"to": row["to"]}), row["state"], row["at"], row["error"],
        )  # fmt: skip
    running = [job_id for job_id, row in zip(ids, rows, strict=True) if row["state"] == "processing"]
    await psql("INSERT INTO claimed (token, queue, owner, ids) VALUES ($1, $2, $1, $3)", uuid7(), Q, running)
    payload = [] if to is None else [PayloadMatch(("to",), to)]
    expected = sorted(
        ((row["at"], job_id) for job_id, row in zip(ids, rows, strict=True) if matches(row, wanted, to)), reverse=True
    )
    store.lists._oldest_waiting = OldestWaiting()
    kept = listing.LOOK_MAX, listing.LOOK_INTO_MAX, listing.LOOK_BYTES_MAX
    listing.LOOK_MAX, listing.LOOK_INTO_MAX, listing.LOOK_BYTES_MAX = look, look, bytes_max
    try:
        seen, before = [], None
        for _ in range(100):
            page = await store.lists.page(Q, wanted, payload, before=before, limit=limit)
            assert len(page.rows) <= limit
            seen += [(row.created_at, row.id) for row in page.rows]
            if (before := page.next) is None:
                break
        assert seen == expected
        count = await store.lists.count(Q, wanted, payload)
        assert count.count == len(expected) if count.exact else count.count <= len(expected)
        assert count.exact or payload or wanted.error or wanted.status in {"scheduled", "retrying"}
    finally:
        listing.LOOK_MAX, listing.LOOK_INTO_MAX, listing.LOOK_BYTES_MAX = kept


def matches(row: dict[str, Any], wanted: JobFilter, to: str | None) -> bool:
    return (
        (wanted.status is None or wanted.status == row["state"])
        and (wanted.type is None or wanted.type == row["type"])
        and (wanted.created_after is None or row["at"] >= wanted.created_after)
        and (wanted.created_before is None or row["at"] < wanted.created_before)
        and (wanted.error is None or wanted.error.lower() in (row["error"] or "").lower())
        and (to is None or row["to"] == to)
    )


@pytest.fixture
def lists(portal, postgres) -> Any:
    """A store and a psql on the session's loop, where Hypothesis can call them."""
    from uuid import uuid4

    from tests.support.rows import open_psql
    from workqueue.core.store import migrate
    from workqueue.core.store.pool import open_pool

    schema = f"test_{uuid4().hex}"
    portal.call(migrate, portal.bridge, postgres.url, schema)
    with (
        portal.running(open_pool(portal.bridge, postgres.url, schema)) as pool,
        portal.running(open_psql(portal.bridge, postgres.url, schema)) as psql,
    ):
        yield JobStore(pool), psql


async def test_large_payloads_end_a_search_early(store, psql: Psql, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(listing, "LOOK_BYTES_MAX", 3000)
    ids = await fill(store, ['{"x":"' + "x" * 1000 + '"}'] * 6)
    match = PayloadMatch(("x",), "x" * 1000)
    page = await store.lists.page(Q, JobFilter(), [match], before=None, limit=500)
    assert [row.id for row in page.rows] == ids[:2:-1]
    assert page.next is not None
    assert page.next[1] == ids[3]
    assert not (await store.lists.count(Q, JobFilter(), [match])).exact


async def test_what_is_counted_is_bounded(store, psql: Psql, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(listing, "COUNT_MAX", 3)
    await fill(store, ["{}"] * 3)
    for wanted in (JobFilter(), JobFilter(status=StatusFilter.PENDING), JobFilter(error="x")):
        assert (await store.lists.count(Q, wanted)).exact
    await fill(store, ["{}"])
    assert await store.lists.count(Q, JobFilter()) == listing.JobCount(3, False)
    assert await store.lists.count(Q, JobFilter(status=StatusFilter.PENDING)) == listing.JobCount(3, False)
