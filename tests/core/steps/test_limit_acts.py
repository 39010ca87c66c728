"""Setting and deleting limits: the row first, then Redis and the workers."""

import pytest

from tests.support.proxy import Proxy
from tests.support.redis_cli import RedisCli
from tests.support.rows import Psql
from workqueue.core.control import ControlMessage, read_message
from workqueue.core.limits import GROUPS, Limit, Limits
from workqueue.core.queue import Queue
from workqueue.core.steps.limit_acts import LimitActs
from workqueue.core.store import JobStore

TEN = Limit(running=10)
OFTEN = Limit(rate=100, per_seconds=60.0)


@pytest.fixture
def acts(queue: Queue, store: JobStore) -> LimitActs:
    return LimitActs(queue, store.limits)


async def in_redis(redis: RedisCli, name: str) -> dict[str, str]:
    """What each claim asks: of types, and of groups."""
    types, groups = [await redis("HGETALL", f"{{{name}}}:{key}") for key in ("limits", "group_limits")]
    return {field.decode(): value.decode() for field, value in (types | groups).items()}


async def test_a_change_is_in_redis_at_once_and_workers_are_told(acts: LimitActs, queue: Queue, redis: RedisCli):
    async with queue.listen() as receive:
        assert await receive() is None  # it listens
        assert await acts.put("type:x", TEN) == Limits(1, {"type:x": TEN})
        assert read_message(await receive() or b"") == ControlMessage(limits=1)
        of = {"type:x": TEN, "group:acme": OFTEN}
        assert await acts.put("group:acme", OFTEN) == Limits(2, of)
        await acts.put(GROUPS, Limit(3, 5, 1.0))
        expected = {
            "v": "3",
            "type:x": "10 0 0",
            "group:acme": f"0 {OFTEN.interval_us} {OFTEN.tolerance_us}",
            "groups": "3 208000 40000",
        }
        assert await in_redis(redis, queue.name) == expected
        del of["type:x"]
        assert await acts.delete("type:x") == Limits(4, of | {GROUPS: Limit(3, 5, 1.0)})
        del expected["type:x"]
        assert await in_redis(redis, queue.name) == expected | {"v": "4"}
        told = [read_message(await receive() or b"").limits for _ in range(3)]
        assert told == [2, 3, 4]
    assert await acts.read() == Limits(4, of | {GROUPS: Limit(3, 5, 1.0)})


async def test_what_changes_nothing_tells_no_worker(acts: LimitActs, store: JobStore, queue: Queue, redis: RedisCli):
    await acts.put("groups", TEN)
    async with queue.listen() as receive:
        assert await receive() is None  # it listens
        assert await acts.delete("type:x") is None
        many = {f"type:{number}": TEN for number in range(100)}
        await store.limits.declare(queue.name, many, [])
        assert await acts.put("type:x", TEN) is None
        assert await receive() is None
    assert (await in_redis(redis, queue.name))["v"] == "1"


async def test_a_declared_limit_holds_until_a_person_sets_one(
    acts: LimitActs, store: JobStore, queue: Queue, redis: RedisCli
):
    await store.limits.declare(queue.name, {"type:x": TEN}, ["x"])
    await acts.put("type:x", Limit(running=3))
    assert (await in_redis(redis, queue.name))["type:x"].split()[0] == "3"
    await acts.delete("type:x")
    assert (await in_redis(redis, queue.name))["type:x"].split()[0] == "10"


async def test_a_change_while_redis_is_away_stands_in_its_row(
    far_queue: Queue, store: JobStore, queue: Queue, redis: RedisCli, redis_proxy: Proxy
):
    acts = LimitActs(far_queue, store.limits)
    redis_proxy.go_away()
    assert await acts.put("type:x", TEN) == Limits(1, {"type:x": TEN})
    assert await store.limits.read(queue.name) == Limits(1, {"type:x": TEN})
    assert await in_redis(redis, queue.name) == {}
    redis_proxy.heal()
    await acts.put("type:y", TEN)
    assert await in_redis(redis, queue.name) == {"v": "2", "type:x": "10 0 0", "type:y": "10 0 0"}


async def test_a_database_that_was_set_back_wins_over_what_redis_remembers(
    acts: LimitActs, store: JobStore, queue: Queue, redis: RedisCli, psql: Psql
):
    for each in ("x", "y", "z"):
        await acts.put(f"type:{each}", TEN)
    await psql("DELETE FROM limits")
    changed = await acts.put("type:w", TEN)
    assert changed == Limits(4, {"type:w": TEN})
    assert await store.limits.read(queue.name) == changed
    assert await in_redis(redis, queue.name) == {"v": "4", "type:w": "10 0 0"}


async def test_an_older_version_changes_nothing(queue: Queue, redis: RedisCli):
    assert await queue.set_limits(Limits(7, {"type:x": TEN})) == 7
    assert await queue.set_limits(Limits(6, {"type:y": TEN})) == 7
    assert await queue.set_limits(Limits(7, {"type:y": TEN})) == 7
    assert await in_redis(redis, queue.name) == {"v": "7", "type:x": "10 0 0"}
