"""Rows of actions: newest first, stopped once, forgotten after a time. What they do: core/steps/test_actions.py."""

from uuid import UUID

from uuid_utils.compat import uuid7

from workqueue.core.job_filter import ActName, JobFilter, StatusFilter
from workqueue.core.store import JobStore


async def insert(store: JobStore, queue: str = "q", wanted: JobFilter = JobFilter()) -> UUID:  # noqa: B008 - frozen
    action_id: UUID = uuid7()
    await store.actions.insert(action_id, queue, ActName.RETRY, wanted, 5)
    return action_id


async def test_an_action_is_read_as_it_was_asked_for(store: JobStore):
    wanted = JobFilter(status=StatusFilter.RETRYING, type="x", error="100%", ids=(uuid7(),))
    action = await store.actions.get("q", await insert(store, wanted=wanted))
    assert action is not None
    assert (action.action, action.matched, action.done, action.failed, action.state) == ("retry", 5, 0, 0, "running")
    found = action.filter
    assert (found.status, found.type, found.error, found.ids) == (wanted.status, "x", "100%", wanted.ids)
    assert found.created_before is not None, "younger jobs are left alone"


async def test_the_oldest_is_next_and_the_newest_is_shown_first(store: JobStore):
    ids = [await insert(store) for _ in range(3)]
    await insert(store, "another")
    following = await store.actions.next("q")
    assert following is not None
    assert following.id == ids[0]
    assert [action.id for action in await store.actions.newest("q", limit=2)] == [ids[2], ids[1]]
    assert await store.actions.get("another", ids[0]) is None


async def test_a_stopped_action_is_not_next_and_is_forgotten_after_a_time(store: JobStore, psql):
    stopped, running = [await insert(store) for _ in range(2)]
    await store.actions.stop("q", stopped)
    following = await store.actions.next("q")
    assert following is not None
    assert following.id == running
    await psql("UPDATE actions SET created_at = '2020-01-01Z'")
    assert await store.actions.prune(keep_seconds=60, limit=10) == 1
    assert [action.id for action in await store.actions.newest("q", limit=9)] == [running]
