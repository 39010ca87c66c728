"""One job a key: repeats, races, lost answers, refusals, ages; with Postgres and without."""

import contextlib
from functools import partial
from typing import Any
from uuid import UUID

import pytest
import trio
from uuid_utils.compat import uuid7

from tests.support.invariants import check_rows, tasks_in_redis
from tests.support.redis_cli import RedisCli
from tests.support.steps import make_submit_once
from tests.support.wait import until
from workqueue.core.errors import EnqueueFailed, InvalidKey, KeyReused, PersistFailed, StoreUnavailable
from workqueue.core.options import JobOptions
from workqueue.core.queue import open_queue
from workqueue.core.steps.outbox import OutboxRelay
from workqueue.core.steps.submit import REFUSED
from workqueue.core.steps.submit_once import Keyed, SubmitOnce, keyed
from workqueue.core.store import NewJob
from workqueue.core.wire import Submission, decode_task

DAY = 86_400.0


def item(key: str = "k", body: bytes = b"{}", *, payload: bytes = b"{}", retries: int = 3) -> Keyed:
    return keyed(Submission("x", payload, JobOptions(retries)), key, body)


def once(queue, store, ttl_seconds: float = DAY) -> SubmitOnce:
    """A producer of its own."""
    return make_submit_once(queue, store, ttl_seconds=ttl_seconds)


@pytest.fixture
def first(queue, store) -> SubmitOnce:
    return once(queue, store)


@pytest.fixture
def second(queue, store) -> SubmitOnce:
    return once(queue, store)


@pytest.fixture
async def far(far_queue, far_store, redis_proxy, postgres_proxy) -> SubmitOnce:
    """A producer behind proxies, with connections that are warm."""
    producer = once(far_queue, far_store)
    assert isinstance((await producer.run_batch([item("warm")]))[0], UUID)
    with contextlib.suppress(StoreUnavailable):
        await far_store.refuse([], uuid7(), "prepared")
    return producer


@pytest.fixture
def redis_only(queue) -> SubmitOnce:
    return once(queue, None)


async def ids_in_list(redis: RedisCli, queue) -> list[UUID | None]:
    return [decode_task(line).job_id for line in await redis.list(queue.name)]


# --- what a key is


@pytest.mark.parametrize("key", ["a", "!~", "x" * 255, '"8e03978e-40d5-43e8-bc93-6894a57f9324"'])
def test_a_key_is_visible_ascii(key):
    assert keyed(Submission("x", b"{}"), key, b"") == keyed(Submission("x", b"{}"), key, b"")


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "a\n", "\x7f", "ü", "a,b "])
def test_anything_else_is_none(key):
    with pytest.raises(InvalidKey):
        keyed(Submission("x", b"{}"), key, b"")


# --- one job a key


async def test_a_repeat_gets_the_same_job_from_any_producer_however_it_ended(redis, first, second, queue, psql):
    [job_id] = await first.run_batch([item()])
    assert isinstance(job_id, UUID)
    assert await second.run_batch([item()]) == [job_id]
    assert await psql.value("SELECT joined FROM jobs")
    for state in ("processing", "completed", "failed", "cancelled"):  # cancelled by a person: the key is still there
        await psql("UPDATE jobs SET state = $1, token = gen_random_uuid()", state)
        assert await first.run_batch([item()]) == [job_id]
    await psql("DELETE FROM jobs")  # and was tidied away
    assert await second.run_batch([item()]) == [job_id]
    assert await ids_in_list(redis, queue) == [job_id]


async def test_many_keys_in_one_batch_make_rows_and_an_outbox_entry_and_tasks(redis, first, queue, psql):
    items = [item(f"k{number}", payload=b'{"n":%d}' % number) for number in range(500)]
    ids = await first.run_batch(items)
    assert await ids_in_list(redis, queue) == ids
    assert [row["id"] for row in await psql("SELECT id FROM jobs ORDER BY (payload::json ->> 'n')::int")] == ids
    assert set(await psql.value("SELECT ids FROM outbox")) == set(ids)
    assert await psql.value("SELECT count(*) FROM idempotency WHERE expires_at > now() + interval '23 h'") == 500
    assert await first.run_batch(items) == ids
    assert len(await ids_in_list(redis, queue)) == 500
    await check_rows(queue, psql)


async def test_another_body_under_the_same_key_is_refused_and_joins_nothing(redis, first, queue, psql):
    [job_id] = await first.run_batch([item(body=b"one")])
    [answer] = await first.run_batch([item(body=b"two")])
    assert isinstance(answer, KeyReused)
    assert not await psql.value("SELECT joined FROM jobs")
    assert await ids_in_list(redis, queue) == [job_id]


async def test_a_key_belongs_to_its_queue(redis, first, store, bridge, redis_url):
    [job_id] = await first.run_batch([item(body=b"one")])
    async with open_queue(bridge, redis_url, f"test:{uuid7()}") as other:
        [another] = await once(other, store).run_batch([item(body=b"two")])
        assert isinstance(another, UUID)
        assert another != job_id
        await redis("DEL", other.name)


async def test_one_key_many_times_in_one_batch_is_one_job_of_the_first_body(redis, first, queue):
    batch = [item(body=b"one"), item("other"), item(body=b"two"), item(body=b"one"), item(body=b"two")]
    answers = await first.run_batch(batch)
    assert answers[0] == answers[3] != answers[1]
    assert isinstance(answers[2], KeyReused)
    assert isinstance(answers[4], KeyReused)
    assert answers[2] is not answers[4], "tasks that share an exception garble its traceback"
    assert await ids_in_list(redis, queue) == [answers[0], answers[1]]
    [refused, joined] = await first.run_batch([item(body=b"two"), item(body=b"one")])
    assert isinstance(refused, KeyReused)
    assert joined == answers[0], "it is the holder's body that counts, not the batch's first"


async def test_a_batch_of_new_keys_costs_two_trips_and_repeats_cost_two(first, trips):
    items = [item(f"k{number}") for number in range(100)]
    await first.run_batch(items)
    assert trips.count == 2
    await first.run_batch(items)
    assert trips.count == 4, "insert, join"


async def test_racing_producers_make_one_job_a_key(redis, queue, store, psql):
    producers = [once(queue, store) for _ in range(6)]
    answers: list[list[Any]] = []

    async def submit(producer: SubmitOnce, order: int) -> None:
        items = [item(f"k{number}") for number in range(40)]
        said = await producer.run_batch(items[::order])  # in opposite orders: no deadlock either
        answers.append(said[::order])

    async with trio.open_nursery() as nursery:
        for number, producer in enumerate(producers):
            nursery.start_soon(submit, producer, 1 if number % 2 else -1)
    assert all(said == answers[0] for said in answers)
    assert all(isinstance(answer, UUID) for answer in answers[0])
    assert set(await ids_in_list(redis, queue)) == set(answers[0])
    await check_rows(queue, psql)


# --- lost answers, refusals, and who comes in between


async def test_the_answer_of_the_insert_is_lost_and_the_repeat_finds_its_job(
    redis, far, postgres_proxy, second, queue, psql
):
    postgres_proxy.swallow_replies()
    answers: list[object] = []

    async def submit() -> None:
        answers.extend(await far.run_batch([item(payload=b'{"n":1}')]))

    async with trio.open_nursery() as producer:
        producer.start_soon(submit)
        await postgres_proxy.replies_swallowed.wait()
        postgres_proxy.go_away()
    assert isinstance(answers[0], PersistFailed)
    [job_id] = await second.run_batch([item(payload=b'{"n":1}')])
    assert await psql.value("SELECT id FROM jobs WHERE payload <> '{}'") == job_id
    assert len(await ids_in_list(redis, queue)) == 1, "only the warm one: the outbox entry has still to be relayed"
    await psql("UPDATE outbox SET at = now() - interval '6 s'")
    await OutboxRelay(queue, second._store).run_once()
    assert job_id in await ids_in_list(redis, queue)


async def test_an_insert_that_arrives_after_its_repeat_changes_nothing(first, second, store, queue, psql):
    # The first producer's statement was held up on its way, and its client asked another one meanwhile.
    [job_id] = await second.run_batch([item()])
    late = uuid7()
    keys = [(item().key_hash, item().body_hash)]
    assert (
        await store.insert_once(
            uuid7(), queue.name, [NewJob(late, "x", "{}", JobOptions(3))], keys, [], ttl_seconds=DAY
        )
        == set()
    )
    assert [row["id"] for row in await psql("SELECT id FROM jobs")] == [job_id]
    assert await psql.value("SELECT count(*) FROM outbox") == 1


async def test_a_refused_submit_frees_its_key(redis, far, redis_proxy, second, queue, psql):
    redis_proxy.go_away()
    answers = await far.run_batch([item(body=b"one"), item(body=b"one"), item(body=b"two")])
    assert all(isinstance(answer, EnqueueFailed) for answer in answers), "nothing holds the key, so no body is wrong"
    assert await psql.value("SELECT count(*) FROM idempotency") == 1, "the warm one's"
    assert await psql("SELECT 1 FROM jobs WHERE state = 'cancelled' AND error_message = $1", REFUSED)
    [job_id] = await second.run_batch([item(body=b"two")])
    assert (await ids_in_list(redis, queue))[1:] == [job_id]
    await check_rows(queue, psql)


async def test_the_answer_of_the_push_is_lost_and_the_repeat_makes_the_one_job_that_runs(
    far, redis_proxy, second, steps, lease, psql
):
    redis_proxy.swallow_replies()
    [answer] = await far.run_batch([item()])
    assert isinstance(answer, EnqueueFailed)
    [job_id] = await second.run_batch([item()])
    claimed = await steps.claim.run_once(lease, 10)
    assert job_id in [held.job_id for held in claimed]
    assert len(claimed) == 2, "it, and the warm one"
    assert steps.claim.counts.duplicates == 1, "the task of the row that was refused"


async def test_case_7_the_first_ones_push_fails_after_the_second_was_answered(
    redis, far, redis_proxy, second, queue, psql
):
    """One key, two producers: the first stands still between its insert and its push, the second finds the row.

    Were it cancelled then, the second's 200 would be a lie, and without its entry the job would be pending for ever.
    """
    redis_proxy.swallow_requests()
    answers: list[object] = []

    async def submit() -> None:
        answers.extend(await far.run_batch([item(), item("alone")]))

    async with trio.open_nursery() as producer:
        producer.start_soon(submit)
        await redis_proxy.requests_swallowed.wait()
        [job_id] = await second.run_batch([item()])
    assert answers[0] == job_id, "200 for both"
    assert isinstance(answers[1], EnqueueFailed)
    assert await psql.value("SELECT state FROM jobs WHERE id = $1", job_id) == "pending"
    marked = await psql("SELECT ids FROM outbox WHERE $1 = ANY (ids)", job_id)
    assert [row["ids"] for row in marked] == [[job_id]]
    await psql("UPDATE outbox SET at = now() - interval '6 s'")
    await OutboxRelay(queue, second._store).run_once()
    assert (await ids_in_list(redis, queue)).count(job_id) == 1


async def test_a_repeat_that_waits_for_the_refusal_of_its_row_makes_a_new_one(redis, second, store, queue, psql):
    """The refusal has locked the row when the repeat wants to join it: its key is free when the wait is over."""
    refused, batch = uuid7(), uuid7()
    keys = [(item().key_hash, item().body_hash)]
    await store.insert_once(batch, queue.name, [NewJob(refused, "x", "{}", JobOptions(3))], keys, [], ttl_seconds=DAY)
    await psql("BEGIN")
    await psql("UPDATE jobs SET state = 'cancelled'")
    answers: list[object] = []

    async def repeat() -> None:
        answers.extend(await second.run_batch([item()]))

    async with trio.open_nursery() as producer:
        producer.start_soon(repeat)
        await until(partial(somebody_waits, psql))
        await psql("DELETE FROM idempotency")
        await psql("DELETE FROM outbox")
        await psql("COMMIT")
    assert await ids_in_list(redis, queue) == answers != [refused]
    await check_rows(queue, psql)


async def test_a_repeat_that_waits_for_a_person_who_cancels_its_job_gets_the_same_answer(first, second, queue, psql):
    [job_id] = await first.run_batch([item()])
    await psql("BEGIN")
    await psql("UPDATE jobs SET state = 'cancelled'")
    answers: list[object] = []

    async def repeat() -> None:
        answers.extend(await second.run_batch([item()]))

    async with trio.open_nursery() as producer:
        producer.start_soon(repeat)
        await until(partial(somebody_waits, psql))
        await psql("COMMIT")
    assert answers == [job_id]


async def test_a_repeat_that_waits_for_the_insert_of_its_key_finds_that_row(second, queue, psql):
    """The first one's transaction is not over: if it is rolled back, the key is the second one's."""
    for end, same in (("COMMIT", True), ("ROLLBACK", False)):
        job_id, mine = uuid7(), item(end)
        await psql("BEGIN")
        await psql(
            "INSERT INTO idempotency VALUES ($1, $2, $3, $4, now() + interval '1 h')",
            queue.name, mine.key_hash, mine.body_hash, job_id,
        )  # fmt: skip
        await psql(
            "INSERT INTO jobs (id, queue, type, payload, retries, state) VALUES ($1, $2, 'x', '{}', 0, 'pending')",
            job_id, queue.name,
        )  # fmt: skip
        answers: list[object] = []

        async def repeat(mine: Keyed = mine, answers: list[object] = answers) -> None:
            answers.extend(await second.run_batch([mine]))

        async with trio.open_nursery() as producer:
            producer.start_soon(repeat)
            await until(partial(somebody_waits, psql))
            await psql(end)
        assert (answers == [job_id]) == same
        assert isinstance(answers[0], UUID)


async def test_two_batches_with_the_same_keys_in_opposite_order_do_not_wait_for_each_other(first, second, queue, psql):
    low, middle, high = sorted((item(key) for key in "abc"), key=lambda each: each.key_hash)
    await psql("BEGIN")  # so that both wait in the middle
    await psql("INSERT INTO idempotency VALUES ($1, $2, '', $3, now())", queue.name, middle.key_hash, uuid7())
    answers: dict[bool, list[object]] = {}

    async def submit(producer: SubmitOnce, batch: list[Keyed], in_order: bool) -> None:
        answers[in_order] = list(await producer.run_batch(batch))

    async with trio.open_nursery() as producers:
        producers.start_soon(submit, first, [low, middle, high], True)
        producers.start_soon(submit, second, [high, middle, low], False)
        await until(partial(somebody_waits, psql, 2))
        await psql("ROLLBACK")
    assert all(isinstance(answer, UUID) for answer in answers[True])
    assert answers[True] == answers[False][::-1]


async def somebody_waits(psql, many: int = 1) -> bool:
    waiting = await psql.value(
        "SELECT count(DISTINCT waiting.pid) FROM pg_locks AS waiting JOIN pg_locks AS held USING (pid)"
        " JOIN pg_class ON pg_class.oid = held.relation"
        " WHERE NOT waiting.granted AND relnamespace = current_schema()::regnamespace"
    )
    return waiting >= many


async def test_a_key_that_is_locked_is_refused_in_bounded_time_and_may_be_repeated(first, queue, psql):
    await psql("BEGIN")
    await psql("INSERT INTO idempotency VALUES ($1, $2, '', $3, now())", queue.name, item().key_hash, uuid7())
    [answer] = await first.run_batch([item()])
    assert isinstance(answer, PersistFailed)
    await psql("ROLLBACK")
    assert isinstance((await first.run_batch([item()]))[0], UUID)


async def test_one_bad_value_in_a_batch_is_refused_alone(first, queue, psql):
    batch = [item("a"), item("bad", retries=2**40), item("b"), item("a")]
    answers = await first.run_batch(batch)
    assert isinstance(answers[1], PersistFailed)
    assert answers[0] == answers[3]
    assert await tasks_in_redis(queue) == {answers[0], answers[2]}
    assert await psql.value("SELECT count(*) FROM idempotency") == 2


async def test_the_outbox_of_batches_before_ride_along(first, psql):
    await first.run_batch([item("a")])
    await first.run_batch([item("a")])
    assert await psql("SELECT * FROM outbox") == [], "a repeat takes them along and leaves none"


# --- age


async def test_a_key_that_is_too_old_is_free_before_it_is_pruned(redis, first, second, queue, psql):
    [old] = await first.run_batch([item(body=b"one")])
    await psql("UPDATE idempotency SET expires_at = now() - interval '1 s'")
    [new] = await second.run_batch([item(body=b"two")])
    assert isinstance(new, UUID)
    assert new != old
    assert await first.run_batch([item(body=b"two")]) == [new]
    assert await ids_in_list(redis, queue) == [old, new]


async def test_the_time_for_which_a_key_is_kept_is_a_setting(queue, store, psql):
    await once(queue, store, ttl_seconds=90).run_batch([item()])
    left = await psql.value("SELECT extract(epoch FROM expires_at - now())::float8 FROM idempotency")
    assert 60 < left <= 90


# --- Redis only


async def test_without_postgres_a_key_makes_one_task(redis, redis_only, queue):
    answers = await redis_only.run_batch([item(body=b"one"), item("other"), item(body=b"one"), item(body=b"two")])
    assert [type(answer) for answer in answers] == [UUID, UUID, UUID, KeyReused]
    assert await ids_in_list(redis, queue) == answers[:2]
    assert isinstance((await once(queue, None).run_batch([item(body=b"one")]))[0], UUID)
    assert isinstance((await once(queue, None).run_batch([item(body=b"two")]))[0], KeyReused)
    assert len(await ids_in_list(redis, queue)) == 2
    for key in ("k", "other"):
        ttl = await redis("PTTL", queue.keys.idempotency(item(key).key_hash))
        assert DAY * 1000 - 60_000 < ttl <= DAY * 1000


async def test_without_postgres_a_key_that_is_too_old_is_free(redis, queue):
    await once(queue, None, ttl_seconds=1).run_batch([item(body=b"one")])
    key = queue.keys.idempotency(item().key_hash)
    assert await redis("PEXPIRE", key, 1)

    async def gone() -> bool:
        return not await redis("EXISTS", key)

    await until(gone)
    assert isinstance((await once(queue, None).run_batch([item(body=b"two")]))[0], UUID)
    assert len(await ids_in_list(redis, queue)) == 2


async def test_without_postgres_racing_producers_make_one_task_a_key(redis, queue):
    items = [item(f"k{number}") for number in range(100)]
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(once(queue, None).run_batch, items)
    assert len(await ids_in_list(redis, queue)) == 100


async def test_without_postgres_a_lost_answer_is_mended_by_a_repeat(redis, far_queue, redis_proxy, redis_only, queue):
    far = once(far_queue, None)
    assert isinstance((await far.run_batch([item("warm")]))[0], UUID)
    redis_proxy.swallow_replies()
    [answer] = await far.run_batch([item()])
    assert isinstance(answer, EnqueueFailed)
    assert isinstance((await redis_only.run_batch([item()]))[0], UUID)
    assert len(await ids_in_list(redis, queue)) == 2, "the warm one, and the one job of the key"


async def test_without_postgres_what_redis_refuses_leaves_its_key_free(redis, redis_only, queue):
    await redis("SET", queue.name, "of another type")
    [answer] = await redis_only.run_batch([item()])
    assert isinstance(answer, EnqueueFailed)
    await redis("DEL", queue.name)
    assert isinstance((await redis_only.run_batch([item()]))[0], UUID)


async def test_without_postgres_a_batch_costs_one_trip(redis_only, trips):
    await redis_only.run_batch([item(f"k{number}") for number in range(500)])
    assert trips.count == 1
