"""What a person does to many jobs: the filter, exact counts, and the death of the worker that does it."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest
import trio
from uuid_utils.compat import uuid7

from tests.core.steps.support import ready, relay_now, states, take
from tests.support.invariants import check_rows
from tests.support.wait import until
from workqueue.core.job import JobState, RunOutcome
from workqueue.core.job_filter import ActName, JobFilter, StatusFilter
from workqueue.core.options import DEFAULTS
from workqueue.core.outcome import Fail
from workqueue.core.queue import Queue
from workqueue.core.steps import actions as module
from workqueue.core.steps.actions import Actions
from workqueue.core.steps.acts import Acts
from workqueue.core.steps.settle import Ending
from workqueue.core.store import Action, JobStore, NewJob

NOW = datetime.now(UTC)
ANY = JobFilter()


@pytest.fixture
def acts(steps, queue: Queue, store: JobStore) -> Acts:
    return Acts(queue, store, steps.piggyback)


@pytest.fixture
def actions(queue: Queue, store: JobStore, acts: Acts) -> Actions:
    return Actions(queue, store, acts)


async def insert(store: JobStore, queue: Queue, psql, count: int, changes: str = "") -> list[UUID]:
    """Jobs that are only rows; `changes`: what an UPDATE sets."""
    ids = [uuid7() for _ in range(count)]
    await store.insert(uuid7(), queue.name, [NewJob(job_id, "x", "{}", DEFAULTS) for job_id in ids], [])
    await psql("DELETE FROM outbox")
    if changes:
        await psql(f"UPDATE jobs SET {changes} WHERE id = ANY ($1)", ids)
    return ids


FAILED = "state = 'failed', attempts = 1, failed_at = now(), finished_at = now(), error_message = 'E: no'"


async def ask(store: JobStore, queue: Queue, act: ActName, wanted: JobFilter = ANY) -> Action:
    action_id = uuid7()
    matched = await store.actions.count(queue.name, act, wanted)
    await store.actions.insert(action_id, queue.name, act, wanted, matched)
    action = await store.actions.get(queue.name, action_id)
    assert action is not None
    return action


async def carry_out(actions: Actions) -> None:
    with trio.fail_after(60):
        while await actions.run_once():
            pass


async def result(store: JobStore, queue: Queue, action: Action) -> tuple[int, int, int, str]:
    found = await store.actions.get(queue.name, action.id)
    assert found is not None
    return found.matched, found.done, found.failed, found.state


# --- the filter


def matches(row: Any, act: ActName, wanted: JobFilter) -> bool:
    """The same in Python."""
    is_early = row["run_at"] is not None and row["run_at"] > NOW
    applies = {
        ActName.CANCEL: row["state"] == "pending" or (row["state"] == "processing" and row["cancel_at"] is None),
        ActName.RETRY: row["state"] in {"failed", "cancelled"},
        ActName.RUN_NOW: row["state"] == "pending" and is_early,
        ActName.DELETE: row["state"] in {"completed", "failed", "cancelled"},
    }
    status = {
        None: True,
        "scheduled": row["state"] == "pending" and is_early and row["attempts"] == 0,
        "retrying": row["state"] == "pending" and row["attempts"] > 0,
    }
    return (
        applies[act]
        and status.get(wanted.status, row["state"] == wanted.status)
        and wanted.type in {None, row["type"]}
        and (wanted.created_after is None or row["created_at"] >= wanted.created_after)
        and (wanted.created_before is None or row["created_at"] < wanted.created_before)
        and (wanted.error is None or wanted.error.lower() in (row["error_message"] or "").lower())
        and (wanted.ids is None or row["id"] in wanted.ids)
    )


async def some_rows(store: JobStore, queue: Queue, psql, random: Random) -> list[UUID]:
    ids = await insert(store, queue, psql, 60)
    for job_id in ids:
        state = random.choice([*JobState])
        has_ended_badly = state in {JobState.FAILED, JobState.CANCELLED}
        await psql(
            "UPDATE jobs SET state = $2, token = $3, type = $4, attempts = $5, run_at = $6, created_at = $7,"
            " error_message = $8, cancel_at = $9, failed_at = $10 WHERE id = $1",
            job_id,
            str(state),
            uuid4(),
            random.choice("xy"),
            random.choice([0, 0, 1]),
            random.choice([None, NOW + timedelta(hours=1), NOW - timedelta(hours=1)]) if state == "pending" else None,
            NOW - timedelta(minutes=random.choice([1, 1, 2, 3])),
            random.choice([None, "Timeout: 100%", "a_b\\c", "timeout"]),
            random.choice([None, NOW]) if state == "processing" else None,
            NOW if has_ended_badly else None,
        )
    # What waits for a time, or after a failure, was requeued: every statement that makes it wait says so.
    await psql("UPDATE jobs SET requeued = true WHERE state = 'pending' AND (attempts > 0 OR run_at IS NOT NULL)")
    return ids


def some_filter(random: Random, ids: Sequence[UUID]) -> JobFilter:
    some: dict[str, Any] = {
        "status": random.choice([*StatusFilter]),
        "type": "x",
        "created_after": NOW - timedelta(minutes=2),
        "created_before": NOW - timedelta(minutes=1),
        "error": random.choice(["TIMEOUT", "100%", "%", "_", "\\"]),
        "ids": tuple(random.sample(ids, 20)),
    }
    return JobFilter(**{name: value for name, value in some.items() if random.random() < 0.3})


@pytest.mark.parametrize("act", ActName)
@pytest.mark.parametrize("seed", range(4))
async def test_exactly_the_jobs_that_match_are_counted_and_changed(
    actions, store, queue, psql, act: ActName, seed: int, monkeypatch: pytest.MonkeyPatch
):
    random = Random(f"{act} {seed}")
    for name, value in (("LOOK_MAX", 7), ("ACTED_MAX", 3), ("PAUSE_SECONDS", 0)):
        monkeypatch.setattr(module, name, value)
    ids = await some_rows(store, queue, psql, random)
    rows = await psql("SELECT * FROM jobs")
    for _ in range(60):
        wanted = some_filter(random, ids)
        assert await store.actions.count(queue.name, act, wanted) == sum(matches(row, act, wanted) for row in rows)
    for _ in range(6):
        wanted = some_filter(random, ids)
        before = {row["id"]: row for row in await psql("SELECT * FROM jobs")}
        expected = {job_id for job_id, row in before.items() if matches(row, act, wanted)}
        action = await ask(store, queue, act, wanted)
        assert action.matched == len(expected)
        await carry_out(actions)
        after = {row["id"]: row for row in await psql("SELECT * FROM jobs")}
        changed = {
            job_id for job_id, row in before.items() if job_id not in after or tuple(row) != tuple(after[job_id])
        }
        assert changed == expected
        assert await result(store, queue, action) == (len(expected), len(expected), 0, "done")


# --- carried out


async def test_a_retried_job_is_pushed_once_and_runs(actions, steps, queue, store, psql, lease, redis):
    ids = await insert(store, queue, psql, 2500, FAILED)
    action = await ask(store, queue, ActName.RETRY, JobFilter(status=StatusFilter.FAILED))
    await carry_out(actions)
    assert await result(store, queue, action) == (2500, 2500, 0, "done")
    assert sorted(task["job_id"] for task in await ready(redis, queue)) == sorted(map(str, ids))
    await steps.piggyback.clear(store)
    await check_rows(queue, psql)


async def test_a_job_that_fails_again_or_comes_later_is_left_alone(
    actions, steps, queue, store, psql, lease, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "ACTED_MAX", 1)
    await insert(store, queue, psql, 3, FAILED)
    action = await ask(store, queue, ActName.RETRY)
    await insert(store, queue, psql, 2, FAILED)
    with trio.fail_after(60):
        while await actions.run_once():
            for claimed in await take(steps, lease, 10):
                await steps.settle.run_batch([Ending(claimed, Fail("E: again", RunOutcome.FAILED), 0.1)])
    assert await result(store, queue, action) == (3, 3, 0, "done")
    assert await states(psql) == {"failed": 5}
    assert await psql.value("SELECT count(*) FROM runs") == 3


async def test_jobs_that_run_are_cancelled_by_their_workers(actions, steps, queue, store, psql, lease):
    await steps.submit.run_batch([])
    ids = await insert(store, queue, psql, 2, "state = 'processing', token = id")
    await ask(store, queue, ActName.CANCEL)
    async with queue.listen() as receive:
        await carry_out(actions)
        message = None
        with trio.fail_after(10):
            while message is None:
                message = await receive()
    assert all(str(job_id).encode() in message for job_id in ids)
    assert await psql.value("SELECT count(*) FROM jobs WHERE cancel_at IS NOT NULL") == 2


async def test_several_workers_count_each_job_once(queue, store, acts, psql, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "ACTED_MAX", 20)
    await insert(store, queue, psql, 400, FAILED)
    action = await ask(store, queue, ActName.RETRY)

    async def work() -> None:
        with trio.fail_after(60):
            while (await result(store, queue, action))[3] == "running":
                await Actions(queue, store, acts).run_once()

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(work)
    assert await result(store, queue, action) == (400, 400, 0, "done")


async def test_an_action_goes_on_after_the_death_of_its_worker(
    far_steps, postgres_proxy, far_store, far_queue, actions, queue, store, psql, redis, monkeypatch: pytest.MonkeyPatch
):
    """Killed between the piece and its push, and before the answer of the next piece."""
    monkeypatch.setattr(module, "ACTED_MAX", 10)
    ids = await insert(store, queue, psql, 35, FAILED)
    action = await ask(store, queue, ActName.RETRY)
    dying = Actions(far_queue, far_store, Acts(far_queue, far_store, far_steps.piggyback))
    assert await dying.run_once()
    async with trio.open_nursery() as nursery:
        postgres_proxy.swallow_replies()
        nursery.start_soon(dying.run_once)
        await postgres_proxy.replies_swallowed.wait()
        nursery.cancel_scope.cancel()
    await carry_out(actions)
    assert await result(store, queue, action) == (35, 35, 0, "done")
    await relay_now(queue, store, psql)
    assert {task["job_id"] for task in await ready(redis, queue)} == set(map(str, ids)), "what it did not push is"


async def test_an_action_stops_where_it_is(actions, queue, store, psql, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "ACTED_MAX", 4)
    await insert(store, queue, psql, 10, FAILED)
    action = await ask(store, queue, ActName.DELETE)
    assert await actions.run_once()
    await store.actions.stop(queue.name, action.id)
    assert not await actions.run_once()
    assert await result(store, queue, action) == (10, 4, 0, "stopped")
    assert await states(psql) == {"failed": 6}
    await store.actions.stop(queue.name, action.id)
    assert await result(store, queue, action) == (10, 4, 0, "stopped")


async def test_a_job_that_changed_before_its_turn_is_counted_apart(actions, queue, store, psql):
    [job_id, _] = await insert(store, queue, psql, 2, FAILED)
    action = await ask(store, queue, ActName.RETRY)

    async def is_waited_for() -> bool:
        waiting = "SELECT count(DISTINCT pid) FROM pg_locks WHERE locktype = 'tuple' AND relation = 'jobs'::regclass"
        return bool(await psql.value(waiting) == 1)

    async with trio.open_nursery() as nursery:
        await psql("BEGIN")
        await psql("UPDATE jobs SET state = 'completed', failed_at = NULL WHERE id = $1", job_id)
        nursery.start_soon(actions.run_once)
        await until(is_waited_for)
        await psql("COMMIT")
    assert await result(store, queue, action) == (2, 1, 1, "done")


async def test_actions_of_another_queue_are_not_ours(actions, queue, store, psql):
    await store.actions.insert(uuid7(), "another", ActName.DELETE, ANY, 1)
    assert not await actions.run_once()


async def test_without_redis_an_action_goes_on_and_its_jobs_are_pushed_later(
    far_steps, redis_proxy, far_store, far_queue, queue, store, psql, redis
):
    ids = await insert(store, queue, psql, 3, FAILED)
    action = await ask(store, queue, ActName.RETRY)
    redis_proxy.go_away()
    await carry_out(Actions(far_queue, far_store, Acts(far_queue, far_store, far_steps.piggyback)))
    assert await result(store, queue, action) == (3, 3, 0, "done")
    await relay_now(queue, store, psql)
    assert {task["job_id"] for task in await ready(redis, queue)} == set(map(str, ids))
