"""Rows of what is paused."""

from workqueue.core.pauses import NOTHING, PAUSED_TYPES_MAX, Paused
from workqueue.core.store import JobStore


async def test_each_change_has_a_greater_version_and_queues_are_apart(store: JobStore):
    assert await store.pauses.read("q") == NOTHING
    assert await store.pauses.change("q", pause=["x", "y"]) == Paused(1, frozenset({"x", "y"}))
    assert await store.pauses.change("q", pause=["x"]) == Paused(2, frozenset({"x", "y"}))
    assert await store.pauses.change("q", resume=["x", "never paused"]) == Paused(3, frozenset({"y"}))
    assert await store.pauses.read("q") == Paused(3, frozenset({"y"}))
    assert await store.pauses.read("another") == NOTHING
    assert await store.pauses.change("another", resume=["y"]) == Paused(1)


async def test_too_many_change_nothing(store: JobStore):
    full = [f"type {number}" for number in range(PAUSED_TYPES_MAX)]
    await store.pauses.change("q", pause=full)
    assert await store.pauses.change("q", pause=["one more"]) is None
    assert await store.pauses.read("q") == Paused(1, frozenset(full))


async def test_a_version_is_outrun_where_it_is_greater(store: JobStore):
    assert await store.pauses.outrun("q", 7) == Paused(8)
    await store.pauses.change("q", pause=["x"])
    assert await store.pauses.outrun("q", 9) == Paused(9, frozenset({"x"}))
    assert await store.pauses.outrun("q", 12) == Paused(13, frozenset({"x"}))


async def test_a_type_that_postgres_cannot_keep_is_made_one_that_it_can(store: JobStore):
    changed = await store.pauses.change("q", pause=["a\0b", "x" * 300])
    assert changed is not None
    assert changed.types == {"a\N{REPLACEMENT CHARACTER}b", "x" * 199 + "…"}
