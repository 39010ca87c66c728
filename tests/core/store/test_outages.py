"""Which errors are an outage, which ask to be repeated, which refuse one value, and which are a bug."""

import contextlib
from functools import partial
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import trio
from uuid_utils.compat import uuid7

from tests.support.proxy import Proxy, through
from tests.support.wait import until
from workqueue.core.errors import StoreBusy, StoreRefused, StoreUnavailable
from workqueue.core.job import JobState, RunOutcome
from workqueue.core.options import DEFAULTS, JobOptions
from workqueue.core.store import Finish, NewJob, open_store
from workqueue.core.store.outages import outage
from workqueue.services.local.process import free_port

Q = "q"


async def insert(store, **instead):
    job: dict[str, Any] = {"type": "x", "payload": "{}", "retries": 0} | instead
    job_id = uuid7()
    await store.insert(uuid7(), Q, [NewJob(job_id, job["type"], job["payload"], JobOptions(job["retries"]))], [])
    return job_id


@pytest.mark.parametrize(
    "value", [{"payload": '{"a":"\0"}'}, {"type": "\ud800"}, {"retries": 2**31}, {"retries": 2**70}, {"retries": -1}]
)
async def test_a_value_that_cannot_be_stored_is_refused_and_nothing_is_done(store, psql, value):
    with pytest.raises(StoreRefused):
        await insert(store, **value)
    assert await psql("SELECT * FROM jobs") == []
    assert await psql("SELECT * FROM outbox") == [], "its mark neither"
    await insert(store)


async def test_the_same_id_twice_is_refused(store):
    job = NewJob(uuid7(), "x", "{}", DEFAULTS)
    await store.insert(uuid7(), Q, [job], [])
    with pytest.raises(StoreRefused):
        await store.insert(uuid7(), Q, [job], [])


async def test_a_connection_that_an_operator_ends_is_an_outage_and_the_next_one_works(store, psql):
    await insert(store)
    await psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'workqueue'"
               " AND pid <> pg_backend_pid()")  # fmt: skip

    async def works() -> bool:
        try:
            await insert(store)
        except StoreUnavailable:
            return False
        return True

    await until(works)


async def test_a_statement_that_an_operator_cancels_is_an_outage(store, psql):
    job_id = await insert(store)
    await psql("BEGIN")
    await psql("SELECT * FROM jobs FOR UPDATE")
    outcomes: list[Exception] = []

    async def refuse() -> None:
        try:
            await store.refuse([job_id], uuid7(), "no")
        except StoreUnavailable as error:
            outcomes.append(error)

    async def cancelled() -> bool:
        await psql("SELECT pg_stat_clear_snapshot()")  # or this transaction would always see the same
        waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%cancelled%'"
        return bool(await psql(f"SELECT pg_cancel_backend(pid) FROM ({waiting}) AS waiting"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(refuse)
        await until(cancelled)
    assert type(outcomes[0]) is StoreUnavailable
    await psql("ROLLBACK")


async def test_a_server_that_only_reads_is_an_outage_that_says_what_to_do(bridge, store, postgres_dsn, database_schema):
    reading = f"{postgres_dsn}?options=-c%20default_transaction_read_only=on"
    async with open_store(bridge, reading, database_schema) as reader:
        with pytest.raises(StoreUnavailable, match="read-only; point DATABASE_URL to its primary"):
            await reader.check()
        with pytest.raises(StoreUnavailable, match="read-only transaction"):
            await insert(reader)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda dsn: dsn.rpartition("/")[0] + "/nodb", "does not exist"),
        (lambda dsn: f"postgresql://nobody:wrong@{dsn.rpartition('@')[2]}", "password authentication failed"),
        (lambda dsn: f"postgresql://u:p@127.0.0.1:{free_port()}/d", "Connect call failed|refused"),
        (lambda dsn: f"{dsn}?options=-c%20no_such_option=1", "no_such_option"),
    ],
)
async def test_a_database_that_does_not_take_us_is_an_outage(bridge, store, postgres_dsn, wrong, says):
    async with open_store(bridge, wrong(postgres_dsn), "workqueue") as other:
        with pytest.raises(StoreUnavailable, match=says):
            await other.check()


async def test_a_database_that_hangs_costs_a_bounded_time_and_is_used_again(bridge, store, postgres, postgres_dsn,
                                                                            database_schema, nursery):  # fmt: skip
    proxy = Proxy(postgres.port)
    await nursery.start(proxy.run)
    async with open_store(bridge, through(postgres_dsn, proxy), database_schema) as far:
        await insert(far)
        proxy.black_hole()
        begun = trio.current_time()
        with pytest.raises(StoreUnavailable):
            await far.check()  # 3 s
        assert trio.current_time() - begun < 30
        proxy.heal()
        await until(partial(_answers, far))


async def test_a_statement_that_is_cancelled_while_the_database_hangs_ends_soon(bridge, store, postgres, postgres_dsn,
                                                                               database_schema, nursery):  # fmt: skip
    # A worker that stops must not wait for it, and its connections must not be used up.
    proxy = Proxy(postgres.port)
    await nursery.start(proxy.run)
    async with open_store(bridge, through(postgres_dsn, proxy), database_schema) as far:
        await far.get_status([uuid4()])
        proxy.black_hole()
        begun = trio.current_time()
        with trio.move_on_after(0.2), contextlib.suppress(StoreUnavailable):
            await far.get_status([uuid4()])
        assert trio.current_time() - begun < 4.5
        proxy.heal()
        await until(partial(_answers, far))


async def _answers(store) -> bool:
    try:
        await store.get_status([uuid4()])
    except StoreUnavailable:
        return False
    return True


async def test_a_deadlock_asks_to_be_repeated():
    assert type(outage(asyncpg.DeadlockDetectedError("deadlock detected"))) is StoreBusy
    assert type(outage(asyncpg.LockNotAvailableError("canceling statement due to lock timeout"))) is StoreBusy
    assert type(outage(asyncpg.SerializationError("could not serialize access"))) is StoreBusy


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"),
        asyncpg.TooManyConnectionsError("sorry, too many clients already"),
        asyncpg.DiskFullError("could not extend file"),
        asyncpg.AdminShutdownError("terminating connection due to administrator command"),
        asyncpg.CannotConnectNowError("the database system is starting up"),
        asyncpg.CrashShutdownError("terminating connection because of crash of another server process"),
        asyncpg.QueryCanceledError("canceling statement due to statement timeout"),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.UndefinedTableError('relation "jobs" does not exist'),
        asyncpg.UndefinedFunctionError("function gen_random_uuid() does not exist"),
        asyncpg.WrongObjectTypeError('"jobs" is not a table'),
        asyncpg.DatatypeMismatchError('column "id" is of type text but expression is of type uuid'),
        asyncpg.NotNullViolationError('null value in column "tenant" violates not-null constraint'),
        asyncpg.ForeignKeyViolationError('insert violates foreign key constraint "somebodys"'),
        asyncpg.RaiseError("a trigger of the operator says no"),
        asyncpg.ExternalRoutineError("unforeseen"),
        asyncpg.InvalidSQLStatementNameError('prepared statement "__asyncpg_stmt_1__" does not exist'),
        asyncpg.PostgresError("of a class that asyncpg does not know"),
        ConnectionRefusedError(111, "refused"),
        TimeoutError(),
    ],
)
def test_what_passes_by_itself_or_an_operator_mends_is_an_outage(error):
    failure = outage(error)
    assert type(failure) is StoreUnavailable
    assert len(str(failure)) > len("Postgres: ")
    assert "Error" not in str(failure), "a sentence, and no name of a class"


def test_a_bug_of_ours_is_none():
    assert outage(asyncpg.PostgresSyntaxError("syntax error")) is None
    assert outage(asyncpg.AmbiguousColumnError("which one?")) is None
    assert outage(KeyError("a bug")) is None


async def test_nothing_of_a_statement_without_an_answer_is_left_locked(bridge, store, psql, postgres, postgres_dsn,
                                                                       database_schema, nursery):  # fmt: skip
    # A worker whose network goes away in the middle: the next one must not wait for it.
    proxy = Proxy(postgres.port)
    await nursery.start(proxy.run)
    job_id, token = await insert(store), uuid4()
    await store.claim([job_id], token, queue=Q, owner=uuid4(), worker="w", earlier=[], done_claims=[])
    ending = Finish(job_id, token, JobState.COMPLETED, RunOutcome.COMPLETED, 1, "1")
    async with open_store(bridge, through(postgres_dsn, proxy), database_schema) as far:
        await far.finish([Finish(uuid4(), token, JobState.COMPLETED, RunOutcome.COMPLETED, 1)])  # prepared
        proxy.swallow_replies()
        nursery.start_soon(partial(_finish, far, ending))
        await proxy.replies_swallowed.wait()

        async def completed() -> bool:
            return (await store.get_status([job_id]))[job_id].state == "completed"

        await until(completed)
        with trio.fail_after(1):
            await psql("SELECT * FROM jobs FOR UPDATE NOWAIT")
        proxy.heal()


async def _finish(store, ending) -> None:
    with pytest.raises(StoreUnavailable):
        await store.finish([ending])
