"""Stored statistics: added once, read by span, forgotten."""

from uuid import uuid4

import pytest
from uuid_utils.compat import uuid7

from tests.support.rows import Psql
from workqueue.core.stats import FailureSums, Sums, TypeSums
from workqueue.core.store import JobStore

Q = "q"
HOUR = 3600.0


def some(count: int = 1) -> Sums:
    return Sums(
        {"x": TypeSums(count, count, 0, 0, 0, [count] + [0] * 12, [0] * 12 + [count]), "y": TypeSums(failed=count)},
        {("y", "E: no"): FailureSums(count, 2 * count, uuid7())},
    )


async def total(store: JobStore, span: int = 60, job_type: str | None = None) -> dict[str, TypeSums]:
    found: dict[str, TypeSums] = {}
    for row in await store.stats.read(Q, span=span, since_seconds=HOUR, job_type=job_type):
        found.setdefault(row.type, TypeSums()).add(row.sums)
    return found


async def test_sums_of_several_processes_add_up_in_each_span(store):
    for count in (1, 10):
        await store.stats.add(Q, uuid4(), 1, some(count), age_seconds=0)
    await store.stats.add("another", uuid4(), 1, some(), age_seconds=0)
    for span in (60, 600, 3600):
        assert await total(store, span) == some(11).types
    assert set(await total(store, 60, "x")) == {"x"}
    for span in (60, 600, 3600):
        [group] = await store.stats.failures(Q, span=span, since_seconds=2 * HOUR, job_type=None, limit=10)
        assert (group.type, group.error, group.failed, group.retried) == ("y", "E: no", 11, 22)
        assert sum(count for _, count in group.trend) == 33


async def test_a_batch_that_is_sent_again_or_comes_late_is_added_once(store):
    writer = uuid4()
    for number in (1, 1, 2, 1, 2):
        await store.stats.add(Q, writer, number, some(), age_seconds=0)
    assert await total(store) == some(2).types


async def test_a_batch_that_could_not_be_stored_for_long_is_added_where_it_belongs(store, psql: Psql):
    await store.stats.add(Q, uuid4(), 1, some(), age_seconds=600)
    assert await psql.value("SELECT max(at) < now() - interval '9 min' FROM stats WHERE span = 60")


async def test_the_groups_with_the_most_failures_come_first(store):
    failures = {(f"t{number}", "E"): FailureSums(number, 0, uuid7()) for number in range(1, 6)}
    await store.stats.add(Q, uuid4(), 1, Sums({}, failures), age_seconds=0)
    found = await store.stats.failures(Q, span=60, since_seconds=HOUR, job_type=None, limit=3)
    assert [group.type for group in found] == ["t5", "t4", "t3"]


async def test_what_is_older_than_what_is_shown_is_forgotten(store, psql: Psql):
    await store.stats.add(Q, uuid4(), 1, some(), age_seconds=0)
    await psql("UPDATE stats SET at = at - interval '3 days'")
    await psql("UPDATE failures SET at = at - interval '3 days'")
    await psql("UPDATE stats_writers SET at = at - interval '3 days'")
    assert await store.stats.prune(limit=2) == 2
    while await store.stats.prune(limit=2):
        pass
    for table in ("stats", "failures"):
        assert await psql(f"SELECT DISTINCT span FROM {table}") == [(3600,)], "hours are kept for longer"
    assert await psql("SELECT FROM stats_writers") == []


@pytest.mark.parametrize("text", ["a\0b", "x" * 1000, "\ud800"])
async def test_texts_that_postgres_cannot_keep_are_made_ones_that_it_can(store, text: str):
    sums = Sums({text: TypeSums(1)}, {(text, text): FailureSums(1, 0, uuid7())})
    await store.stats.add(Q, uuid4(), 1, sums, age_seconds=0)
    assert len(await total(store)) == 1
