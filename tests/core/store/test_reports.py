"""Rows of what jobs tell: repeated writes, jobs that are gone, the oldest lines."""

from uuid import UUID, uuid4

from uuid_utils.compat import uuid7

from workqueue.core.options import DEFAULTS
from workqueue.core.report import LINES_MAX, JobReport, LogLine, Progress
from workqueue.core.store import JobStore, NewJob


async def insert(store: JobStore) -> UUID:
    job_id: UUID = uuid7()
    await store.insert(uuid7(), "q", [NewJob(job_id, "x", "{}", DEFAULTS)], [])
    return job_id


def lines(count: int, begin: int = 1) -> list[LogLine]:
    return [LogLine(number, f"line {number}") for number in range(begin, begin + count)]


async def test_a_write_may_be_repeated(store: JobStore):
    job_id = await insert(store)
    for _ in range(2):
        await store.reports.write([JobReport(job_id, uuid4(), 1, None, lines(3), trims=True)])
    found = await store.reports.logs(job_id, after=1, limit=10)
    assert [(row.number, row.run, row.text) for row in found] == [(2, 1, "line 2"), (3, 1, "line 3")]
    assert len(await store.reports.logs(job_id, after=0, limit=2)) == 2


async def test_what_is_told_of_a_job_that_is_gone_is_dropped(store: JobStore, psql):
    job_id = await insert(store)
    gone = JobReport(uuid7(), uuid4(), 1, Progress(1, ""), lines(1), trims=True)
    other_claim = JobReport(job_id, uuid4(), 1, Progress(1, ""), lines(1), trims=True)
    await store.reports.write([gone, other_claim])
    assert await psql("SELECT * FROM progress") == []
    assert await psql("SELECT job_id FROM logs") == [(job_id,)]


async def test_of_a_job_the_newest_lines_are_kept(store: JobStore, psql):
    job_id = await insert(store)
    await store.reports.write([JobReport(job_id, uuid4(), 1, None, lines(LINES_MAX + 7), trims=False)])
    found = await store.reports.logs(job_id, after=0, limit=LINES_MAX)
    assert (len(found), found[0].number) == (LINES_MAX, 8)
    await store.reports.write([JobReport(job_id, uuid4(), 1, None, lines(1, 5000), trims=True)])
    assert await psql.value("SELECT count(*) FROM logs") <= LINES_MAX + 1
    assert (await store.reports.logs(job_id, after=0, limit=LINES_MAX))[-1].number == 5000
