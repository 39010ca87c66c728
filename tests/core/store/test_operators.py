"""What operators do to a database: encodings, rights, tables of others, changes in the middle. It waits and says so."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest
from uuid_utils.compat import uuid7

from tests.support.rows import open_psql
from tests.support.wait import until
from workqueue.core.audit import AuditEntry, all_target, limit_target
from workqueue.core.errors import StoreUnavailable
from workqueue.core.job import Artifact, JobState, RunOutcome
from workqueue.core.job_filter import ActName, JobFilter, StatusFilter
from workqueue.core.limits import Limit
from workqueue.core.options import DEFAULTS
from workqueue.core.report import JobReport, LogLine, Progress
from workqueue.core.schedules import make_schedule
from workqueue.core.stats import FailureSums, Sums, TypeSums
from workqueue.core.store import Finish, Firing, JobStore, NewJob, NewRun, Requeue, migrate, open_store
from workqueue.core.store.jobs import Checkpoint, Counter

Q = "q"
DEPLOYMENT = Path("docs/deployment.md")


def as_user(dsn: str, user: str, *, database: str | None = None) -> str:
    address = urlsplit(dsn)
    path = f"/{database}" if database else address.path
    return f"postgresql://{user}:pw@{address.hostname}:{address.port}{path}"


@pytest.fixture
async def role(bridge, postgres_dsn, database_schema):
    """The name of a role that may nothing but log in."""
    name = f"r_{database_schema}"[:60]
    async with open_psql(bridge, postgres_dsn, "public") as psql:
        await psql(f"CREATE ROLE {name} LOGIN PASSWORD 'pw'")
        yield name
        await psql(f"DROP OWNED BY {name}")
        await psql(f"DROP ROLE {name}")


async def insert(store: JobStore, count: int = 1) -> list[UUID]:
    ids = [uuid7() for _ in range(count)]
    await store.insert(uuid7(), Q, [NewJob(job_id, "x", "{}", DEFAULTS) for job_id in ids], [])
    return ids


async def do_everything(store: JobStore) -> None:
    """Each statement once."""
    ids = await insert(store, 6)
    keyed, key = uuid7(), uuid4().bytes
    assert await store.insert_once(uuid7(), Q, [NewJob(keyed, "x", "{}", DEFAULTS)], [(key, b"b")], [], ttl_seconds=60)
    await store.join(Q, [(key, b"b")])
    await store.free_keys(Q, [key])
    await store.prune_keys(limit=10)
    assert await store.refuse([ids[0]], uuid7(), "no")
    token, owner = uuid4(), uuid4()
    claim: dict[str, Any] = {"queue": Q, "owner": owner, "worker": "w", "earlier": [], "done_claims": []}
    assert len(await store.claim(ids[1:], token, **claim)) == 5
    artifact = Artifact("a", "text/plain", b"x")
    ends = [
        Finish(ids[1], token, JobState.COMPLETED, RunOutcome.COMPLETED, 0.1, "1"),
        Finish(ids[2], token, JobState.COMPLETED, RunOutcome.COMPLETED, 0.1, "1", artifacts=[artifact]),
        Finish(ids[3], token, JobState.FAILED, RunOutcome.FAILED, 0.1, error="no"),
    ]
    assert len(await store.finish(ends)) == 3
    assert await store.requeue(uuid7(), Q, [Requeue(ids[4], token, Counter.ATTEMPTS, 0, RunOutcome.FAILED, 0.1, "no")])
    assert await store.owned(owner)
    assert await store.owners(Q)
    assert await store.recover(owner, Q, uuid7(), blameless=False, started=[], max_recoveries=3)
    await store.adopt([], uuid4(), queue=Q, owner=owner, worker="w")
    taken = await store.take_outbox(Q, age_seconds=0, limit=10)
    await store.waiting(ids, after=None, bytes_max=1000)
    await store.delete_outbox([batch for batch, _, _ in taken], [token])
    known = await store.read_checkpoint(Q)
    assert isinstance(known, Checkpoint)
    await store.outbox_lost(Q, known, "run", -1)
    await store.advance_checkpoint(Q, "run", known)
    await store.pending(Q, after=UUID(int=0), limit=10, before_ms=known.now_ms)
    report = JobReport(ids[0], token, 1, Progress(0.5, ""), [LogLine(1, "x")], trims=True)
    await store.reports.write([report])
    await store.reports.logs(ids[0], after=0, limit=10)
    await store.pauses.change(Q, pause=["x"])
    await store.pauses.outrun(Q, 5)
    await store.limits.put(Q, "type:x", Limit(running=1), AuditEntry("ops", "set limit", limit_target("type:x")))
    await store.limits.declare(Q, {"type:y": Limit(running=1)}, ["y"])
    await store.limits.outrun(Q, await store.limits.version(Q) + 1)
    assert await store.limits.delete(Q, "type:x", AuditEntry("ops", "delete limit", limit_target("type:x")))
    failures = {("x", "E"): FailureSums(1, 1, ids[0])}
    await store.stats.add(Q, uuid4(), 1, Sums({"x": TypeSums(1)}, failures), age_seconds=0)
    await store.stats.read(Q, span=60, since_seconds=60, job_type=None)
    await store.stats.failures(Q, span=60, since_seconds=60, job_type=None, limit=1)
    await store.stats.now()
    await store.stats.prune(limit=1)
    definition = make_schedule("s", {"every": 60, "type": "x", "overlap": "wait"})
    now = await store.schedules.now()
    await store.schedules.put(Q, "api", [(definition, now)], AuditEntry("ops", "put schedule", all_target()))
    await store.schedules.declare(Q, b"h", ["x"], silent_seconds=60)
    assert await store.schedules.leave(Q, silent_seconds=60) == []
    [schedule] = await store.schedules.due(Q, limit=10)
    run = NewRun(uuid7(), schedule.next_at, DEFAULTS)
    firing = Firing("s", schedule.version, schedule.next_at, schedule.next_at, [run])
    assert await store.schedules.fire(Q, uuid7(), [firing], far_seconds=60) == {"s": 1}
    assert await store.schedules.pause(Q, schedule, "by a person")
    [schedule] = await store.schedules.page(Q, after="", limit=10)
    assert await store.schedules.resume(Q, schedule, now)
    assert await store.schedules.get(Q, ["s"])
    assert await store.schedules.delete(Q, "s")
    for act in ActName:
        await store.actions.count(Q, act, JobFilter())
        await store.actions.insert(action_id := uuid7(), Q, act, JobFilter(ids=(uuid4(),)), 0)
        action = await store.actions.get(Q, action_id)
        assert action is not None
        assert await store.actions.act_on_piece(action, uuid7(), Q, look=10, limit=10) == {}
    assert await store.actions.next(Q) is None
    assert len(await store.actions.newest(Q, limit=10)) >= len(ActName)
    await store.actions.stop(Q, action_id)
    await store.actions.prune(keep_seconds=60, limit=10)
    audit = await store.audit.begin(Q, AuditEntry("ops", "dead delete", all_target()))
    await store.audit.end(audit, 1)
    assert [(row.act, row.count) for row in await store.audit.page(Q, before=None, limit=1)] == [("dead delete", 1)]
    await store.audit.prune(keep_seconds=60, limit=10)
    for status in (None, *StatusFilter):
        await store.lists.page(Q, JobFilter(status=status), before=None, limit=3)
        await store.lists.count(Q, JobFilter(status=status))
    assert (await store.changes.since(Q, None, max_seconds=60, limit=3)).more
    assert set(await store.changes.watched(ids)) == set(ids)
    await store.get_status(ids)
    await store.get(ids[0])
    await store.runs(ids[3])
    await store.artifacts(ids[2])
    await store.artifact(ids[2], None)
    await store.cancel(Q, ids)
    await store.cancelled(ids)
    await store.run_now(uuid7(), Q, ids)
    assert (await store.retry(uuid7(), Q, [ids[3]]))[ids[3]].changed
    assert (await store.delete(Q, [ids[1]]))[ids[1]].changed
    await store.prune_deleted(keep_seconds=0, limit=10)
    await store.installation()
    await store.check()
    await store.check_fitness()


def rights(heading: str) -> list[str]:
    """The statements of the block of SQL under a line of docs/deployment.md."""
    text = DEPLOYMENT.read_text("utf-8").partition(heading)[2]
    block = re.search(r"```sql\n(.*?)```", text, re.DOTALL)
    assert block, f"there is no block under {heading!r}"
    return [statement.strip() for statement in block[1].split(";") if statement.strip()]


async def grant(psql, heading: str, role: str, schema: str) -> None:
    for statement in rights(heading):
        given = re.sub(r"\bworkqueue_(app|owner)\b", role, statement)
        await psql(re.sub(r"\bworkqueue\b", schema, given).replace("DATABASE jobs", "DATABASE postgres"))


async def test_the_rights_that_are_listed_are_enough_to_run(bridge, store, psql, role, postgres_dsn, database_schema):
    dsn = as_user(postgres_dsn, role)
    async with open_store(bridge, dsn, database_schema) as ours:
        with pytest.raises(StoreUnavailable, match=r"permission denied for schema.*grant it"):
            await insert(ours)
        await grant(psql, "To run, where the tables are there", role, database_schema)
        assert await migrate(bridge, dsn, database_schema) == [], "it may not migrate, and need not"
        await do_everything(ours)


async def test_each_right_that_is_listed_is_needed_and_named_where_it_is_missing(
    bridge, store, psql, role, postgres_dsn, database_schema
):
    await grant(psql, "To run, where the tables are there", role, database_schema)
    async with open_store(bridge, as_user(postgres_dsn, role), database_schema) as ours:
        for table, right in [("claimed", "INSERT"), ("runs", "SELECT"), ("installation", "SELECT")]:
            await psql(f"REVOKE {right} ON {database_schema}.{table} FROM {role}")
            await ours.check()
            with pytest.raises(StoreUnavailable, match=f"lacks rights.*: {right} on {table}. Grant"):
                await ours.check_fitness()
            with pytest.raises(StoreUnavailable, match=f"permission denied for table {table}"):
                await do_everything(ours)
            await psql(f"GRANT {right} ON {database_schema}.{table} TO {role}")
            await ours.check()


async def test_the_rights_that_are_listed_are_enough_to_migrate(bridge, postgres_dsn, database_schema, role):
    dsn = as_user(postgres_dsn, role)
    with pytest.raises(StoreUnavailable, match="permission denied for database"):
        await migrate(bridge, dsn, database_schema)
    async with open_psql(bridge, postgres_dsn, "public") as psql:
        await grant(psql, "To migrate", role, database_schema)
        assert len(await migrate(bridge, dsn, database_schema)) > 3
        async with open_store(bridge, dsn, database_schema) as store:
            await do_everything(store)


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
async def test_a_database_that_cannot_hold_every_text_is_refused_and_nothing_is_written(
    bridge, postgres_dsn, database_schema, encoding
):
    name = f"db_{database_schema}"[:60]
    dsn = urlsplit(postgres_dsn)._replace(path=f"/{name}").geturl()
    async with open_psql(bridge, postgres_dsn, "public") as psql:
        await psql(f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
        with pytest.raises(StoreUnavailable, match=f"encoding {encoding}.*Make one with UTF8"):
            await migrate(bridge, dsn, database_schema)
        async with open_store(bridge, dsn, database_schema) as store:
            with pytest.raises(StoreUnavailable, match=f"encoding {encoding}"):
                await store.check()
            with pytest.raises(StoreUnavailable, match=f"encoding {encoding}"):
                await insert(store)
        async with open_psql(bridge, dsn, "public") as there:
            assert await there("SELECT 1 FROM pg_namespace WHERE nspname = $1", database_schema) == []
        await psql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize(
    ("made", "kind"),
    [("CREATE VIEW {schema}.jobs AS SELECT 1 AS id", "view"), ("CREATE TABLE {schema}.jobs (id serial)", "table"),
     ("CREATE MATERIALIZED VIEW {schema}.runs AS SELECT 1 AS id", "materialized view")],
)  # fmt: skip
async def test_what_has_our_names_in_the_schema_is_one_sentence(bridge, postgres_dsn, database_schema, made, kind):
    async with open_psql(bridge, postgres_dsn, database_schema) as psql:
        await psql(f"CREATE SCHEMA {database_schema}")
        await psql(made)
        with pytest.raises(StoreUnavailable, match=f"has a {kind} named (jobs|runs) that is none of ours: rename it"):
            await migrate(bridge, postgres_dsn, database_schema)
        assert (
            await psql("SELECT 1 FROM pg_tables WHERE schemaname = $1 AND tablename = 'claimed'", database_schema) == []
        )


async def test_a_view_in_the_place_of_our_table_is_one_sentence(store, psql):
    await psql("ALTER TABLE jobs RENAME TO jobs_before")
    await psql("CREATE VIEW jobs AS SELECT id, queue, state FROM jobs_before")
    with pytest.raises(StoreUnavailable, match=r"jobs in the schema .* is a view and no table of ours: put"):
        await store.check()
    with pytest.raises(StoreUnavailable):
        await insert(store)


@pytest.mark.parametrize(
    ("broken", "mended", "says"),
    [
        ("ALTER TABLE runs RENAME TO gone", "ALTER TABLE gone RENAME TO runs", "missing in the schema .*: runs"),
        ("ALTER TABLE jobs RENAME COLUMN worker TO gone", "ALTER TABLE jobs RENAME COLUMN gone TO worker", "worker"),
        ("ALTER TABLE outbox ADD COLUMN tenant int NOT NULL", "ALTER TABLE outbox DROP COLUMN tenant", "tenant"),
        (
            "CREATE FUNCTION {schema}.no() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'trigger says no'; END$$",
            "DROP FUNCTION {schema}.no() CASCADE",
            "trigger says no .SQLSTATE P0001.",
        ),
    ],
)
async def test_what_a_person_breaks_waits_says_so_and_works_again_when_it_is_mended(store, psql, broken, mended, says):
    await do_everything(store)
    await psql("DELETE FROM outbox")
    await psql(broken)
    if "FUNCTION" in broken:
        await psql("CREATE TRIGGER no BEFORE INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION {schema}.no()")
    with pytest.raises(StoreUnavailable):
        await do_everything(store)
    await store.check()
    with pytest.raises(StoreUnavailable, match=says):
        await store.check_fitness()
    await psql(mended)
    await do_everything(store)


async def test_a_password_that_is_changed_waits_and_works_again(bridge, store, psql, role, postgres_dsn,
                                                                  database_schema):  # fmt: skip
    await grant(psql, "To run, where the tables are there", role, database_schema)
    async with open_store(bridge, as_user(postgres_dsn, role), database_schema) as ours:
        await insert(ours)
        await psql(f"ALTER ROLE {role} PASSWORD 'another'")
        await psql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'")

        async def is_denied() -> bool:
            try:
                await insert(ours)
            except StoreUnavailable as error:
                return "password authentication failed" in str(error)
            return False

        await until(is_denied)
        await psql(f"ALTER ROLE {role} PASSWORD 'pw'")
        await insert(ours)
