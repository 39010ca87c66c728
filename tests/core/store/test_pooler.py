"""Through a real PgBouncer, as operators have it: sessions that are shared, and a server that lets nothing be asked for
at the start of a connection."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest
import trio
from uuid_utils.compat import uuid7

from tests.support.invariants import check_rows
from tests.support.pgbouncer import MISSING, MODES, program, run_pgbouncer
from tests.support.rows import open_psql
from tests.support.steps import make_submit
from tests.support.wait import until
from tests.worker.processes import worker_process
from workqueue.core.counters import Counters
from workqueue.core.errors import StoreBusy, StoreRefused
from workqueue.core.job import JobState, RunOutcome
from workqueue.core.job_filter import JobFilter, StatusFilter
from workqueue.core.options import DEFAULTS, JobOptions
from workqueue.core.steps.piggyback import Piggyback
from workqueue.core.store import Finish, JobStore, NewJob, Requeue, migrate, open_store
from workqueue.core.store.connecting import connect, target
from workqueue.core.store.jobs import Checkpoint, Counter
from workqueue.core.wire import Submission

pytestmark = pytest.mark.skipif(program() is None, reason=MISSING)

Q = "q"


@pytest.fixture(params=MODES)
async def pooled_dsn(request: pytest.FixtureRequest, postgres_dsn: str) -> AsyncIterator[str]:
    async with run_pgbouncer(postgres_dsn, request.param) as dsn:
        yield dsn


@pytest.fixture
async def pooled(bridge, pooled_dsn, database_schema) -> AsyncIterator[JobStore]:
    """The rows behind the pooler, migrated through it."""
    assert len(await migrate(bridge, pooled_dsn, database_schema)) > 3
    assert await migrate(bridge, pooled_dsn, database_schema) == []
    async with open_store(bridge, pooled_dsn, database_schema) as store:
        yield store


@pytest.fixture
async def psql(bridge, pooled, postgres_dsn, database_schema):
    async with open_psql(bridge, postgres_dsn, database_schema) as psql:
        yield psql


async def insert(store: JobStore, count: int = 1) -> list[UUID]:
    ids = [uuid7() for _ in range(count)]
    await store.insert(uuid7(), Q, [NewJob(job_id, "x", "{}", JobOptions(3)) for job_id in ids], [])
    return ids


async def claim(store: JobStore, ids: list[UUID], token: UUID, owner: UUID) -> dict[int, Counters]:
    return await store.claim(ids, token, queue=Q, owner=owner, worker="w", earlier=[], done_claims=[])


async def test_many_at_once_find_their_tables_and_their_statements(pooled, psql, database_schema):
    """More tasks than sessions: each transaction may meet another session, in which others have prepared theirs."""

    async def work() -> None:
        for _ in range(5):
            ids = await insert(pooled, 3)
            token, owner = uuid4(), uuid4()
            assert len(await claim(pooled, ids, token, owner)) == 3
            assert await pooled.finish([Finish(ids[0], token, JobState.COMPLETED, RunOutcome.COMPLETED, 0.1, "1")])
            failed = Finish(ids[1], token, JobState.FAILED, RunOutcome.FAILED, 0.1, error="no", traceback="…")
            assert await pooled.finish([failed])
            again = Requeue(ids[2], token, Counter.ATTEMPTS, 5, RunOutcome.FAILED, 0.1, "no")
            assert await pooled.requeue(uuid7(), Q, [again]) == {ids[2]: JobState.PENDING}
            for wanted in (JobFilter(type="x", status=StatusFilter.FAILED), JobFilter(status=StatusFilter.PENDING)):
                await pooled.lists.page(Q, wanted, before=None, limit=3)
            assert (await pooled.get(ids[1])).error_message == "no"
            await pooled.check()

    async with trio.open_nursery() as nursery:
        for _ in range(7):
            nursery.start_soon(work)
    states = {row[0]: row[1] for row in await psql("SELECT state, count(*) FROM {schema}.jobs GROUP BY 1")}
    assert states == {"completed": 35, "failed": 35, "pending": 35}
    assert await psql("SELECT 1 FROM pg_tables WHERE schemaname = 'public'") == [], "none has landed elsewhere"
    with pytest.raises(StoreRefused):
        await pooled.insert(uuid7(), Q, [NewJob(uuid7(), "x", "\0", DEFAULTS)], [])


async def test_what_waits_for_a_lock_gives_up_in_time(pooled, psql):
    [job_id] = await insert(pooled)
    owner = uuid4()
    [other] = await insert(pooled)
    await claim(pooled, [other], uuid4(), owner)
    await pooled.insert_once(
        uuid7(), Q, [NewJob(keyed := uuid7(), "x", "{}", DEFAULTS)], [(b"k", b"b")], [], ttl_seconds=60
    )
    await psql("BEGIN")
    await psql("SELECT * FROM jobs FOR UPDATE")
    await psql("INSERT INTO idempotency VALUES ($1, $2, $2, $3, now())", Q, b"new", uuid7())
    row, keys = NewJob(uuid7(), "x", "{}", DEFAULTS), [(b"new", b"b")]
    calls = [
        partial(pooled.refuse, [job_id], uuid7(), "no"),
        partial(pooled.recover, owner, Q, uuid7(), blameless=False, started=[], max_recoveries=3),
        partial(pooled.join, Q, [(b"k", b"b")]),
        partial(pooled.insert_once, uuid7(), Q, [row], keys, [], ttl_seconds=60),
    ]
    outcomes: list[float] = []

    async def give_up(call) -> None:
        begun = trio.current_time()
        with pytest.raises(StoreBusy):
            await call()
        outcomes.append(trio.current_time() - begun)

    for call in calls:
        await give_up(call)
    assert all(seconds > 1.5 for seconds in outcomes)
    await psql("ROLLBACK")
    assert await pooled.refuse([job_id], uuid7(), "no") == {job_id}
    assert keyed


async def test_nothing_of_ours_is_left_in_a_session(bridge, pooled, pooled_dsn):
    await insert(pooled)
    known = await pooled.read_checkpoint(Q)
    await pooled.outbox_lost(Q, known, "run", -1)
    assert await pooled.pending(Q, after=UUID(int=0), limit=10, before_ms=known.now_ms + 10**6)
    assert isinstance(known, Checkpoint)

    async def settings() -> list[object]:
        connection = await asyncpg.connect(pooled_dsn, statement_cache_size=0)
        names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "jit", "search_path")
        try:
            found: list[object] = [await connection.fetchval(f"SHOW {name}") for name in names]
            found.append(await connection.fetchval("SELECT count(*) FROM pg_prepared_statements WHERE name <> ''"))
            found.append(await connection.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"))
            return found
        finally:
            await connection.close()

    for _ in range(5):
        assert await bridge.run(settings) == ["0", "0", "0", "on", '"$user", public', 0, 0]


async def test_a_session_of_our_own_is_told_from_one_that_is_shared(bridge, pooled_dsn, postgres_dsn):
    async def prepares(dsn: str) -> tuple[bool, str, str]:
        connection = await connect(target(dsn))
        try:
            return (
                connection.prepares,
                await connection.fetchval("SHOW lock_timeout"),
                await connection.fetchval("SHOW application_name"),
            )
        finally:
            connection.terminate()

    assert await bridge.run(prepares, pooled_dsn) == (False, "0", "workqueue")
    assert await bridge.run(prepares, postgres_dsn) == (True, "2s", "workqueue")


async def test_a_worker_behind_it_does_its_jobs(
    nursery, tmp_path: Path, pooled_dsn, pooled, psql, queue, redis_url, database_schema
):
    await make_submit(queue, pooled, Piggyback()).run_batch([Submission("quick", b"{}")] * 200)
    variables = {"REDIS_URL": redis_url, "QUEUE_NAME": queue.name, "DATABASE_URL": pooled_dsn,
                 "DATABASE_SCHEMA": database_schema, "WORKER_CONCURRENCY": "20"}  # fmt: skip
    async with worker_process(nursery, tmp_path / "ledger", **variables) as worker:

        async def all_are_done() -> bool:
            return await psql.value("SELECT count(*) FROM jobs WHERE state = 'completed'") == 200

        await until(all_are_done, seconds=30)
        await worker.terminate()
        assert "Traceback" not in worker.said, worker.said
    await check_rows(queue, psql)
