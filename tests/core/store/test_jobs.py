"""The statements, on a real Postgres."""

from functools import partial
from uuid import UUID, uuid4

import pytest
import trio
from uuid_utils.compat import uuid7

from tests.support.wait import until
from workqueue.core.counters import Counters
from workqueue.core.errors import StoreBusy, StoreRefused
from workqueue.core.job import TRANSITIONS, Artifact, JobState, RunOutcome
from workqueue.core.job_filter import JobFilter, StatusFilter
from workqueue.core.options import DEFAULTS, JobOptions
from workqueue.core.store import Finish, JobPage, NewJob, Requeue, sql
from workqueue.core.store.clean import clean
from workqueue.core.store.jobs import ERROR_LENGTH_MAX, TRACEBACK_LENGTH_MAX, Counter
from workqueue.core.wire import Task

Q = "q"
OWNER = uuid4()


async def insert(store, count: int = 1, **fields: object) -> list[UUID]:
    ids = sorted(uuid7() for _ in range(count))
    await store.insert(uuid7(), Q, [NewJob(job_id, "x", '{"n":1}', JobOptions(3)) for job_id in ids], [])
    return ids


async def claim(store, ids, token=None, earlier=(), done=()) -> dict[UUID, Counters]:
    taken = await store.claim(
        ids, token or uuid4(), queue=Q, owner=OWNER, worker="w", earlier=list(earlier), done_claims=list(done)
    )
    return {UUID(int=key): counters for key, counters in taken.items()}


async def finish(store, endings, done=()) -> set[UUID]:
    return {UUID(int=key) for key in await store.finish(endings, done)}


@pytest.mark.parametrize("state", JobState)
async def test_a_claim_takes_exactly_the_states_of_the_table(store, psql, state):
    [job_id] = await insert(store)
    await psql("UPDATE jobs SET state = $2, token = gen_random_uuid() WHERE id = $1", job_id, state)
    assert (job_id in await claim(store, [job_id])) == (JobState.PROCESSING in TRANSITIONS[state])


@pytest.mark.parametrize("state", JobState)
@pytest.mark.parametrize("end", [JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED])
async def test_a_job_ends_only_out_of_the_states_of_the_table_in_which_a_worker_has_it(store, psql, state, end):
    # Every other way into an end is a person's or the relay's, and has a statement of its own.
    [job_id], token = await insert(store), uuid4()
    await psql("UPDATE jobs SET state = $2, token = $3 WHERE id = $1", job_id, state, token)
    done = await finish(store, [Finish(job_id, token, end, RunOutcome.FAILED, 1.0, None, "E")])
    assert (job_id in done) == (state is JobState.PROCESSING)
    assert end in TRANSITIONS[JobState.PROCESSING]
    assert (await store.get_status([job_id]))[job_id].state == (end if done else state)


@pytest.mark.parametrize("state", JobState)
@pytest.mark.parametrize("counter", Counter)
async def test_only_a_job_that_is_processing_goes_back(store, psql, state, counter):
    [job_id], token, entry = await insert(store), uuid4(), uuid7()
    await psql("UPDATE jobs SET state = $2, token = $3 WHERE id = $1", job_id, state, token)
    back = await store.requeue(entry, Q, [Requeue(job_id, token, counter, 0, RunOutcome.FAILED, 1.0, "E")])
    assert back == ({job_id: JobState.PENDING} if state is JobState.PROCESSING else {})
    assert len(await psql("SELECT * FROM outbox WHERE batch = $1", entry)) == len(back)
    assert len(await store.runs(job_id)) == len(back)


@pytest.mark.parametrize("state", JobState)
async def test_only_a_job_that_is_pending_is_refused(store, psql, state):
    [job_id] = await insert(store)
    await psql("UPDATE jobs SET state = $2, token = gen_random_uuid() WHERE id = $1", job_id, state)
    refused = await store.refuse([job_id], uuid7(), "no")
    assert (job_id in refused) == (state in {JobState.PENDING, JobState.CANCELLED})
    assert JobState.CANCELLED in TRANSITIONS[JobState.PENDING]
    expected = JobState.CANCELLED if refused else state
    assert (await store.get_status([job_id]))[job_id].state == expected


async def test_a_claim_is_noted_in_its_own_statement(store, psql):
    ids = await insert(store, 3)
    token = uuid4()
    assert set(await claim(store, ids, token)) == set(ids)
    [noted] = await psql("SELECT * FROM claimed")
    assert (noted["token"], noted["owner"], set(noted["ids"])) == (token, OWNER, set(ids))
    assert await store.owned(OWNER) == {token: set(ids)}
    await claim(store, [], done=[token])
    assert await psql("SELECT * FROM claimed") == []


async def test_a_repeated_claim_takes_over_what_an_earlier_send_got_and_a_late_send_gets_nothing(store):
    ids = await insert(store, 2)
    first, second = uuid4(), uuid4()
    await claim(store, ids, first)  # its answer is lost
    assert set(await claim(store, ids, second, earlier=[first])) == set(ids)
    assert await claim(store, ids, first) == {}, "the first send arrives once more"
    assert await claim(store, ids, uuid4()) == {}, "and so does a stranger"


async def test_what_is_not_due_stays(store, psql):
    [early, due] = await insert(store, 2)
    await psql("UPDATE jobs SET run_at = now() + interval '1 hour' WHERE id = $1", early)
    await psql("UPDATE jobs SET run_at = now() - interval '1 ms' WHERE id = $1", due)
    assert set(await claim(store, [early, due])) == {due}
    assert 3_500_000 < (await store.get_status([early]))[early].delay_ms <= 3_600_000
    assert (await store.get_status([due]))[due].delay_ms == 0


async def test_a_row_that_is_locked_is_skipped_and_the_others_go_on(store, psql):
    ids = await insert(store, 500)
    await psql("BEGIN")
    await psql("SELECT * FROM jobs WHERE id = $1 FOR UPDATE", ids[250])
    token = uuid4()
    assert set(await claim(store, ids, token)) == set(ids) - {ids[250]}
    await psql("ROLLBACK")
    await psql("BEGIN")
    await psql("SELECT * FROM jobs WHERE id = $1 FOR UPDATE", ids[7])
    done = await finish(store, [Finish(i, token, JobState.COMPLETED, RunOutcome.COMPLETED, 0.1, "1") for i in ids[:10]])
    assert done == set(ids[:10]) - {ids[7]}
    assert (await store.get_status([ids[7]]))[ids[7]].state == "processing"
    await psql("ROLLBACK")


async def test_an_external_task_gets_a_row_once(store):
    job_id, token = uuid4(), uuid4()
    task = Task("x", b'{"a" : 1}', JobOptions(5), Counters(2, 1, 1), job_id, b'"more":[1]')
    await store.adopt([(job_id, task)], token, queue=Q, owner=OWNER, worker="w")
    await store.adopt([(job_id, task)], uuid4(), queue=Q, owner=uuid4(), worker="other")
    assert await store.owned(OWNER) == {token: {job_id}}
    assert await claim(store, [job_id], earlier=[token]) == {job_id: Counters(2, 1, 1)}
    row = await store.get(job_id)
    assert (row.payload, row.options.retries, row.worker) == ('{"a" : 1}', 5, "w")


async def test_a_job_with_two_retries_that_fails_three_times(store, psql):
    [job_id] = await insert(store)
    for failures in (1, 2):
        token = uuid4()
        assert await claim(store, [job_id], token) == {job_id: Counters(failures - 1, 0, 0)}
        release = Requeue(
            job_id, token, Counter.ATTEMPTS, 1, RunOutcome.FAILED, 0.5, f"E: {failures}", f"trace {failures}"
        )
        entry = uuid7()
        assert await store.requeue(entry, Q, [release]) == {job_id: JobState.PENDING}
        row = await store.get(job_id)
        assert (row.state, row.attempts, row.error_message) == ("pending", failures, f"E: {failures}")
        assert row.run_at is not None
        assert await psql.value("SELECT ids FROM outbox WHERE batch = $1", entry) == [job_id]
        await store.delete_outbox([entry])
        await trio.sleep(0.005)
    token = uuid4()
    await claim(store, [job_id], token)
    ending = Finish(job_id, token, JobState.FAILED, RunOutcome.FAILED, 0.5, None, "E: 3", "trace 3")
    assert await finish(store, [ending]) == {job_id}
    assert await finish(store, [ending]) == set(), "the second time nothing is done"
    row = await store.get(job_id)
    assert (row.state, row.attempts, row.error_message, row.run_at) == ("failed", 3, "E: 3", None)
    assert row.finished_at is not None
    runs = await store.runs(job_id)
    assert [(run.number, run.outcome, run.error, run.traceback) for run in runs] == [
        (1, "failed", "E: 1", "trace 1"),
        (2, "failed", "E: 2", "trace 2"),
        (3, "failed", "E: 3", "trace 3"),
    ]
    assert all(run.worker == "w" and 0.4 < (run.ended_at - run.started_at).total_seconds() < 0.6 for run in runs)


async def test_an_outcome_under_another_token_changes_nothing(store):
    [job_id] = await insert(store)
    old, new = uuid4(), uuid4()
    await claim(store, [job_id], old)
    await store.requeue(uuid7(), Q, [Requeue(job_id, old, Counter.INTERRUPTIONS, 0, RunOutcome.INTERRUPTED, 1.0)])
    await claim(store, [job_id], new)
    assert await finish(store, [Finish(job_id, old, JobState.COMPLETED, RunOutcome.COMPLETED, 1, "1")]) == set()
    assert await store.requeue(uuid7(), Q, [Requeue(job_id, old, Counter.ATTEMPTS, 0, RunOutcome.FAILED, 1.0)]) == {}
    look = (await store.get_status([job_id]))[job_id]
    assert (look.state, look.token) == ("processing", new)


async def test_what_goes_back_keeps_its_message_and_counts_only_when_it_had_started(store):
    ids = await insert(store, 2)
    token = uuid4()
    await claim(store, ids, token)
    await store.requeue(
        uuid7(),
        Q,
        [
            Requeue(ids[0], token, Counter.INTERRUPTIONS, 0, RunOutcome.INTERRUPTED, 2.0, "its worker stopped"),
            Requeue(ids[1], token, Counter.NONE, 0),
        ],
    )
    started, unstarted = [await store.get(job_id) for job_id in ids]
    assert (started.state, started.interruptions, started.attempts, started.error_message) == ("pending", 1, 0, None)
    assert [run.outcome for run in await store.runs(ids[0])] == ["interrupted"]
    assert (unstarted.state, unstarted.interruptions) == ("pending", 0)
    assert await store.runs(ids[1]) == []


async def test_a_job_that_a_person_wants_to_end_is_cancelled_instead_of_retried(store, psql):
    [job_id] = await insert(store)
    token = uuid4()
    await claim(store, [job_id], token)
    await psql("UPDATE jobs SET cancel_at = now() WHERE id = $1", job_id)
    entry = uuid7()
    assert await store.requeue(
        entry, Q, [Requeue(job_id, token, Counter.ATTEMPTS, 9, RunOutcome.FAILED, 1.0, "E")]
    ) == {job_id: JobState.CANCELLED}
    assert await psql("SELECT * FROM outbox WHERE batch = $1", entry) == []


async def test_artifacts_come_with_the_end_and_only_with_it(store):
    [mine, lost] = await insert(store, 2)
    token = uuid4()
    await claim(store, [mine, lost], token)
    artifacts = [Artifact("b.png", "image/png", b"\0\xff"), Artifact("a.txt", "text/plain", b"x")]
    endings = [
        Finish(mine, token, JobState.COMPLETED, RunOutcome.COMPLETED, 0.1, "null", artifacts=artifacts),
        Finish(lost, uuid4(), JobState.COMPLETED, RunOutcome.COMPLETED, 0.1, "null", artifacts=artifacts),
    ]
    assert await finish(store, endings) == {mine}
    assert [(head.name, head.bytes) for head in await store.artifacts(mine)] == [("a.txt", 1), ("b.png", 2)]
    assert await store.artifact(mine, "b.png") == artifacts[0]
    assert await store.artifact(mine, None) == artifacts[1]
    assert await store.artifact(mine, "no") is None
    assert await store.artifacts(lost) == []


async def test_a_refused_submit_cancels_what_was_never_claimed(store, psql):
    ids, batch = sorted(uuid7() for _ in range(4)), uuid7()
    await store.insert(batch, Q, [NewJob(job_id, "x", "{}", DEFAULTS) for job_id in ids], [])
    await claim(store, [ids[0]])
    await psql("UPDATE jobs SET attempts = 1 WHERE id = $1", ids[1])  # it ran and failed in the meantime
    await psql("UPDATE jobs SET joined = true WHERE id = $1", ids[2])
    assert await store.refuse(ids, batch, "no") == {ids[3]}
    assert await psql.value("SELECT ids FROM outbox WHERE batch = $1", batch) == [ids[2]], "it was promised to run"
    assert await store.refuse(ids, batch, "no") == {ids[3]}, "the second time says the same"
    assert {i: look.state for i, look in (await store.get_status(ids)).items()} == {
        ids[0]: "processing", ids[1]: "pending", ids[2]: "pending", ids[3]: "cancelled",
    }  # fmt: skip


async def test_a_refused_submit_waits_for_a_locked_row_and_says_so(store, psql):
    ids = await insert(store)
    await psql("BEGIN")
    await psql("SELECT * FROM jobs FOR UPDATE")
    with pytest.raises(StoreBusy):
        await store.refuse(ids, uuid7(), "no")
    await psql("ROLLBACK")
    assert await store.refuse(ids, uuid7(), "no") == set(ids)


async def test_a_row_that_is_joined_while_a_refused_submit_waits_for_it_keeps_its_outbox_entry(store, psql):
    # A repeat under the same idempotency key was answered 200: without its entry the job would be pending for ever.
    ids, batch = sorted(uuid7() for _ in range(3)), uuid7()
    await store.insert(batch, Q, [NewJob(job_id, "x", "{}", DEFAULTS) for job_id in ids], [])
    await psql("BEGIN")
    await psql("UPDATE jobs SET joined = true WHERE id = $1", ids[0])
    await psql("UPDATE jobs SET updated_at = now() WHERE id = $1", ids[1])  # the relay came by
    refused: set[UUID] = set()

    async def refuse() -> None:
        refused.update(await store.refuse(ids, batch, "no"))

    async with trio.open_nursery() as producer:
        producer.start_soon(refuse)
        await until(partial(_waits_for_a_lock, psql))
        await psql("COMMIT")
    assert refused == set(ids[1:])
    assert await psql.value("SELECT ids FROM outbox WHERE batch = $1", batch) == [ids[0]]


async def _waits_for_a_lock(psql) -> bool:
    schema = await psql.value("SELECT current_schema()")
    return bool(
        await psql.value(
            "SELECT count(*) FROM pg_locks JOIN pg_class ON pg_class.oid = relation JOIN pg_namespace n"
            " ON n.oid = relnamespace WHERE n.nspname = $1 AND locktype = 'tuple'",
            schema,
        )
    )


async def test_outbox_entries_are_taken_by_one_relay_at_a_time(store, psql):
    ids = await insert(store, 3)
    assert await store.take_outbox(Q, age_seconds=5, limit=20) == []
    await psql("UPDATE outbox SET at = now() - interval '6 s'")
    await psql("UPDATE jobs SET updated_at = now() - interval '1 h'")
    [(batch, taken, is_whole)] = await store.take_outbox(Q, age_seconds=5, limit=20)
    assert set(taken) == set(ids)
    assert is_whole
    assert await store.take_outbox(Q, age_seconds=5, limit=20) == []
    assert await psql.value("SELECT min(now() - updated_at) < interval '1 min' FROM jobs")
    await store.delete_outbox([batch])
    assert await psql("SELECT * FROM outbox") == []


async def test_waiting_jobs_come_in_pieces_of_bytes(store, psql):
    ids = sorted(uuid7() for _ in range(5))
    await store.insert(uuid7(), Q, [NewJob(i, "x", '{"a":"' + "x" * 1000 + '"}', DEFAULTS) for i in ids], [])
    await psql("UPDATE jobs SET run_at = now() + interval '1 h', extra = '\"k\":1' WHERE id = $1", ids[0])
    first = await store.waiting(ids, after=None, bytes_max=1500)
    assert [job_id for job_id, _, _ in first] == ids[:2]
    assert first[0][1] > 3_000_000
    assert first[0][2].extra == b'"k":1'
    rest = await store.waiting(ids, after=ids[1], bytes_max=100_000)
    assert [job_id for job_id, _, _ in rest] == ids[2:]
    assert await store.waiting(ids, after=ids[4], bytes_max=1) == []


async def test_pages_lose_no_row_where_a_thousand_were_made_in_one_microsecond(store, psql):
    ids = await insert(store, 1000)
    await psql("UPDATE jobs SET type = 'y' WHERE id = ANY ($1)", ids[:300])
    seen: list[UUID] = []
    page = JobPage([], None)
    while not seen or page.next:
        page = await store.lists.page(Q, JobFilter(), before=page.next, limit=170)
        seen += [row.id for row in page.rows]
    assert seen == sorted(ids, reverse=True)
    read = partial(store.lists.page, before=None, limit=500)
    page = await read(Q, JobFilter(type="y", status=StatusFilter.PENDING))
    assert (len(page.rows), page.next) == (300, None)
    assert await read(Q, JobFilter(type="y", status=StatusFilter.FAILED)) == JobPage([], None)
    assert await read("other", JobFilter()) == JobPage([], None)


async def test_every_state_is_found_page_by_page(store):
    ids = await insert(store, 12)
    other = uuid7()
    await store.insert(uuid7(), "other", [NewJob(other, "x", "{}", JobOptions(3))], [])
    batch, token = uuid4(), uuid4()
    running, failed, cancelled = ids[2:5], ids[5:7], ids[7:10]
    await claim(store, [*running, *failed], token)
    await store.claim([other], uuid4(), queue="other", owner=OWNER, worker="w", earlier=[], done_claims=[])
    await finish(store, [Finish(job_id, token, JobState.FAILED, RunOutcome.FAILED, 1, None, "E") for job_id in failed])
    assert await store.refuse(cancelled, batch, "refused") == set(cancelled)
    wanted = {
        JobState.PENDING: [*ids[:2], *ids[10:]], JobState.PROCESSING: running, JobState.FAILED: failed,
        JobState.CANCELLED: cancelled, JobState.COMPLETED: [],
    }  # fmt: skip
    for state, expected in wanted.items():
        for job_type in ("x", None):
            assert await pages(store, state, job_type, limit=1) == sorted(expected, reverse=True)
        assert await pages(store, state, "no such type", limit=1) == []


async def pages(store, state, job_type, *, limit) -> list[UUID]:
    seen: list[UUID] = []
    wanted, before = JobFilter(status=StatusFilter(state), type=job_type), None
    while True:
        page = await store.lists.page(Q, wanted, before=before, limit=limit)
        assert {row.state for row in page.rows} <= {state}
        seen += [row.id for row in page.rows]
        if (before := page.next) is None:
            return seen


@pytest.mark.parametrize("state", ["failed", "cancelled"])
async def test_jobs_that_ended_without_a_result_are_found_without_reading_those_that_completed(store, psql, state):
    await psql(
        "INSERT INTO jobs (id, queue, type, payload, retries, state, failed_at, created_at)"
        " SELECT gen_random_uuid(), $1, 'x', '{}', 0, CASE WHEN n % 100 = 0 THEN $2 ELSE 'completed' END,"
        " CASE WHEN n % 100 = 0 THEN now() END, now() - n * interval '1 s' FROM generate_series(1, 20000) n",
        Q, state,
    )  # fmt: skip
    await psql("ANALYZE jobs")
    text, *values = sql.LIST_JOBS.bind(
        queue=Q,
        type=None,
        state=state,
        before_at=None,
        before_id=None,
        limit=50,
        created_after=None,
        payload_max=1,
        error_max=1,
    )
    plan = await psql(f"EXPLAIN {text}", *values)
    assert any("jobs_failed_created" in line[0] for line in plan), plan


async def test_text_that_postgres_cannot_keep_is_cleaned(store):
    [job_id] = await insert(store)
    token = uuid4()
    await claim(store, [job_id], token)
    huge = "t" * 10_000_000
    ending = Finish(job_id, token, JobState.FAILED, RunOutcome.FAILED, 1, None, "E: \0 \ud800 x", huge)
    assert await finish(store, [ending]) == {job_id}
    row = await store.get(job_id)
    assert row.error_message == "E: \N{REPLACEMENT CHARACTER} ? x"
    [run] = await store.runs(job_id)
    assert run.traceback is not None
    assert len(run.traceback) == TRACEBACK_LENGTH_MAX
    assert len(clean("é" * 99_999, ERROR_LENGTH_MAX) or "") == ERROR_LENGTH_MAX


async def test_a_value_that_cannot_be_stored_refuses_the_statement_and_nothing_is_done(store):
    [job_id] = await insert(store)
    token = uuid4()
    await claim(store, [job_id], token)
    with pytest.raises(StoreRefused):
        await finish(store, [Finish(job_id, token, JobState.COMPLETED, RunOutcome.COMPLETED, 1, '"\0"')])
    assert (await store.get_status([job_id]))[job_id].state == "processing"


async def test_batches_in_opposite_order_do_not_deadlock(store):
    ids = await insert(store, 200)
    token = uuid4()
    await claim(store, ids, token)

    async def release(some: list[UUID]) -> None:
        releases = [Requeue(job_id, token, Counter.NONE, 0) for job_id in some]
        await store.requeue(uuid7(), Q, releases)

    async with trio.open_nursery() as both:
        both.start_soon(release, ids)
        both.start_soon(release, ids[::-1])
    assert {look.state for look in (await store.get_status(ids)).values()} == {"pending"}


async def test_two_workers_adopt_the_same_external_tasks_in_opposite_order(store):
    # Duplicates of 300 tasks went to two workers: each row is made once, and each worker learns which are its own.
    tasks = [(job_id, Task("x", job_id=job_id)) for job_id in (uuid7() for _ in range(300))]
    owners, tokens = [uuid4(), uuid4()], [uuid4(), uuid4()]
    async with trio.open_nursery() as both:
        for owner, token, mine in zip(owners, tokens, (tasks, tasks[::-1]), strict=True):
            both.start_soon(partial(store.adopt, mine, token, queue=Q, owner=owner, worker="w"))
    looks = await store.get_status([job_id for job_id, _ in tasks])
    assert len(looks) == 300
    assert {look.token for look in looks.values()} <= set(tokens)
    for owner, token in zip(owners, tokens, strict=True):
        owned = {job_id for job_id, look in looks.items() if look.token == token}
        assert await store.owned(owner) == ({token: owned} if owned else {})


async def test_claims_in_opposite_order_share_the_rows(store):
    ids = await insert(store, 300)
    got: list[set[UUID]] = []

    async def take(some: list[UUID]) -> None:
        got.append(set(await claim(store, some)))

    async with trio.open_nursery() as workers:
        for some in (ids, ids[::-1], ids[100:] + ids[:100]):
            workers.start_soon(take, some)
    assert set().union(*got) == set(ids)
    assert sum(map(len, got)) == 300, "each by one"


async def test_outbox_entries_are_shared_by_several_relays_at_once(store, psql):
    for _ in range(30):
        await insert(store)
    await psql("UPDATE outbox SET at = now() - interval '6 s'")
    taken: list[UUID] = []

    async def relay() -> None:
        taken.extend(batch for batch, _, _ in await store.take_outbox(Q, age_seconds=5, limit=20))

    async with trio.open_nursery() as workers:
        for _ in range(4):
            workers.start_soon(relay)
    assert len(taken) == len(set(taken))
    assert len(taken) <= 30
    await relay()
    assert len(set(taken)) == len(taken) == 30


async def test_an_outbox_entry_of_another_queue_is_left_to_its_workers(store, psql):
    await insert(store)
    await psql("UPDATE outbox SET at = now() - interval '6 s', queue = 'other'")
    assert await store.take_outbox(Q, age_seconds=5, limit=20) == []


async def test_the_largest_counters_still_give_a_run_a_number(store):
    job_id, token, most = uuid4(), uuid4(), 500_000_000
    await store.adopt(
        [(job_id, Task("x", b"{}", DEFAULTS, Counters(most, most, most), job_id))],
        token,
        queue=Q,
        owner=OWNER,
        worker="",
    )
    assert await finish(store, [Finish(job_id, token, JobState.FAILED, RunOutcome.FAILED, 1, None, "E")]) == {job_id}
    assert [run.number for run in await store.runs(job_id)] == [3 * most + 1]


async def test_a_release_that_is_repeated_counts_once_and_makes_an_outbox_entry_of_its_own(store, psql):
    ids, token, outbox = await insert(store, 2), uuid4(), [uuid7(), uuid7()]
    await claim(store, ids, token)
    first, second = (Requeue(job_id, token, Counter.ATTEMPTS, 50_000, RunOutcome.FAILED, 1, "E") for job_id in ids)
    assert await store.requeue(outbox[0], Q, [first]) == {ids[0]: JobState.PENDING}
    assert await store.requeue(outbox[1], Q, [first, second]) == {ids[1]: JobState.PENDING}, "it was locked"
    made = {row["batch"]: row["ids"] for row in await psql("SELECT batch, ids FROM outbox")}
    assert [made[entry] for entry in outbox] == [ids[:1], ids[1:]]
    assert {(await store.get(job_id)).attempts for job_id in ids} == {1}
    assert {len(await store.runs(job_id)) for job_id in ids} == {1}
    assert 49_000 < (await store.get_status(ids))[ids[0]].delay_ms <= 50_000


async def test_claims_that_are_settled_go_with_any_statement(store, psql):
    for ride in (
        lambda done: claim(store, [], done=done),
        lambda done: finish(store, [], done),
        lambda done: store.requeue(uuid7(), Q, [], done),
        lambda done: store.delete_outbox([], done),
    ):
        [job_id], token = await insert(store), uuid4()
        await claim(store, [job_id], token)
        assert await psql.value("SELECT count(*) FROM claimed") == 1
        await ride([token])
        assert await psql.value("SELECT count(*) FROM claimed") == 0


async def test_a_completed_job_forgets_its_last_failure(store):
    [job_id], token = await insert(store), uuid4()
    await claim(store, [job_id], token)
    await store.requeue(uuid7(), Q, [Requeue(job_id, token, Counter.ATTEMPTS, 0, RunOutcome.FAILED, 1, "E: 1")])
    await claim(store, [job_id], token := uuid4())
    await finish(store, [Finish(job_id, token, JobState.COMPLETED, RunOutcome.COMPLETED, 2.0, '{"a":1}')])
    row = await store.get(job_id)
    assert (row.state, row.attempts, row.error_message, row.result, row.run_at) == (
        "completed", 1, None, '{"a":1}', None,
    )  # fmt: skip
    assert 1.9 < (row.finished_at - row.started_at).total_seconds() < 2.1
    assert [run.number for run in await store.runs(job_id)] == [1], "a run that completed stands in the row"
