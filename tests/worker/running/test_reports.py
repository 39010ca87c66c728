"""What running jobs tell, stored by a real worker: coroutines, threads, many lines, an outage."""

import threading
import time
from functools import partial

import pytest
import trio

from tests.support.wait import until, until_true
from workqueue.core.errors import StoreUnavailable
from workqueue.core.handlers import Registry
from workqueue.core.job import Job, JobState
from workqueue.core.report import LINES_MAX
from workqueue.core.store import JobStore
from workqueue.core.store.reports import ReportStore


@pytest.fixture
def rows(store: JobStore) -> JobStore:
    """Of the workers here."""
    return store


async def texts(store: JobStore, job_id) -> list[str]:
    return [line.text for line in await store.reports.logs(job_id, after=0, limit=LINES_MAX)]


async def has_logged(store: JobStore, job_id, *wanted: str) -> bool:
    return await texts(store, job_id) == [*wanted]


async def test_progress_and_lines_are_seen_while_the_job_runs_and_after_its_end(
    run_worker, submit, registry: Registry, store: JobStore
):
    goes_on = trio.Event()

    @registry.handler("import")
    async def run(job: Job) -> object:
        job.log("page 1")
        job.progress(0.5, "page 1 of 2")
        await goes_on.wait()
        job.log("page 2\0\ud800")
        job.progress(1)
        return "done"

    [job_id] = await submit("import")
    async with run_worker():
        await until(partial(has_logged, store, job_id, "page 1"), seconds=30)
        row = await store.get(job_id)
        assert row is not None
        assert row.progress is not None
        assert (row.state, row.progress.fraction, row.progress.text) == ("processing", 0.5, "page 1 of 2")
        goes_on.set()
        await until(partial(has_logged, store, job_id, "page 1", "page 2\N{REPLACEMENT CHARACTER}?"), seconds=30)
    row = await store.get(job_id)
    assert row is not None
    assert row.progress is not None
    assert (row.state, row.progress.fraction, row.progress.text) == ("completed", 1.0, "")


async def test_what_a_job_says_last_is_stored_at_a_stop(run_worker, submit, registry: Registry, store: JobStore):
    @registry.handler("says")
    def says(job: Job) -> object:
        for number in range(5000):
            job.log(str(number))
        return None

    [job_id] = await submit("says")
    async with run_worker() as worker:
        await until_true(lambda: worker.counts.done == 1)
    assert await texts(store, job_id) == [str(number) for number in range(4000, 5000)]


async def test_the_lines_of_earlier_runs_stay_and_the_oldest_go(
    run_worker, submit, registry: Registry, store: JobStore, psql
):
    @registry.handler("fails")
    async def fails(job: Job) -> object:
        for number in range(400):
            job.log(f"{job.attempt}.{number}")
        await trio.sleep(0.5)
        raise ValueError("no")

    [job_id] = await submit("fails", retries=3)
    async with run_worker(retry_base_seconds=0.0) as worker:
        await until_true(lambda: worker.counts.failed == 1, seconds=60)
    lines = await store.reports.logs(job_id, after=0, limit=LINES_MAX)
    assert len(lines) == LINES_MAX
    assert [lines[0].text, lines[-1].text] == ["2.200", "4.399"]
    assert {line.run for line in lines} == {2, 3, 4}
    assert await psql.value("SELECT count(*) FROM logs") <= LINES_MAX + LINES_MAX // 2
    assert [line.number for line in lines] == sorted({line.number for line in lines})


async def test_a_new_run_has_no_progress_yet(run_worker, submit, registry: Registry, store: JobStore):
    again = trio.Event()

    @registry.handler("twice")
    async def twice(job: Job) -> object:
        if job.attempt == 1:
            job.progress(0.9)
            await trio.sleep(0.7)
            raise ValueError("no")
        again.set()
        await trio.sleep_forever()
        return None

    [job_id] = await submit("twice", retries=1)
    async with run_worker(retry_base_seconds=0.0, shutdown_grace=0.0):
        await again.wait()
        row = await store.get(job_id)
        assert row is not None
        assert row.progress is None


async def test_a_thread_that_outlives_its_job_tells_nobody(run_worker, submit, registry: Registry, store: JobStore):
    end = threading.Event()

    @registry.handler("thread", timeout=0.5)
    def thread(job: Job) -> object:
        job.log("begins")
        end.wait(30)
        job.log("too late")
        return None

    [job_id] = await submit("thread")
    async with run_worker() as worker:
        await until_true(lambda: worker.counts.failed == 1, seconds=30)
        await trio.sleep(1)
        end.set()
        await until_true(lambda: worker.consumers.threads_left == 0, seconds=30)
        await trio.sleep(0.5)
        assert worker._reports._open == []
    assert await texts(store, job_id) == ["begins"]


async def test_an_outage_of_postgres_loses_no_line(
    run_worker, submit, registry: Registry, store: JobStore, monkeypatch: pytest.MonkeyPatch
):
    write, is_away = ReportStore.write, True

    async def refused(self: ReportStore, reports: object) -> None:
        if is_away:
            raise StoreUnavailable("Postgres: away")
        await write(self, reports)  # type: ignore[arg-type]

    monkeypatch.setattr(ReportStore, "write", refused)
    said = trio.Event()

    @registry.handler("says")
    async def says(job: Job) -> object:
        for number in range(10):
            job.log(str(number))
            await trio.sleep(0.05)
        said.set()
        return None

    [job_id] = await submit("says")
    async with run_worker():
        await said.wait()
        await trio.sleep(0.5)
        is_away = False
        await until(partial(has_logged, store, job_id, *map(str, range(10))), seconds=30)


async def test_deleting_a_job_deletes_what_it_told(
    run_worker, submit, registry: Registry, store: JobStore, queue, psql
):
    @registry.handler("says")
    def says(job: Job) -> object:
        job.log("hello")
        job.progress(0.1)
        time.sleep(0.01)
        return None

    ids = await submit("says", 2)
    async with run_worker() as worker:
        await until_true(lambda: worker.counts.done == 2)
    assert await psql.value("SELECT count(*) FROM logs") == 2
    await store.delete(queue.name, ids[:1])
    assert await psql("SELECT job_id FROM logs") == [(ids[1],)]
    await psql("UPDATE jobs SET created_at = '2020-01-01Z', finished_at = '2020-01-01Z'")
    await store.delete_ended(queue.name, JobState.COMPLETED, keep_seconds=60, after=None, limit=10)
    for table in ("jobs", "logs", "progress"):
        assert await psql.value(f"SELECT count(*) FROM {table}") == 0, table
