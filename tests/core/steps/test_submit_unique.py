"""One job at a time under a unique key: races, replacements, refusals, ends; with Postgres and without."""

import contextlib
import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import trio
from uuid_utils.compat import uuid7

from tests.core.steps.support import fence
from tests.support.invariants import check_rows, tasks_in_redis
from tests.support.steps import make_claim, make_recover, make_submit_unique
from tests.support.wait import until
from workqueue.core.errors import EnqueueFailed, KeyReused, PersistFailed, StoreUnavailable
from workqueue.core.options import JobOptions
from workqueue.core.queue import Queue
from workqueue.core.steps.expiry import PruneUnique
from workqueue.core.steps.submit_once import keyed
from workqueue.core.steps.submit_unique import Duplicate
from workqueue.core.wire import Submission, decode_task

PROCESSING = "state = 'processing', token = gen_random_uuid()"


def item(
    key: str = "k",
    payload: bytes = b"{}",
    *,
    until_: str | None = None,
    replace: bool = False,
    delay: float | None = None,
    job_type: str = "x",
    queue: str = "default",
    retries: int = 0,
) -> Submission:
    run_at = None if delay is None else datetime.now(UTC) + timedelta(seconds=delay)
    options = JobOptions(retries, None, run_at, None, queue, key, until_, "replace" if replace else None)
    return Submission(job_type, payload, options, delay)


@pytest.fixture
def step(queue, store):
    return make_submit_unique(queue, store)


@pytest.fixture
def either(queue, rows):
    """With rows, and without."""
    return make_submit_unique(queue, rows)


async def waits_for_a_lock(psql) -> bool:
    await psql("SELECT pg_stat_clear_snapshot()")  # in a transaction all looks would be the first one
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    return bool(await psql.value(waiting))


async def _promoted(queue: Queue) -> bool:
    return (await queue.promote())[0] > 0


async def one(step, submission):
    [answer] = await step.run_batch([submission])
    return answer


# --- one job at a time


async def test_a_duplicate_is_told_of_the_first_and_changes_nothing(either, queue, psql_if_rows):
    first = await one(either, item(payload=b'{"n":1}'))
    assert isinstance(first, UUID)
    assert await one(either, item(payload=b'{"n":2}')) == Duplicate(first)
    assert await one(either, item("other")) != Duplicate(first)
    assert first in await tasks_in_redis(queue)
    assert len(await tasks_in_redis(queue)) == 2
    if psql_if_rows is not None:
        assert await psql_if_rows.value("SELECT payload FROM jobs WHERE id = $1", first) == '{"n":1}'
        await check_rows(queue, psql_if_rows)


async def test_many_in_one_batch_and_each_key_once(either, queue):
    items = [item(f"k{number % 50}", payload=b'{"n":%d}' % number) for number in range(500)]
    answers = await either.run_batch(items)
    ids = answers[:50]
    assert all(isinstance(job_id, UUID) for job_id in ids)
    assert answers[50:] == [Duplicate(ids[number % 50]) for number in range(50, 500)]
    assert await tasks_in_redis(queue) == set(ids)


async def test_of_a_batch_the_last_one_that_replaces_wins(either, queue, psql_if_rows):
    answers = await either.run_batch(
        [item(payload=b'{"n":1}'), item(payload=b'{"n":2}', replace=True), item(payload=b'{"n":3}', replace=True),
         item(payload=b'{"n":4}')]
    )  # fmt: skip
    assert answers[1:] == [Duplicate(answers[0])] * 3
    if psql_if_rows is not None:
        assert await psql_if_rows.value("SELECT payload FROM jobs") == '{"n":3}'
    else:
        [task] = [task async for piece in queue.tasks() for task in piece]
        assert decode_task(task).payload == b'{"n":3}'


async def test_producers_that_race_make_one_job_a_key(queue, rows, psql_if_rows):
    answers: list[list] = []

    async def produce() -> None:
        producer = make_submit_unique(queue, rows)
        for _ in range(5):
            answers.append(await producer.run_batch([item(f"k{number}") for number in range(40)]))

    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(produce)
    for number in range(40):
        mine = [each[number] for each in answers]
        [job_id] = [answer for answer in mine if isinstance(answer, UUID)]
        assert set(mine) == {job_id, Duplicate(job_id)}
    assert len(await tasks_in_redis(queue)) == 40
    if psql_if_rows is not None:
        assert await psql_if_rows.value("SELECT count(*) FROM jobs") == 40
        await check_rows(queue, psql_if_rows)


async def test_producers_that_race_for_keys_that_became_free_take_each_once(queue, store, psql):
    await make_submit_unique(queue, store).run_batch([item(f"k{number}") for number in range(40)])
    await psql("UPDATE jobs SET state = 'completed'")
    answers: list[list] = []

    async def produce(order: int) -> None:
        items = [item(f"k{number}") for number in range(40)][::order]
        answers.append((await make_submit_unique(queue, store).run_batch(items))[::order])

    async with trio.open_nursery() as nursery:
        for order in (1, -1, 1, -1, 1, -1):
            nursery.start_soon(produce, order)
    for number in range(40):
        [job_id] = [each[number] for each in answers if isinstance(each[number], UUID)]
        assert {each[number] for each in answers} == {job_id, Duplicate(job_id)}
    assert await psql.value("SELECT count(*) FROM jobs WHERE state = 'pending'") == 40


# --- when a key is free again, with rows


@pytest.mark.parametrize("state", ["completed", "failed", "cancelled"])
async def test_any_end_frees_the_key_and_so_does_a_deletion(step, psql, state):
    first = await one(step, item())
    await psql(f"UPDATE jobs SET {PROCESSING}")
    assert await one(step, item()) == Duplicate(first)
    await psql("UPDATE jobs SET state = 'pending', requeued = true, attempts = 1")
    assert await one(step, item()) == Duplicate(first)  # a retry keeps it
    await psql("UPDATE jobs SET state = $1", state)
    second = await one(step, item())
    assert isinstance(second, UUID)
    assert await one(step, item()) == Duplicate(second)
    await psql("DELETE FROM jobs")
    assert isinstance(await one(step, item()), UUID)


@pytest.mark.parametrize("change", [PROCESSING, "requeued = true", "attempts = 1", "state = 'cancelled'"])
async def test_until_it_is_started(step, psql, change):
    first = await one(step, item(until_="started"))
    assert await one(step, item(until_="started")) == Duplicate(first)
    await psql(f"UPDATE jobs SET {change}")
    second = await one(step, item())
    assert isinstance(second, UUID)
    await psql(f"UPDATE jobs SET {PROCESSING} WHERE id = $1", second)
    assert await one(step, item()) == Duplicate(second)  # what the holder has chosen counts


async def test_for_a_number_of_seconds_whatever_becomes_of_the_job(step, psql):
    first = await one(step, item(until_="60"))
    for change in ("state = 'completed'", "state = 'failed'"):
        await psql(f"UPDATE jobs SET {change}")
        assert await one(step, item()) == Duplicate(first)
    await psql("DELETE FROM jobs")
    assert await one(step, item(replace=True)) == Duplicate(first)
    assert await psql.value("SELECT extract(epoch FROM free_at - now())::int FROM unique_keys") in range(50, 61)
    await psql("UPDATE unique_keys SET free_at = now()")
    assert isinstance(await one(step, item()), UUID)


async def test_a_key_belongs_to_its_installation(step, psql):
    first = await one(step, item())
    await psql("UPDATE unique_keys SET queue = 'another'")
    second = await one(step, item())
    assert isinstance(second, UUID)
    assert second != first


# --- what is refused


@pytest.fixture
async def far(far_queue, far_store, redis_proxy, postgres_proxy):
    """A producer behind proxies, with connections that are warm."""
    producer = make_submit_unique(far_queue, far_store)
    assert isinstance(await one(producer, item("warm")), UUID)
    with contextlib.suppress(StoreUnavailable):
        await far_store.refuse([], uuid7(), "prepared")
    return producer


@pytest.mark.parametrize("until_", [None, "started", "60"])
async def test_a_push_that_fails_frees_the_key(far, step, psql, redis_proxy, until_):
    redis_proxy.go_away()
    assert isinstance(await one(far, item(until_=until_)), EnqueueFailed)
    answer = await one(step, item(until_=until_))
    assert isinstance(answer, UUID)
    states = await psql("SELECT state FROM jobs WHERE unique_key = 'k' ORDER BY id")
    assert [row["state"] for row in states] == ["cancelled", "pending"]


async def test_the_push_fails_after_another_producer_was_told_of_the_job(far, redis_proxy, step, psql):
    redis_proxy.swallow_requests()
    answers: list = []

    async def submit() -> None:
        answers.append(await one(far, item()))

    async with trio.open_nursery() as producer:
        producer.start_soon(submit)
        await redis_proxy.requests_swallowed.wait()
        told = await one(step, item())
    assert told == Duplicate(*answers)
    assert await psql.value("SELECT state FROM jobs WHERE id = $1", answers[0]) == "pending"
    assert await psql.value("SELECT count(*) FROM outbox WHERE $1 = ANY (ids)", answers[0]) == 1


async def test_the_answer_of_the_insert_is_lost_and_the_repeat_is_told_of_its_job(far, postgres_proxy, step, psql):
    postgres_proxy.swallow_replies()
    answers: list = []

    async def submit() -> None:
        answers.append(await one(far, item()))

    async with trio.open_nursery() as producer:
        producer.start_soon(submit)
        await postgres_proxy.replies_swallowed.wait()
        postgres_proxy.go_away()
    assert isinstance(answers[0], PersistFailed)
    job_id = await psql.value("SELECT id FROM jobs WHERE unique_key = 'k'")
    assert await one(step, item()) == Duplicate(job_id)
    assert await psql.value("SELECT count(*) FROM outbox WHERE $1 = ANY (ids)", job_id) == 1


async def test_a_duplicate_joins_its_job_so_that_no_refusal_cancels_it(step, store, psql):
    first = await one(step, item())
    assert await one(step, item()) == Duplicate(first)
    assert await store.refuse([first], uuid7(), "the push failed") == set()
    assert await psql.value("SELECT state FROM jobs") == "pending"


async def test_a_key_that_another_transaction_takes_refuses_its_own_jobs_alone(step, queue, psql):
    await psql("BEGIN")
    await psql("INSERT INTO unique_keys VALUES ($1, 'taken', gen_random_uuid(), false)", queue.name)
    free, taken, also_free = await step.run_batch([item("free"), item("taken"), item("also free")])
    assert isinstance(taken, PersistFailed)
    assert isinstance(free, UUID)
    assert isinstance(also_free, UUID)
    await psql("ROLLBACK")
    assert isinstance(await one(step, item("taken")), UUID)


@pytest.mark.parametrize(
    "change", ["free_at = NULL", "until_started = true, free_at = NULL", "job_id = $2, free_at = NULL"]
)
@pytest.mark.parametrize("replace", [False, True])
async def test_a_key_that_changes_while_we_wait_for_it_is_not_taken(step, psql, store, queue, change, replace):
    """Another statement prolongs it, or gets it, after ours has seen it free."""
    first = await one(step, item(until_="60"))
    other = await one(step, item("other"))
    await psql("UPDATE unique_keys SET free_at = now() WHERE key = 'k'")
    answers: list = []

    async def submit() -> None:
        answers.append(await one(step, item(replace=replace)))

    await psql("BEGIN")
    await psql(f"UPDATE unique_keys SET {change} WHERE key = $1", "k", *([other] if "$2" in change else []))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(submit)
        await until(lambda: waits_for_a_lock(psql))
        await psql("COMMIT")
    assert answers == [Duplicate(other if "$2" in change else first)]
    assert await psql.value("SELECT count(*) FROM jobs") == 2
    assert (await psql.value("SELECT count(*) FROM jobs WHERE replaced") == 1) is replace


async def test_a_key_that_another_job_gets_while_we_wait_for_it_is_not_taken(step, psql):
    first = await one(step, item())
    other = await one(step, item("other"))
    await psql("UPDATE jobs SET state = 'completed' WHERE id = $1", first)
    answers: list = []

    async def submit() -> None:
        answers.append(await one(step, item()))

    await psql("BEGIN")
    await psql("UPDATE unique_keys SET job_id = $1 WHERE key = 'k'", other)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(submit)
        await until(lambda: waits_for_a_lock(psql))
        await psql("COMMIT")
    assert answers == [Duplicate(other)]


async def test_a_holder_that_changes_while_we_wait_for_it_is_asked_for_anew(step, psql):
    """It ends, after our statement has seen it wait: the key is free, and nothing may be lost with it."""
    first = await one(step, item())
    answers: list = []

    async def submit() -> None:
        answers.append(await one(step, item(replace=True)))

    await psql("BEGIN")
    await psql("UPDATE jobs SET state = 'cancelled' WHERE id = $1", first)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(submit)
        await until(lambda: waits_for_a_lock(psql))
        await psql("COMMIT")
    assert isinstance(answers[0], UUID)
    assert await psql.value("SELECT count(*) FROM jobs WHERE state = 'pending'") == 1


async def test_a_key_that_is_taken_while_it_is_pruned_stays(store, step, queue, psql):
    await one(step, item())
    await psql("UPDATE jobs SET state = 'completed'")
    await psql("BEGIN")
    await psql("UPDATE unique_keys SET job_id = gen_random_uuid()")
    await PruneUnique(store, queue.name).run_once()
    await psql("COMMIT")
    assert await psql.value("SELECT count(*) FROM unique_keys") == 1


# --- replace


async def test_what_waits_gets_the_payload_and_the_options_of_the_second(step, steps, queue, lease, psql):
    first = await one(step, item(payload=b'{"n":1}'))
    assert await one(step, item(payload=b'{"n":2}', replace=True, retries=4, until_="started")) == Duplicate(first)
    [row] = await psql("SELECT payload, retries, unique_until FROM jobs")
    assert tuple(row) == ('{"n":2}', 4, "started")
    assert len([task async for piece in queue.tasks() for task in piece]) == 1  # the old one will do
    [claimed] = await steps.claim.run_once(lease, 10)
    assert (claimed.job_id, claimed.task.payload, claimed.task.options.retries) == (first, b'{"n":2}', 4)
    assert isinstance(await one(step, item()), UUID)  # until it was started, now
    await check_rows(queue, psql)


async def test_what_was_started_is_not_replaced(step, steps, lease, psql):
    first = await one(step, item(payload=b'{"n":1}'))
    await steps.claim.run_once(lease, 10)
    assert await one(step, item(payload=b'{"n":2}', replace=True)) == Duplicate(first)
    assert await psql.value("SELECT payload FROM jobs") == '{"n":1}'
    await psql("UPDATE jobs SET state = 'pending', requeued = true")
    assert await one(step, item(payload=b'{"n":2}', replace=True)) == Duplicate(first)
    assert await psql.value("SELECT payload FROM jobs") == '{"n":1}'


@pytest.mark.parametrize("other", [{"job_type": "y"}, {"queue": "mail"}])
async def test_another_type_or_queue_replaces_nothing(either, queue, other):
    first = await one(either, item(payload=b'{"n":1}'))
    assert await one(either, item(payload=b'{"n":2}', replace=True, **other)) == Duplicate(first)
    [task] = [task async for piece in queue.tasks() for task in piece]
    assert decode_task(task).payload == b'{"n":1}'


async def test_a_debounce_waits_for_the_last_one(step, steps, queue, redis, lease, psql):
    first = await one(step, item(payload=b'{"n":0}', delay=0.3))
    for number in (1, 2):
        later = item(payload=b'{"n":%d}' % number, delay=60, replace=True)
        assert await one(step, later) == Duplicate(first)
    assert await psql.value("SELECT extract(epoch FROM run_at - now()) > 50 FROM jobs")
    await until(lambda: _promoted(queue))
    assert await steps.claim.run_once(lease, 10) == []  # the old task came, and waits as long as the row says
    _, score = await redis("ZRANGE", queue.keys.scheduled, 0, -1, "WITHSCORES")
    assert float(score) / 1000 - int((await redis("TIME"))[0]) > 50
    await check_rows(queue, psql)


async def test_one_that_is_due_sooner_is_pushed_again(step, steps, queue, lease, psql):
    first = await one(step, item(payload=b'{"n":1}', delay=3000))
    far = await one(step, item("far", payload=b'{"n":1}', delay=86_400))
    for key in ("k", "far"):
        await one(step, item(key, payload=b'{"n":2}', replace=True))
    claimed = await steps.claim.run_once(lease, 10)
    assert {(each.job_id, each.task.payload) for each in claimed} == {(first, b'{"n":2}'), (far, b'{"n":2}')}
    # Its old task comes when its row may be gone: it must not be taken for a job that another program has pushed.
    assert await psql.value("SELECT at > now() + interval '40 min' FROM deleted WHERE id = $1", first)
    await check_rows(queue, psql)


async def test_one_that_is_far_off_now_waits_in_postgres(step, steps, queue, lease, psql):
    await one(step, item())
    await one(step, item(delay=86_400, replace=True))
    assert await psql.value("SELECT is_far FROM jobs")
    assert await steps.claim.run_once(lease, 10) == []
    await check_rows(queue, psql)


async def test_a_sooner_one_whose_push_fails_is_left_to_the_relay(far, psql, redis_proxy):
    first = await one(far, item(delay=3000))
    redis_proxy.go_away()
    assert await one(far, item(replace=True)) == Duplicate(first)
    assert await psql.value("SELECT state FROM jobs WHERE id = $1", first) == "pending"
    assert await psql.value("SELECT count(*) FROM outbox WHERE ids = ARRAY[$1::uuid]", first) >= 1


# --- Redis only: the key is deleted by the end of its own job


@pytest.fixture
def alone(queue):
    return make_submit_unique(queue, None)


async def test_a_late_end_frees_no_key_of_another_job(alone, queue, lease, redis):
    first = await one(alone, item())
    [claimed] = await make_claim(queue, None).run_once(lease, 1)
    await redis("HSET", queue.keys.unique("k"), "id", str(other := uuid7()))
    rows = [(claimed.number, "k", first)]
    assert [await queue.free_unique(lease.id, rows, ack=True) for _ in range(2)] == [1, 0]
    assert await one(alone, item()) == Duplicate(other)


async def test_a_worker_that_has_lost_the_task_frees_nothing(alone, queue, lease, redis):
    first = await one(alone, item())
    assert await queue.free_unique(lease.id, [(1, "k", first)], ack=True) == 0
    assert await queue.bury(lease.id, [(1, b"{}")], {1: ("k", first)}) == {}
    assert await one(alone, item()) == Duplicate(first)


async def test_a_job_that_dies_in_recovery_frees_its_key(alone, queue, lease, redis, registered_lease):
    first = await one(alone, item())
    await make_claim(queue, None).run_once(lease, 1)
    recover = make_recover(queue, None, max_recoveries=2)
    await fence(queue, lease)
    await recover.run_once(lease.id)
    assert await one(alone, item()) == Duplicate(first)
    again = registered_lease()
    [claimed] = await make_claim(queue, None).run_once(again, 1)
    assert claimed.counters.recoveries == 1
    await queue.record_suspect_start(again.id, claimed.number)
    await fence(queue, again)
    await recover.run_once(again.id)
    assert len(await redis.list(queue.keys.dead)) == 1
    assert isinstance(await one(alone, item()), UUID)


@pytest.mark.parametrize("queue_of", ["default", "mail"])
@pytest.mark.parametrize("delay", [None, 60.0])
@pytest.mark.parametrize("was_delayed", [False, True])
async def test_what_waits_is_replaced_where_it_waits(alone, queue, redis, queue_of, delay, was_delayed):
    first = await one(alone, item(payload=b'{"n":1}', queue=queue_of, delay=30.0 if was_delayed else None))
    await one(alone, item("behind", queue=queue_of))
    again = item(payload=b'{"n":2}', queue=queue_of, delay=delay, replace=True)
    for _ in range(2):
        assert await one(alone, again) == Duplicate(first)
    ready = [decode_task(task) for task in await redis.list(queue.keys.ready_of(queue_of))]
    scheduled = [decode_task(task) for task in await redis("ZRANGE", queue.keys.scheduled_of(queue_of), 0, -1)]
    places = ready if delay is None else scheduled
    assert [(task.job_id, task.payload) for task in places if task.options.unique_key == "k"] == [(first, b'{"n":2}')]
    assert len(ready) + len(scheduled) == 2
    if delay is None and not was_delayed:
        assert ready[0].job_id == first, "it keeps its place"


async def test_a_key_of_another_type_harms_only_its_own_job(alone, queue, redis):
    await redis("SET", queue.keys.unique("odd"), "1")
    first, odd, third = await alone.run_batch([item("a"), item("odd"), item("b")])
    assert isinstance(odd, EnqueueFailed)
    assert isinstance(first, UUID)
    assert isinstance(third, UUID)


async def test_for_seconds_without_rows(alone, queue, lease, redis):
    first = await one(alone, item(until_="60"))
    assert 50_000 < int(await redis("PTTL", queue.keys.unique("k"))) <= 60_000
    assert await one(alone, item(until_="started", replace=True)) == Duplicate(first)
    assert int(await redis("PTTL", queue.keys.unique("k"))) == -1, "the options of the second"


# --- with an idempotency key


async def test_a_repeat_gets_the_same_answer_whoever_holds_the_key_now(either, queue, redis, psql_if_rows):
    [first] = await either.run_batch([keyed(item(), "i1", b"one")])
    assert isinstance(first, UUID)
    duplicate = keyed(item(), "i2", b"two")
    assert await one(either, duplicate) == Duplicate(first)
    again = await one(either, keyed(item(), "i1", b"one"))
    assert isinstance(again, UUID)  # accepted, as before
    if psql_if_rows is not None:
        assert again == first
        await psql_if_rows("UPDATE jobs SET state = 'completed'")
    else:
        await redis("DEL", queue.keys.unique("k"))
    assert await one(either, duplicate) == Duplicate(first)
    assert isinstance(await one(either, keyed(item(), "i1", b"another")), KeyReused)
    assert len(await tasks_in_redis(queue)) == 1


async def test_the_same_request_twice_in_a_batch(either, queue):
    twice = [keyed(item(), "i", b"one")] * 2
    first, second = await either.run_batch(twice)
    assert isinstance(first, UUID)
    assert isinstance(second, UUID)
    assert len(await tasks_in_redis(queue)) == 1


# --- what is kept


async def test_free_keys_are_pruned_and_those_that_are_held_are_not(step, store, queue, psql):
    keys = {"ended": None, "gone": None, "started": "started", "seconds": "60", "held": None, "held too": "60"}
    for key, until_ in keys.items():
        await one(step, item(key, until_=until_))
    await psql("UPDATE jobs SET state = 'completed' WHERE unique_key IN ('ended', 'seconds', 'held too')")
    await psql(f"UPDATE jobs SET {PROCESSING} WHERE unique_key IN ('started', 'held')")
    await psql("DELETE FROM jobs WHERE unique_key = 'gone'")
    await psql("UPDATE unique_keys SET free_at = now() WHERE key = 'seconds'")
    assert not await PruneUnique(store, queue.name).run_once()
    assert [row["key"] for row in await psql("SELECT key FROM unique_keys ORDER BY key")] == ["held", "held too"]


async def test_thousands_are_pruned_piece_by_piece(store, queue, psql):
    await psql(
        "INSERT INTO unique_keys SELECT $1, 'k' || n, gen_random_uuid(), false FROM generate_series(1, 2500) AS n",
        queue.name,
    )
    prune = PruneUnique(store, queue.name)
    assert [await prune.run_once() for _ in range(3)] == [True, True, False]
    assert await psql("SELECT * FROM unique_keys") == []


async def test_a_job_without_a_key_leaves_nothing(steps, psql):
    await steps.submit.run_batch([Submission("x", b"{}"), Submission("x", b"{}", JobOptions(timeout=3.0))])
    assert await psql("SELECT * FROM unique_keys") == []
    assert json.loads(await psql.value("SELECT json_agg(unique_key) FROM jobs")) == [None, None]
