"""What a person does with dead letters: a task is in one place at each moment, and runs once."""

import json
import re
from functools import partial
from uuid import UUID, uuid4

import pytest
import trio
from uuid_utils.compat import uuid7

from tests.core.steps.support import fence, ready, states, take
from tests.support.invariants import check_rows
from tests.support.steps import Steps, make_recover
from tests.support.wait import until
from workqueue.core.counters import Counters
from workqueue.core.dead_letter import dead_letter, dead_letter_id
from workqueue.core.engine import engine_of
from workqueue.core.errors import QueueUnavailable
from workqueue.core.job import RunOutcome
from workqueue.core.options import JobOptions
from workqueue.core.outcome import Cancel, Complete, Fail, Retry
from workqueue.core.queue import Queue
from workqueue.core.steps import dead_acts
from workqueue.core.steps.dead_acts import DeadLetters, Deleted, Retried, Stays
from workqueue.core.steps.settle import Ending
from workqueue.core.store import JobStore
from workqueue.core.wire import Submission, Task, encode_task

FAILED = Fail("E: x", RunOutcome.FAILED, "trace")
INVALID = dead_letter(b'{"type":1}', "no valid task")
FOREIGN = b"\xffof another program"


@pytest.fixture
def letters(queue: Queue, rows: JobStore | None) -> DeadLetters:
    """As the engine makes them."""
    return engine_of(queue, rows).dead_letters()


@pytest.fixture
def row_letters(queue: Queue, store: JobStore) -> DeadLetters:
    return engine_of(queue, store).dead_letters()


@pytest.fixture
def far_letters(far_queue: Queue) -> DeadLetters:
    return engine_of(far_queue, None).dead_letters()


def failed(job_type: str = "x", job_id: UUID | None = None, **counters: int) -> bytes:
    """A dead letter whose task is one."""
    task = Task(job_type, b'{"n": 12345678901234567890}', JobOptions(3), Counters(**counters), job_id, b'"mine":1.50')
    return re.sub(rb'"at":"[^"]+"', b'"at":"2026-11-29T12:00:00Z"', dead_letter(encode_task(task), "E: x"))


async def put(redis, queue: Queue, *entries: bytes) -> list[str]:
    await redis("RPUSH", queue.keys.dead, *entries)
    return [dead_letter_id(entry) for entry in entries]


async def left(redis, queue: Queue) -> list[bytes]:
    return await redis.list(queue.keys.dead)


async def is_empty(redis, key: str) -> bool:
    return not await redis("EXISTS", key)


# --- looking


async def test_an_entry_is_found_by_its_id_wherever_it_lies(letters, redis, queue):
    entries = [failed(str(number)) for number in range(2500)]
    ids = await put(redis, queue, *entries, FOREIGN)
    for at in (0, 1, 1499, 2499):
        assert await letters.find(ids[at]) == entries[at]
    assert await letters.find(ids[-1]) == FOREIGN
    assert await letters.find("0" * 16) is None
    page = await letters.page(2499, after=ids[2], limit=2)
    assert (page.entries, page.total, page.next) == ([entries[1], entries[0]], 2501, None)


# --- retry


async def test_a_retried_task_begins_anew_and_is_the_same_otherwise(letters, redis, queue):
    ids = await put(redis, queue, failed("a", attempts=4), INVALID, failed("b", recoveries=3, interruptions=2), FOREIGN)
    await queue.push([b"first"])
    done = await letters.retry([ids[0], ids[1], ids[2], "0" * 16])
    assert (done.retried, done.kept, done.missing, done.left) == (2, 1, ["0" * 16], 0)
    assert [each.id for each in done.reasons] == [ids[1]]
    assert "Expected `str`, got `int` - at `$.type`" in done.reasons[0].why
    payload = b'"payload":{"n": 12345678901234567890},"retries":3,"attempts":0,"mine":1.50'
    assert await redis.list(queue.name) == [b"first", b'{"type":"a",%b}' % payload, b'{"type":"b",%b}' % payload]
    assert await left(redis, queue) == [INVALID, FOREIGN]


async def test_a_failed_job_that_is_retried_may_fail_as_often_again(redis, queue, lease):
    """Without rows it lies in the dead letters with its failures: with its next it would be back there."""
    parts, letters = Steps(queue, None), engine_of(queue, None).dead_letters()
    await parts.submit.run_batch([Submission("x", b"{}", JobOptions(1))])
    for verdict in (Retry("E: 1", RunOutcome.FAILED), FAILED):
        await trio.sleep(0.05)
        await queue.promote()
        [claimed] = await take(parts, lease, 1)
        await parts.settle.run_batch([Ending(claimed, verdict, 0.5)])
    [entry] = await left(redis, queue)
    assert json.loads(json.loads(entry)["task"])["attempts"] == 2
    assert await letters.retry([dead_letter_id(entry)]) == Retried(retried=1)
    [claimed] = await take(parts, lease, 1)
    assert claimed.counters == Counters()


async def test_all_are_retried_the_oldest_first_and_what_is_no_task_stays(letters, redis, queue):
    entries = [failed(str(number), uuid7()) for number in range(2500)]
    await put(redis, queue, FOREIGN, *entries[:1000], INVALID, INVALID, *entries[1000:])
    done = await letters.retry_all()
    assert (done.retried, done.kept, done.left) == (2500, 3, 0)
    assert [task["type"] for task in await ready(redis, queue)] == [str(number) for number in range(2500)]
    assert await left(redis, queue) == [FOREIGN, INVALID, INVALID]
    assert (await letters.retry_all()).retried == 0


async def test_what_fails_again_meanwhile_is_left_alone(letters, redis, queue, monkeypatch):
    """Else a handler that fails each time would keep the request going."""
    await put(redis, queue, *[failed(str(number)) for number in range(5)])
    unbury = Queue.unbury

    async def fails_at_once(self, entries, *, with_copies):
        gone = await unbury(self, entries, with_copies=with_copies)
        await put(redis, queue, *[failed("again") for _ in entries])
        return gone

    monkeypatch.setattr(Queue, "unbury", fails_at_once)
    monkeypatch.setattr(dead_acts, "DEAD_READ_MAX", 2)
    assert (await letters.retry_all()).retried == 5
    assert len(await left(redis, queue)) == 5


async def test_entries_that_are_the_same_are_one_id_and_all_of_them_go(letters, redis, queue):
    one, other = failed("a"), failed("b")
    ids = await put(redis, queue, one, other, one, one)
    assert (await letters.retry([ids[0]])).retried == 3
    assert [task["type"] for task in await ready(redis, queue)] == ["a", "a", "a"]
    assert await left(redis, queue) == [other]


async def test_the_entries_that_stay_are_counted_and_some_of_them_named(letters, redis, queue):
    await put(redis, queue, *[INVALID] * 250)
    done = await letters.retry_all()
    assert (done.kept, len(done.reasons)) == (250, dead_acts.REASONS_MAX)


async def test_a_list_that_takes_too_long_is_done_in_part_and_says_so(letters, redis, queue, monkeypatch):
    ids = await put(redis, queue, *[failed(str(number)) for number in range(1500)])
    monkeypatch.setattr(dead_acts, "ACT_SECONDS", -1.0)
    assert (await letters.retry(ids)).left == 1500
    assert (await letters.delete(ids)).left == 1500
    assert len(await left(redis, queue)) == 1500


# --- retry, with rows


async def test_a_failed_job_is_retried_by_its_row_and_runs_once(
    row_letters, steps, redis, queue, store, psql, lease, other
):
    """A worker drops the task of a job that has ended: pushed as it is, it would be lost."""
    job_id, completed = await steps.submit.run_batch([Submission("x", b"{}", JobOptions(2))] * 2)
    for verdict in (FAILED, Complete(b"1")):
        [claimed] = await take(steps, lease, 1)
        await steps.settle.run_batch([Ending(claimed, verdict, 0.5)])
    ids = await put(redis, queue, failed(job_id=job_id), failed(job_id=completed))
    done = await row_letters.retry_all()
    assert done == Retried(1, 1, [Stays(ids[1], f"job {completed} is completed")])
    assert await left(redis, queue) == [failed(job_id=completed)]
    [claimed] = await take(steps, other, 10)
    assert claimed.job_id == job_id
    await steps.settle.run_batch([Ending(claimed, Complete(b"1"), 0.5)])
    assert await states(psql) == {"completed": 2}
    await steps.piggyback.clear(store)
    await check_rows(queue, psql)


async def test_what_its_row_says_decides(row_letters, steps, redis, queue, psql, lease):
    submitted = [await steps.submit.run_batch([Submission("x", b"{}")]) for _ in range(4)]
    [running], [waiting], [elsewhere], [cancelled] = submitted
    await take(steps, lease, 1)
    await psql("UPDATE jobs SET queue = 'another' WHERE id = $1", elsewhere)
    await psql("UPDATE jobs SET state = 'cancelled', finished_at = now() WHERE id = $1", cancelled)
    gone = uuid7()
    await psql("INSERT INTO deleted (id, queue) VALUES ($1, $2)", gone, queue.name)
    await redis("DEL", queue.name)
    ids = await put(
        redis, queue, *[failed(job_id=job_id) for job_id in (running, waiting, elsewhere, cancelled, gone)]
    )  # fmt: skip
    done = await row_letters.retry(ids)
    assert done.retried == 2
    assert {each.id: each.why for each in done.reasons} == {
        ids[0]: f"job {running} is processing",
        ids[2]: f"job {elsewhere} belongs to queue another",
        ids[4]: f"job {gone} was deleted",
    }
    assert sorted(task["job_id"] for task in await ready(redis, queue)) == sorted(map(str, (waiting, cancelled)))
    assert await states(psql) == {"processing": 1, "pending": 3}


async def test_a_task_without_a_row_gets_one(row_letters, steps, redis, queue, store, psql, lease):
    """As they come from a time without Postgres: with an id and its failures, and no row."""
    job_id = uuid7()
    await put(redis, queue, failed("old", job_id, attempts=4), failed("new"))
    assert (await row_letters.retry_all()).retried == 2
    claimed = await take(steps, lease, 10)
    assert [(each.task.type, each.counters) for each in claimed] == [("old", Counters()), ("new", Counters())]
    assert claimed[0].job_id == job_id
    assert await states(psql) == {"processing": 2}


async def test_killed_between_the_row_and_the_entry_the_job_runs_once(
    row_letters, steps, redis, queue, store, psql, lease, other, monkeypatch
):
    [job_id] = await steps.submit.run_batch([Submission("x", b"{}")])
    [claimed] = await take(steps, lease, 1)
    await steps.settle.run_batch([Ending(claimed, Cancel("cancelled"), 0.5)])
    ids = await put(redis, queue, failed(job_id=job_id))

    async def never(*_, **__):
        raise QueueUnavailable("killed here")

    with monkeypatch.context() as patched:
        patched.setattr(Queue, "unbury", never)
        with pytest.raises(QueueUnavailable):
            await row_letters.retry(ids)
    assert await states(psql) == {"pending": 1}
    assert (await row_letters.retry(ids)).retried == 1
    [claimed] = await take(steps, other, 10)
    await steps.settle.run_batch([Ending(claimed, Complete(b"1"), 0.5)])
    assert await take(steps, other, 10) == []
    assert await states(psql) == {"completed": 1}
    await steps.piggyback.clear(store)
    await check_rows(queue, psql)


# --- faults


async def test_a_retry_whose_answer_is_lost_neither_loses_nor_doubles_a_task(
    far_letters, far_queue, redis_proxy, redis, queue
):
    entries = [failed(str(number)) for number in range(5)]
    ids = await put(redis, queue, *entries)
    assert await far_letters.find(ids[0]) == entries[0]  # connected, and the script is known
    read = far_queue.read_dead

    async def and_then_silence(*arguments, **more):
        page = await read(*arguments, **more)
        redis_proxy.swallow_replies()
        return page

    far_queue.read_dead = and_then_silence
    with pytest.raises(QueueUnavailable):
        await far_letters.retry_all()
    await until(partial(is_empty, redis, queue.keys.dead))
    assert [task["type"] for task in await ready(redis, queue)] == list("01234")
    redis_proxy.heal()
    far_queue.read_dead = read
    assert (await far_letters.retry(ids)).missing == sorted(ids)
    assert (await far_letters.retry_all()).retried == 0
    assert len(await ready(redis, queue)) == 5


async def test_a_retry_that_does_not_reach_redis_changes_nothing(far_letters, far_queue, redis_proxy, redis, queue):
    ids = await put(redis, queue, failed("a"))
    assert await far_letters.find(ids[0]) is not None
    redis_proxy.requests_pass = False
    for act in (far_letters.retry_all, far_letters.delete_all, partial(far_letters.retry, ids)):
        with pytest.raises(QueueUnavailable):
            await act()
    redis_proxy.heal()
    assert await left(redis, queue) == [failed("a")]
    assert await is_empty(redis, queue.name)


async def test_two_people_who_retry_and_delete_at_once_do_it_once(letters, redis, queue, lease, parts):
    entries = [failed(str(number), uuid7()) for number in range(3000)]
    ids = await put(redis, queue, *entries)
    results: list[Retried] = []
    deleted: list[Deleted] = []

    async def retry() -> None:
        results.append(await letters.retry_all())

    async def delete() -> None:
        deleted.append(await letters.delete(ids[1000:1500]))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(retry)
        nursery.start_soon(retry)
        nursery.start_soon(delete)
    tasks = [task["type"] for task in await ready(redis, queue)]
    assert len(tasks) == len(set(tasks)) == sum(each.retried for each in results)
    assert len(tasks) + deleted[0].deleted == 3000
    assert await is_empty(redis, queue.keys.dead)


async def test_a_redis_without_memory_lets_them_go(redis, queue, letters):
    ids = await put(redis, queue, failed("a"), failed("b"))
    limit = await redis("CONFIG", "GET", "maxmemory")
    await redis("CONFIG", "SET", "maxmemory", "1")
    try:
        assert (await letters.retry([ids[0]])).retried == 1
        assert (await letters.delete([ids[1]])).deleted == 1
    finally:
        await redis("CONFIG", "SET", "maxmemory", limit[1])
    assert [task["type"] for task in await ready(redis, queue)] == ["a"]


async def test_a_worker_that_dies_with_a_retried_task_gives_it_back(letters, redis, queue, parts, rows, lease, other):
    await put(redis, queue, failed("a", uuid4(), recoveries=2))
    await letters.retry_all()
    await take(parts, lease, 1)
    await fence(queue, lease)
    await make_recover(queue, rows, max_recoveries=2).run_once(lease.id)
    if rows is None:
        assert [claimed.counters.recoveries for claimed in await take(parts, other, 1)] == [1]


# --- delete


async def test_entries_are_deleted_with_their_copies_and_others_stay(letters, redis, queue):
    ids = await put(redis, queue, failed("a"), INVALID, FOREIGN, INVALID, failed("b"))
    assert await letters.delete([ids[1], ids[2], "0" * 16]) == Deleted(3, ["0" * 16])
    assert await left(redis, queue) == [failed("a"), failed("b")]
    assert await letters.delete_all() == Deleted(2)
    assert await letters.delete_all() == Deleted(0)
    assert await is_empty(redis, queue.name)


async def test_many_are_deleted_by_their_ids(letters, redis, queue):
    ids = await put(redis, queue, *[failed(str(number)) for number in range(3000)])
    assert await letters.delete(ids[::3]) == Deleted(1000)
    assert len(await left(redis, queue)) == 2000


async def test_no_ids_are_not_all(letters, redis, queue):
    await put(redis, queue, failed("a"))
    assert await letters.retry([]) == Retried()
    assert await letters.delete([]) == Deleted()
    assert len(await left(redis, queue)) == 1
