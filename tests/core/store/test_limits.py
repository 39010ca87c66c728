"""Rows of limits."""

import trio

from workqueue.core.audit import AuditEntry, limit_target
from workqueue.core.limits import GROUPS_MAX, NONE, TYPES_MAX, Limit, Limits
from workqueue.core.store import JobStore

TEN = Limit(running=10)
FIVE = Limit(running=5)
OFTEN = Limit(rate=100, per_seconds=60.0)


async def test_each_change_has_a_greater_version_and_installations_are_apart(store: JobStore):
    assert await store.limits.read("q") == NONE
    assert await store.limits.version("q") == 0
    assert await store.limits.put("q", "type:x", TEN) == Limits(1, {"type:x": TEN})
    both = {"type:x": TEN, "group:größer/\"'": OFTEN}
    assert await store.limits.put("q", "group:größer/\"'", OFTEN) == Limits(2, both)
    assert await store.limits.put("q", "type:x", OFTEN) == Limits(3, both | {"type:x": OFTEN}), "a whole limit"
    assert await store.limits.put("q", "type:x", OFTEN) == Limits(4, both | {"type:x": OFTEN})
    assert await store.limits.put("q", "groups", TEN) == Limits(5, both | {"type:x": OFTEN, "groups": TEN})
    del both["type:x"]
    assert await store.limits.delete("q", "type:x") == Limits(6, both | {"groups": TEN})
    assert await store.limits.version("q") == 6
    assert await store.limits.read("another") == NONE


async def test_one_that_is_not_there_is_not_deleted(store: JobStore, psql):
    assert await store.limits.delete("q", "type:x") is None
    await store.limits.declare("q", {"type:x": TEN}, ["x"])
    audit = AuditEntry("ops", "delete limit", limit_target("type:x"))
    assert await store.limits.delete("q", "type:x", audit) is None, "the code declares it"
    assert await store.limits.version("q") == 1
    assert await psql("SELECT * FROM audit") == []


async def test_a_change_leaves_its_row_in_the_audit(store: JobStore, psql):
    await store.limits.put("q", "type:x", TEN, AuditEntry("ops", "set limit", limit_target("type:x", TEN)))
    await store.limits.delete("q", "type:x", AuditEntry(None, "delete limit", limit_target("type:x")))
    assert await psql("SELECT queue, who, act, target, count FROM audit ORDER BY id") == [
        ("q", "ops", "set limit", '{"scope":"type:x","limit":{"running":10}}', None),
        ("q", None, "delete limit", '{"scope":"type:x"}', None),
    ]


async def test_too_many_change_nothing(store: JobStore, psql):
    types = TYPES_MAX - 1
    await store.limits.declare("q", {f"type:{number}": TEN for number in range(types)}, [])
    assert await store.limits.put("q", "type:0", FIVE) is not None, "it is among them"
    assert await store.limits.put("q", "type:last", FIVE) is not None
    before = await store.limits.read("q")
    audit = AuditEntry("ops", "set limit", limit_target("type:one more"))
    assert await store.limits.put("q", "type:one more", FIVE, audit) is None
    assert await store.limits.read("q") == before
    assert await psql("SELECT * FROM audit") == []
    assert await store.limits.put("q", "type:last", TEN) is not None
    groups = "SELECT json_object_agg('group:' || n, '{\"running\": 1}'::json) FROM generate_series(1, $1) AS n"
    await psql(f"UPDATE limits SET limits = limits || ({groups})::jsonb", GROUPS_MAX)
    assert await store.limits.put("q", "group:0", FIVE) is None
    assert await store.limits.put("q", "group:1", FIVE) is not None
    assert await store.limits.put("q", "groups", FIVE) is not None, "of these there is one"


async def test_what_the_code_declares_is_noted_once_and_goes_with_its_declaration(store: JobStore):
    assert await store.limits.declare("q", {}, ["x", "y"]) == NONE
    declared = {"type:x": TEN, "type:y": OFTEN}
    assert await store.limits.declare("q", declared, ["x", "y", "z"]) == Limits(1, {}, declared)
    assert await store.limits.declare("q", declared, ["x", "y", "z"]) == Limits(1, {}, declared), "nothing differs"
    assert await store.limits.declare("q", {"type:y": OFTEN}, ["y"]) == Limits(1, {}, declared), "x is another worker's"
    other = {"type:w": Limit(3, 7, 0.5)}
    assert await store.limits.declare("q", other, ["w"]) == Limits(2, {}, declared | other)
    await store.limits.put("q", "type:x", FIVE)
    changed = await store.limits.declare("q", {"type:y": FIVE}, ["x", "y"])
    assert changed == Limits(4, {"type:x": FIVE}, {"type:y": FIVE} | other)
    assert changed.effective == {"type:x": FIVE, "type:y": FIVE} | other
    assert await store.limits.declare("q", {}, ["w", "x", "y"]) == Limits(5, {"type:x": FIVE})


async def test_too_many_declarations_change_nothing(store: JobStore):
    many = {f"type:{number}": TEN for number in range(TYPES_MAX + 1)}
    assert await store.limits.declare("q", many, []) == NONE
    await store.limits.put("q", "type:a", TEN)
    fitting = dict(list(many.items())[: TYPES_MAX - 1])
    assert (await store.limits.declare("q", fitting | {"type:b": TEN}, [])).declared == {}
    assert (await store.limits.declare("q", fitting | {"type:a": FIVE}, [])).declared == fitting | {"type:a": FIVE}


async def test_no_change_is_lost_where_many_come_at_once(store: JobStore):
    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(store.limits.put, "q", f"group:{number}", TEN)
            nursery.start_soon(store.limits.declare, "q", {f"type:{number}": TEN}, [str(number)])
    found = await store.limits.read("q")
    assert found.version == 20
    assert set(found.effective) == {f"{kind}:{number}" for kind in ("group", "type") for number in range(10)}


async def test_a_version_is_outrun_where_it_is_greater(store: JobStore):
    assert await store.limits.outrun("q", 7) == Limits(8)
    await store.limits.put("q", "type:x", TEN)
    assert await store.limits.outrun("q", 9) == Limits(9, {"type:x": TEN})
    assert await store.limits.outrun("q", 12) == Limits(13, {"type:x": TEN})
