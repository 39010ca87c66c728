"""Every script, given keys that are missing or of another type: it does what its header says, or nothing at all."""

import re
from functools import partial
from uuid import UUID, uuid4

import pytest
from redis.exceptions import OutOfMemoryError

from tests.support.redis_cli import RedisCli, open_redis_cli
from tests.support.wait import until
from workqueue.core.errors import KeyOfAnotherType, QueueUnavailable
from workqueue.core.queue import Queue, open_queue, scripts
from workqueue.core.queue.scripts import Script
from workqueue.services.local.valkey import run_valkey

ID_1, ID_2 = "1" * 36, "2" * 36


def task(group: str, id: str = "", n: int = 1) -> str:
    """As a producer writes it."""
    return f'{{"type":"y","n":{n},"group":"{group}"' + (f',"job_id":"{id}"}}' if id else "}")


#: Script -> its keys, by their names in Keys, and arguments (LEASE: one that lives, or has ended; it holds task 1).
CALLS: dict[str, tuple[Script, list[str], list[object], bool]] = {
    "register": (scripts.REGISTER, ["leases", "workers"], ["another", "{}"], True),
    "renew": (scripts.RENEW, ["leases", "workers", "asked"], ["LEASE", '{"new":1}'], True),
    "fence": (scripts.FENCE, ["leases"], ["LEASE", "SCORE"], True),
    "end": (scripts.END, ["leases"], ["LEASE"], True),
    "retire": (
        scripts.RETIRE,
        ["leases", "workers", "flight", "started", "gone"],
        ["LEASE", '{"new":1}', 2, 60_000],
        False,
    ),
    "claim": (
        scripts.CLAIM,
        ["ready", "front", "leases", "flight", "pauses", "queues"],
        ["LEASE", 5, 1000, 7, 0],
        True,
    ),
    "assign_ids": (scripts.ASSIGN_IDS, ["leases", "flight"], ["LEASE", 1, "named"], True),
    "ack": (scripts.ACK, ["flight"], [1, 2], True),
    "back": (
        scripts.GIVE_BACK,
        ["ready", "scheduled", "flight", "bell", "queues"],
        [1, 0, "", 2, 50, "later"],
        True,
    ),
    "bury": (scripts.BURY, ["dead", "flight"], [10, 1, "entry"], True),
    "promote": (scripts.PROMOTE, ["ready", "scheduled", "queues", "bell"], [10, 1000], True),
    "schedule": (scripts.SCHEDULE, ["ready", "scheduled", "queues"], ["+5", "task"], True),
    "submit_once": (scripts.SUBMIT_ONCE, ["ready", "queues", "bell", "idem"], [60_000, "body", "", "task"], True),
    "record_suspect_start": (scripts.RECORD_SUSPECT_START, ["leases", "started"], ["LEASE", 2], True),
    "next_task": (scripts.NEXT_TASK, ["front", "ready"], [100], True),
    "read_dead": (scripts.READ_DEAD, ["dead"], [0, "newest", 10, 1000, ""], True),
    "unbury": (scripts.UNBURY, ["dead", "ready", "queues", "bell"], [0, "d1", "task"], True),
    "set_paused": (scripts.SET_PAUSED, ["pauses"], [4, "t:z"], True),
    "park": (scripts.PARK, ["flight", "pauses", "parked", "counts"], ["x", 1, 3], True),
    "unpark": (scripts.UNPARK, ["ready", "pauses", "parked", "counts", "bell"], ["y", 10, 1000], True),
    "submit_unique": (
        scripts.SUBMIT_UNIQUE,
        ["ready", "queues", "bell", "front", "free", "idem"],
        [60_000, "", 0, "x", "j2", "", "task", "body"],
        True,
    ),
    "free_unique": (scripts.FREE_UNIQUE, ["flight", "unique"], [1, 1, "j1"], True),
    "push": (scripts.PUSH, ["ready", "queues", "bell"], ["default", "task"], True),
    "fire": (
        scripts.FIRE,
        ["ready", "queues", "bell", "schedules"],
        [
            *("s", "4000000000000", "4000000001000", "default", 0, 1, 0, "task"),
            *("s", "4000000000000", "4000000002000", "default", 0, 1, 0, "not pushed: it has moved"),
            *("new", "", "4000000003000", "default", 0, 0),
        ],
        True,
    ),
    "add_queue": (scripts.ADD_QUEUE, ["queues"], ["new", 5], True),
    "depths": (
        scripts.DEPTHS,
        ["ready", "front", "scheduled", "dead", "counts", "pauses", "queues"],
        [],
        True,
    ),
    "heads": (scripts.HEADS, ["ready", "front", "queues"], [100], True),
    "tick": (scripts.READ_CHECKPOINT, ["checkpoint"], [], True),
    "set_checkpoint": (scripts.SET_CHECKPOINT, ["checkpoint"], [1000, 2000], True),
}
#: The same, on a server where lanes wait and permits are held (Keyspace.fill).
WITH_LANES: dict[str, tuple[Script, list[str], list[object], bool]] = {
    "admit": (
        scripts.ADMIT,
        ["ready", "flight"],
        ["LEASE", 1, 1, "default", "b", "", 2, 2, "default", "", "x", 3, 4, "default", "n", ""],
        True,
    ),
    "hold": (scripts.HOLD, ["ready", "flight"], ["LEASE", 1, "b", "x", 2, "", "x", 4, "", "x"], True),
    "set_limits": (
        scripts.SET_LIMITS,
        ["ready", "limits", "group_limits"],
        [4, "type:x", "5 0 0", "groups", "0 10 1"],
        True,
    ),
    "pause_scope": (scripts.PAUSE_SCOPE, ["ready"], ["type:z", 5000], True),
    "sweep_permits": (scripts.SWEEP_PERMITS, ["ready", "holders"], [], True),
    "rouse": (scripts.ROUSE, ["ready", "behind"], [], True),
    "claim_ahead": (
        scripts.CLAIM_AHEAD,
        ["ready", "leases", "flight"],
        ["LEASE", 2, 1000, 7, "default:1:b", "default:1:a", "default:0:x"],
        True,
    ),
    "return_ahead": (
        scripts.RETURN_AHEAD,
        ["ready", "flight", "bell"],
        [3, "default:1:b", 2, "default:1:b", 1, "default:1:n", 9, "default:1:n"],
        True,
    ),
    "claim, lanes": (
        scripts.CLAIM,
        ["ready", "front", "leases", "flight", "pauses", "queues"],
        ["LEASE", 4, 1000, 7, 0],
        True,
    ),
    "ack, permit": (scripts.ACK, ["flight"], [1, 2], True),
    "back, lanes": (
        scripts.GIVE_BACK,
        ["ready", "scheduled", "flight", "bell", "queues"],
        [3, 0, task("a"), 2, 50, task("s"), 1, 50, task("a")],
        True,
    ),
    "bury, permit": (scripts.BURY, ["dead", "flight"], [10, 1, "entry"], True),
    "park, permit": (scripts.PARK, ["flight", "pauses", "parked", "counts"], ["x", 1], True),
    "free_unique, permit": (scripts.FREE_UNIQUE, ["flight", "unique"], [1, 1, ID_1], True),
    "retire, permit": (
        scripts.RETIRE,
        ["leases", "workers", "flight", "started", "gone"],
        ["LEASE", '{"new":1}', 2, 60_000],
        False,
    ),
    "promote, lanes": (scripts.PROMOTE, ["ready", "scheduled", "queues", "bell"], [10, 1000], True),
    "submit_once, lanes": (
        scripts.SUBMIT_ONCE,
        ["ready", "queues", "bell", "idem"],
        [60_000, "body", "", task("a")],
        True,
    ),
    "submit_unique, lanes": (
        scripts.SUBMIT_UNIQUE,
        ["ready", "queues", "bell", "front", "free", "idem"],
        [60_000, "", 0, "x", "j2", "", task("n"), "body"],
        True,
    ),
    "submit_unique, replaces": (
        scripts.SUBMIT_UNIQUE,
        ["ready", "queues", "bell", "front", "unique", "idem"],
        [60_000, "", 1, "y", ID_2, "", task("a", ID_2, n=2), "body"],
        True,
    ),
    "unbury, lanes": (scripts.UNBURY, ["dead", "ready", "queues", "bell"], [0, "d1", task("n")], True),
    "unpark, lanes": (scripts.UNPARK, ["ready", "pauses", "parked", "counts", "bell"], ["y", 10, 1000], True),
    "push, lanes": (scripts.PUSH, ["ready", "queues", "bell"], ["default", task("a"), "default", task("n")], True),
    "depths, lanes": (
        scripts.DEPTHS,
        ["ready", "front", "scheduled", "dead", "counts", "pauses", "queues"],
        [],
        True,
    ),
    "heads, lanes": (scripts.HEADS, ["ready", "front", "queues"], [100], True),
}
CALLS |= WITH_LANES
MISSING = {  # what each answers on a server that has none of its keys
    "register": 1, "renew": 0, "fence": 0, "end": 0, "retire": 1, "claim": [-1], "assign_ids": [0], "ack": 0,
    "back": [0, 0], "bury": [0, 0], "promote": [0, -1], "schedule": 1, "record_suspect_start": 0, "set_checkpoint": 0,
    "submit_once": [b"pushed"], "tick": [b"RUN", None],
    "next_task": [b"", b"NOW"], "read_dead": [0, -1], "unbury": [0],
    "set_paused": [b"v", b"4", b"t:z", b"1"], "park": [1, 1], "unpark": [0, 0],
    "fire": [b"NOW", b"", b"", b"NOW"],
    "submit_unique": [b"pushed", b""], "free_unique": 0,
    "push": 1, "add_queue": 1, "depths": [0, 0, 0, [], []], "heads": [b"NOW", b"default", 0, 0, b""],
    "admit": [0, 0, 0, 0], "hold": 0, "set_limits": b"4", "pause_scope": 1, "sweep_permits": 0, "rouse": 0,
    "claim_ahead": [-1], "return_ahead": 0,
    "claim, lanes": [-1], "ack, permit": 0, "back, lanes": [0, 0, 0], "bury, permit": [0, 0], "park, permit": [1],
    "free_unique, permit": 0, "retire, permit": 1, "promote, lanes": [0, -1], "submit_once, lanes": [b"pushed"],
    "submit_unique, lanes": [b"pushed", b""], "submit_unique, replaces": [b"pushed", b""], "unbury, lanes": [0],
    "unpark, lanes": [0, 0], "push, lanes": 2, "depths, lanes": [0, 0, 0, [], []],
    "heads, lanes": [b"NOW", b"default", 0, 0, b""],
}  # fmt: skip
ONLY_READS = {"next_task", "read_dead", "tick", "depths", "heads", "depths, lanes", "heads, lanes"}
EACH_KEY = [(name, key) for name, (_, keys, _, _) in CALLS.items() for key in keys]


LEFT = UUID(int=7)  #: a lease that is no more; its permits are still there
#: Keys of which the scripts make the names themselves (scripts/_lanes.lua).
OF_LANES = {
    "limits", "group_limits", "lanes", "grouped", "ring", "later", "behind", "blocked", "blocked:default:group:b",
    "blocked:default:type:x", "not_before", "running", "holders", "permits", "permits_left", "bell", "default:1:a",
    "default:1:b", "default:1:c", "default:1:d", "default:1:n", "default:1:s", "default:0:x",
}  # fmt: skip


class Keyspace:
    """The keys of one queue, filled as in the middle of work; and all that is in them."""

    def __init__(self, redis: RedisCli, queue: Queue, lease: UUID) -> None:
        self.redis = redis
        self.queue = queue
        self.lease = lease
        keys = queue.keys
        self.keys = {
            "ready": keys.ready, "front": keys.front, "leases": keys.leases, "workers": keys.workers,
            "scheduled": keys.scheduled, "dead": keys.dead, "flight": keys.flight(lease),
            "started": keys.suspect_starts(lease), "idem": keys.idempotency(b"k"), "checkpoint": keys.checkpoint,
            "asked": keys.asked(lease), "gone": keys.gone,
            "unique": keys.unique("k"), "free": keys.unique("free"),
            "queues": keys.queues, "bell": keys.bell, "schedules": keys.schedules,
            "pauses": keys.pauses, "parked": keys.parked("y"), "counts": keys.parked_counts,
            "limits": keys.limits, "group_limits": keys.group_limits, "lanes": keys.lanes, "grouped": keys.grouped,
            "running": keys.running, "holders": keys.holders, "behind": keys.behind,
            "permits": keys.permits(lease), "permits_left": keys.permits(LEFT),
            **{name: keys.lane(name) for name in ("default:1:a", "default:1:b", "default:1:c", "default:1:d",
               "default:1:n", "default:1:s", "default:0:x")},
            **{name: f"{{{keys.ready}}}:{name}" for name in ("ring", "later", "not_before", "blocked",
               "blocked:default:group:b", "blocked:default:type:x")},
        }  # fmt: skip

    async def __call__(self, *parts):
        return await self.redis(*parts)

    async def fill(self, name: str) -> None:
        *_, lives = CALLS[name]
        await self("RPUSH", self.keys["ready"], "r1", "r2")
        await self("RPUSH", self.keys["front"], "f1")
        await self("ZADD", self.keys["leases"], 1_700_000_000_000 if lives else -1, str(self.lease))
        await self("HSET", self.keys["workers"], str(self.lease), "{}")
        await self("ZADD", self.keys["scheduled"], 1, "due")
        await self("RPUSH", self.keys["dead"], "d1")
        await self("SADD", self.keys["started"], 1)
        await self("SET", self.keys["checkpoint"], 1000)
        await self("SET", self.keys["asked"], "quiet", "PX", 600_000)
        await self("RPUSH", self.keys["gone"], "g1", "g2")
        await self("PEXPIRE", self.keys["gone"], 600_000)
        await self("HSET", self.keys["pauses"], "v", 3, "t:x", 1)
        await self("RPUSH", self.keys["parked"], "p1", "p2")
        await self("HSET", self.keys["counts"], "y", 2)
        await self("HSET", self.keys["unique"], "id", "j1", "type", "x", "task", "t1")
        await self("SADD", self.keys["queues"], "low")
        await self("RPUSH", self.keys["bell"], "low")
        await self("ZADD", self.keys["schedules"], 1, "left behind", 4_000_000_000_000, "s")
        if lives:
            await self("HSET", self.keys["flight"], "at", 1, 1, "t1", 2, "t2")
        else:
            await self("HSET", self.keys["flight"], "at", 1)
        if name in WITH_LANES:
            await self._fill_lanes(lives=lives)

    async def _fill_lanes(self, *, lives: bool) -> None:
        """Group a has its turn next, b and type x wait for a permit, c for a time that has come, d behind a retry."""
        for lane, *tasks in (
            ("1:a", task("a", ID_1), "a2"),
            ("1:b", "b1"),
            ("1:c", "c1"),
            ("1:d", "d1"),
            ("0:x", "x1"),
        ):
            await self("RPUSH", self.keys[f"default:{lane}"], *tasks)
            await self("SADD", self.keys["lanes"], f"default:{lane}")
        await self("HSET", self.keys["grouped"], "default", 6)
        await self("ZADD", self.keys["ring"], 5, "default:1:a")
        for lane, scope in (("default:1:b", "group:b"), ("default:0:x", "type:x")):
            await self("ZADD", self.keys[f"blocked:default:{scope}"], 0, lane)
            await self("HSET", self.keys["blocked"], lane, scope)
        await self("ZADD", self.keys["later"], 1, "default:1:c")
        await self("ZADD", self.keys["behind"], 4_000_000_000_000, "default:1:d")
        await self("HSET", self.keys["limits"], "v", 3, "type:x", "1 0 0", "type:paused", "0 0 0")
        await self("HSET", self.keys["group_limits"], "group:b", "1 0 0", "group:s", "1 0 0", "group:c", "0 1000 1")
        await self("ZADD", self.keys["not_before"], 1, "type:paused", 2, "group:c")
        await self("HSET", self.keys["running"], "group:b", 1, "type:x", 1)
        await self("HSET", self.keys["permits"], 1, "1:b")
        await self("HSET", self.keys["permits_left"], 9, "0:x")
        await self("SADD", self.keys["holders"], str(self.lease), str(LEFT))
        await self("ZADD", self.keys["scheduled"], 2, task("n"))
        await self("RPUSH", self.keys["parked"], task("a"))
        await self("HSET", self.keys["counts"], "y", 3)
        await self("HSET", self.keys["unique"], "id", ID_1, "type", "y", "task", task("a", ID_1))
        if lives:
            await self("HSET", self.keys["flight"], 3, "t3")

    async def run(self, name: str):
        script, keys, arguments, _ = CALLS[name]
        given = {"LEASE": str(self.lease), "SCORE": "1700000000000"}
        return await self.queue._script(
            script,
            [self.keys[key] for key in keys],
            [given.get(a, a) if isinstance(a, str) else a for a in arguments],
        )

    async def everything(self) -> dict[str, object]:
        """DUMP would differ by encoding; so each type is read in its own way."""
        reads = {
            b"list": ("LRANGE", 0, -1), b"zset": ("ZRANGE", 0, -1, "WITHSCORES"), b"hash": ("HGETALL",),
            b"set": ("SMEMBERS",), b"string": ("GET",), b"none": ("EXISTS",),
        }  # fmt: skip
        found: dict[str, object] = {}
        for name, key in self.keys.items():
            command, *rest = reads[await self("TYPE", key)]
            found[name] = await self(command, key, *rest)
        return found


@pytest.fixture
def keyspace(redis, queue) -> Keyspace:
    return Keyspace(redis, queue, uuid4())


PAUSES = [b"v", b"3", b"t:x", b"1"]
#: Script -> its answer, and what it has made of its keys, where all are there.
CHANGES: dict[str, tuple[object, dict[str, object]]] = {
    "register": (1, {"leases": [b"LEASE", b"1700000000000", b"another", b"NOW"],
                     "workers": {b"LEASE": b"{}", b"another": b"{}"}}),
    "renew": (b"quiet", {"leases": [b"LEASE", b"NOW"], "workers": {b"LEASE": b'{"new":1}'}}),
    "fence": (1, {"leases": [b"LEASE", b"0"]}),
    "end": (1, {"leases": [b"LEASE", b"-1"]}),
    "retire": (1, {"leases": 0, "workers": 0, "flight": 0, "started": 0, "gone": [b'NOW {"new":1}', b"g1"]}),
    "claim": ([[PAUSES, []], b"f1", b"r1", b"r2"],
              {"ready": 0, "front": 0,
               "flight": {b"at": b"7", b"1": b"t1", b"2": b"t2", b"7": b"f1", b"8": b"r1", b"9": b"r2"}}),
    "assign_ids": ([1], {"flight": {b"at": b"1", b"1": b"named", b"2": b"t2"}}),
    "ack": (2, {"flight": {b"at": b"1"}}),
    "back": ([1, 1], {"ready": [b"t1", b"r1", b"r2"], "scheduled": [b"due", b"1", b"later", b"NOW"],
                      "flight": {b"at": b"1"}}),
    "bury": ([0, 1], {"dead": [b"d1", b"entry"], "flight": {b"at": b"1", b"2": b"t2"}}),
    "promote": ([1, -1], {"ready": [b"r1", b"r2", b"due"], "scheduled": 0}),
    "schedule": (1, {"scheduled": [b"due", b"1", b"task", b"NOW"]}),
    "submit_once": ([b"pushed"], {"ready": [b"r1", b"r2", b"task"], "idem": b"body"}),
    "record_suspect_start": (1, {"started": {b"1", b"2"}}),
    "next_task": ([b"f1", b"NOW"], {}),
    "read_dead": ([1, -1, b"d1"], {}),
    "unbury": ([1], {"dead": 0, "ready": [b"r1", b"r2", b"task"]}),
    "set_paused": ([b"v", b"4", b"t:z", b"1"], {"pauses": {b"v": b"4", b"t:z": b"1"}}),
    "park": ([1, 1], {"flight": {b"at": b"1", b"2": b"t2"}, "parked": [b"p1", b"p2", b"t1"],
                      "counts": {b"y": b"2", b"x": b"3"}}),
    "unpark": ([2, 0], {"ready": [b"p1", b"p2", b"r1", b"r2"], "parked": 0, "counts": 0}),
    "submit_unique": ([b"pushed", b""], {"ready": [b"r1", b"r2", b"task"], "idem": b"body",
                                         "free": {b"id": b"j2", b"type": b"x", b"task": b"task"}}),
    "free_unique": (1, {"flight": {b"at": b"1", b"2": b"t2"}, "unique": 0}),
    "push": (1, {"ready": [b"r1", b"r2", b"task"]}),
    "fire": ([b"NOW", b"NOW", b"NOW", b"NOW"],
             {"ready": [b"r1", b"r2", b"task"], "schedules": [b"s", b"NOW", b"new", b"NOW"]}),
    "add_queue": (1, {"queues": {b"low", b"new"}}),
    "depths": ([3, 1, 1, [b"y", b"2"], [b"v", b"3", b"t:x", b"1"], b"low", 0, 0], {}),
    "heads": ([b"NOW", b"default", 3, 1, b"f1", b"low", 0, 0, b""], {}),
    "tick": ([b"RUN", b"1000"], {}),
    "set_checkpoint": (1, {"checkpoint": b"2000"}),
}  # fmt: skip

A1, A, N = task("a", ID_1).encode(), task("a").encode(), task("n").encode()
LANES = {b"default:1:a", b"default:1:b", b"default:1:c", b"default:1:d", b"default:0:x"}
NEW_N: dict[str, object] = {  # the first task of a lane
    "bell": [b"low", b"default"], "default:1:n": [N], "grouped": {b"default": b"7"}, "lanes": LANES | {b"default:1:n"},
    "ring": [b"default:1:a", b"5", b"default:1:n", b"6"],
}  # fmt: skip
#: The permit of group b is free: the lane that waits for it has its turn.
RELEASED: dict[str, object] = {
    "bell": [b"low", b"default"], "blocked": {b"default:0:x": b"type:x"}, "blocked:default:group:b": 0,
    "holders": {str(LEFT).encode()}, "permits": 0, "ring": [b"default:1:b", b"4", b"default:1:a", b"5"],
    "running": {b"type:x": b"1"},
}  # fmt: skip
CHANGES |= {
    "admit": ([1, 0, 1, 0], {
        "default:0:x": [b"x1", b"t2"], "flight": {b"at": b"1", b"1": b"t1", b"3": b"t3"}, "grouped": {b"default": b"7"},
        "permits": {b"1": b"1:b", b"3": b"1:n"}, "running": {b"group:b": b"1", b"group:n": b"1", b"type:x": b"1"},
    }),
    "hold": (2, {
        **{key: RELEASED[key] for key in ("bell", "blocked", "blocked:default:group:b", "ring")},  # and looks in vain
        "permits": {b"1": b"1:bx", b"2": b"0:x"}, "running": {b"group:b": b"1", b"type:x": b"3"},
    }),
    "set_limits": (b"4", {
        "bell": [b"low", b"default"], "blocked": 0, "blocked:default:group:b": 0, "blocked:default:type:x": 0,
        "later": 0, "limits": {b"v": b"4", b"type:x": b"5 0 0", b"type:paused": b"0 0 0"},
        "group_limits": {b"groups": b"0 10 1"}, "not_before": [b"type:paused", b"1"],
        "ring": [b"default:1:a", b"5", b"default:1:b", b"6", b"default:0:x", b"7", b"default:1:c", b"8"],
    }),
    "pause_scope": (1, {
        "limits": {b"v": b"3", b"type:x": b"1 0 0", b"type:paused": b"0 0 0", b"type:z": b"0 0 0"},
        "not_before": [b"type:paused", b"1", b"group:c", b"2", b"type:z", b"NOW"],
    }),
    "sweep_permits": (1, {
        "bell": [b"low", b"default"], "blocked": {b"default:1:b": b"group:b"}, "blocked:default:type:x": 0,
        "holders": {b"LEASE"}, "permits_left": 0, "ring": [b"default:0:x", b"4", b"default:1:a", b"5"],
        "running": {b"group:b": b"1"},
    }),
    "rouse": (1, {
        "behind": 0, "bell": [b"low", b"default"], "ring": [b"default:1:d", b"4", b"default:1:a", b"5"],
    }),
    "claim_ahead": ([1, b"b1", 3, b"x1"], {  # no limit holds up the lane of a
        "blocked": 0, "blocked:default:group:b": 0, "blocked:default:type:x": 0, "default:0:x": 0, "default:1:b": 0,
        "flight": {b"at": b"7", b"1": b"t1", b"2": b"t2", b"3": b"t3", b"7": b"b1", b"8": b"x1"},
        "grouped": {b"default": b"4"}, "lanes": LANES - {b"default:1:b", b"default:0:x"},
    }),
    "return_ahead": (3, {
        "bell": [b"low", b"default"], "default:1:b": [b"t2", b"t3", b"b1"], "default:1:n": [b"t1"],
        "flight": {b"at": b"1"}, "grouped": {b"default": b"9"}, "lanes": LANES | {b"default:1:n"},
        "ring": [b"default:1:a", b"5", b"default:1:n", b"6"],
    }),
    "claim, lanes": (
        [[PAUSES, [b"v", b"3", b"type:x", b"1 0 0", b"type:paused", b"0 0 0"]], [b"c1"], [A1], b"f1", b"r1"],
        {
            "bell": [b"low", b"default"], "default:1:a": [b"a2"], "default:1:c": 0, "front": 0, "ready": [b"r2"],
            "flight": {
                b"at": b"7", b"1": b"t1", b"2": b"t2", b"3": b"t3", b"7": b"c1", b"8": A1, b"9": b"f1", b"10": b"r1",
            },
            "grouped": {b"default": b"4"}, "lanes": LANES - {b"default:1:c"}, "later": 0,
            "not_before": [b"type:paused", b"1", b"group:c", b"NOW"],
            "permits": {b"1": b"1:b", b"7": b"1:c", b"8": b"1:a"}, "ring": [b"default:1:a", b"6"],
            "running": {b"group:a": b"1", b"group:b": b"1", b"group:c": b"1", b"type:x": b"1"},
        },
    ),
    "ack, permit": (2, {**RELEASED, "flight": {b"at": b"1", b"3": b"t3"}}),
    "back, lanes": ([1, 1, 1], {
        **RELEASED, "bell": [b"low", b"default", b"default"],
        "behind": [b"default:1:s", b"NOW", b"default:1:d", b"NOW"],
        "default:1:a": [A, A1, b"a2"], "default:1:s": [task("s").encode()], "flight": {b"at": b"1"},
        "grouped": {b"default": b"8"}, "lanes": LANES | {b"default:1:s"},
        "scheduled": [b"due", b"1", N, b"2", A, b"NOW"],
    }),
    "bury, permit": ([0, 1], {
        **RELEASED, "dead": [b"d1", b"entry"], "flight": {b"at": b"1", b"2": b"t2", b"3": b"t3"},
    }),
    "park, permit": ([1], {
        **RELEASED, "flight": {b"at": b"1", b"2": b"t2", b"3": b"t3"}, "parked": [b"p1", b"p2", A, b"t1"],
        "counts": {b"y": b"3", b"x": b"4"},
    }),
    "free_unique, permit": (1, {**RELEASED, "flight": {b"at": b"1", b"2": b"t2", b"3": b"t3"}, "unique": 0}),
    "retire, permit": (1, {**RELEASED, **CHANGES["retire"][1]}),
    "promote, lanes": ([2, b"NOW"], {  # until 2096
        **NEW_N, "bell": [b"low", b"default", b"default"], "later": 0, "not_before": 0, "scheduled": 0,
        "limits": {b"v": b"3", b"type:x": b"1 0 0"}, "ready": [b"r1", b"r2", b"due"],
        "ring": [b"default:1:c", b"4", b"default:1:a", b"5", b"default:1:n", b"6"],
    }),
    "submit_once, lanes": ([b"pushed"], {
        "bell": [b"low", b"default"], "default:1:a": [A1, b"a2", A], "grouped": {b"default": b"7"}, "idem": b"body",
    }),
    "submit_unique, lanes": ([b"pushed", b""], {
        **NEW_N, "free": {b"id": b"j2", b"type": b"x", b"task": N}, "idem": b"body",
    }),
    "submit_unique, replaces": ([b"held", ID_1.encode()], {
        "default:1:a": [task("a", ID_1, n=2).encode(), b"a2"], "idem": b"body" + ID_1.encode(),
        "unique": {b"id": ID_1.encode(), b"type": b"y", b"task": task("a", ID_1, n=2).encode()},
    }),
    "unbury, lanes": ([1], {**NEW_N, "dead": 0}),
    "unpark, lanes": ([3, 0], {
        "bell": [b"low", b"default"], "counts": 0, "default:1:a": [A, A1, b"a2"], "grouped": {b"default": b"7"},
        "parked": 0, "ready": [b"p1", b"p2", b"r1", b"r2"],
    }),
    "push, lanes": (2, {**NEW_N, "default:1:a": [A1, b"a2", A], "grouped": {b"default": b"8"}}),
    "depths, lanes": ([9, 2, 1, [b"y", b"3"], PAUSES, b"low", 0, 0], {}),
    "heads, lanes": ([b"NOW", b"default", 9, 2, b"f1", b"low", 0, 0, b""], {}),
}  # fmt: skip

#: Script and the one key that is missing -> its answer, and which keys it has changed.
WITHOUT: dict[tuple[str, str], tuple[object, set[str]]] = {
    ("register", "leases"): (1, {"leases", "workers"}), ("register", "workers"): (1, {"leases", "workers"}),
    ("renew", "leases"): (0, set()), ("renew", "workers"): (b"quiet", {"leases", "workers"}),
    ("renew", "asked"): (1, {"leases", "workers"}),
    ("fence", "leases"): (0, set()), ("end", "leases"): (0, set()),
    ("retire", "leases"): (1, {"workers", "flight", "started", "gone"}),
    ("retire", "workers"): (1, {"leases", "flight", "started"}),  # it was noted before
    ("retire", "flight"): (1, {"leases", "workers", "started", "gone"}),
    ("retire", "started"): (1, {"leases", "workers", "flight", "gone"}),
    ("retire", "gone"): (1, {"leases", "workers", "flight", "started", "gone"}),
    ("claim", "ready"): ([[PAUSES, []], b"f1"], {"front", "flight"}),
    ("claim", "front"): ([[PAUSES, []], b"r1", b"r2"], {"ready", "flight"}),
    ("claim", "leases"): ([-1], set()),
    ("claim", "flight"): ([[PAUSES, []], b"f1", b"r1", b"r2"], {"ready", "front", "flight"}),
    ("claim", "pauses"): ([7, b"f1", b"r1", b"r2"], {"ready", "front", "flight"}),
    ("claim", "queues"): ([[PAUSES, []], b"f1", b"r1", b"r2"], {"ready", "front", "flight"}),
    **{("back", key): ([1, 1], {"ready", "scheduled", "flight"}) for key in ("bell", "queues")},
    **{("promote", key): ([1, -1], {"ready", "scheduled"}) for key in ("bell", "queues")},
    **{("schedule", key): (1, {"scheduled"}) for key in ("ready", "queues")},
    **{("submit_once", key): ([b"pushed"], {"ready", "idem"}) for key in ("bell", "queues")},
    **{("unbury", key): ([1], {"dead", "ready"}) for key in ("bell", "queues")},
    ("unpark", "bell"): ([2, 0], {"ready", "parked", "counts"}),
    **{("fire", key): ([b"NOW"] * 4, {"ready", "schedules"}) for key in ("ready", "bell", "queues")},
    ("fire", "schedules"): ([b"NOW", b"", b"", b"NOW"], {"schedules"}),
    **{("submit_unique", key): ([b"pushed", b""], {"ready", "free", "idem"}) for key in (
        "ready", "queues", "bell", "front", "free", "idem",
    )},
    ("free_unique", "flight"): (0, set()), ("free_unique", "unique"): (1, {"flight"}),
    **{("push", key): (1, {"ready"}) for key in ("ready", "bell", "queues")},
    ("add_queue", "queues"): (1, {"queues"}),
    **{("depths", key): (answer, set()) for key, answer in {
        "ready": [1, 1, 1, [b"y", b"2"], PAUSES, b"low", 0, 0],
        "front": [2, 1, 1, [b"y", b"2"], PAUSES, b"low", 0, 0],
        "scheduled": [3, 0, 1, [b"y", b"2"], PAUSES, b"low", 0, 0],
        "dead": [3, 1, 0, [b"y", b"2"], PAUSES, b"low", 0, 0],
        "counts": [3, 1, 1, [], PAUSES, b"low", 0, 0],
        "pauses": [3, 1, 1, [b"y", b"2"], [], b"low", 0, 0],
        "queues": [3, 1, 1, [b"y", b"2"], PAUSES],
    }.items()},
    ("heads", "ready"): ([b"NOW", b"default", 1, 1, b"f1", b"low", 0, 0, b""], set()),
    ("heads", "front"): ([b"NOW", b"default", 2, 1, b"r1", b"low", 0, 0, b""], set()),
    ("heads", "queues"): ([b"NOW", b"default", 3, 1, b"f1"], set()),
    ("assign_ids", "leases"): ([0], set()), ("assign_ids", "flight"): ([0], set()),
    ("ack", "flight"): (0, set()),
    ("back", "ready"): ([1, 1], {"ready", "scheduled", "flight"}),
    ("back", "scheduled"): ([1, 1], {"ready", "scheduled", "flight"}), ("back", "flight"): ([0, 0], set()),
    ("bury", "dead"): ([0, 1], {"dead", "flight"}), ("bury", "flight"): ([0, 0], set()),
    ("promote", "ready"): ([1, -1], {"ready", "scheduled"}), ("promote", "scheduled"): ([0, -1], set()),
    ("schedule", "scheduled"): (1, {"scheduled"}),
    ("submit_once", "ready"): ([b"pushed"], {"ready", "idem"}),
    ("submit_once", "idem"): ([b"pushed"], {"ready", "idem"}),
    ("record_suspect_start", "leases"): (0, set()), ("record_suspect_start", "started"): (1, {"started"}),
    ("next_task", "front"): ([b"r1", b"NOW"], set()), ("next_task", "ready"): ([b"f1", b"NOW"], set()),
    ("read_dead", "dead"): ([0, -1], set()),
    ("unbury", "dead"): ([0], set()), ("unbury", "ready"): ([1], {"dead", "ready"}),
    ("set_paused", "pauses"): ([b"v", b"4", b"t:z", b"1"], {"pauses"}),
    ("park", "flight"): ([1, 1], set()), ("park", "pauses"): ([0, 1], set()),
    ("park", "parked"): ([1, 1], {"flight", "parked", "counts"}),
    ("park", "counts"): ([1, 1], {"flight", "parked", "counts"}),
    ("unpark", "ready"): ([2, 0], {"ready", "parked", "counts"}),
    ("unpark", "pauses"): ([2, 0], {"ready", "parked", "counts"}), ("unpark", "parked"): ([0, 0], {"counts"}),
    ("unpark", "counts"): ([2, 0], {"ready", "parked"}),
    ("tick", "checkpoint"): ([b"RUN", None], set()), ("set_checkpoint", "checkpoint"): (0, set()),
}  # fmt: skip

_CLAIMED = set(CHANGES["claim, lanes"][1])
_LIMITED = [PAUSES, [b"v", b"3", b"type:x", b"1 0 0", b"type:paused", b"0 0 0"]]
WITHOUT |= {
    # Of most of these keys none matters, or it is made anew.
    **{
        (name, key): (CHANGES[name][0], set(CHANGES[name][1]))
        for name, (_, keys, *_) in WITH_LANES.items() for key in keys
    },
    ("admit", "flight"): ([0, 0, 0, 0], set()), ("hold", "flight"): (0, set()),
    ("set_limits", "group_limits"): (b"4", set(CHANGES["set_limits"][1]) - {"not_before"}),  # no rate is another one
    ("sweep_permits", "holders"): (0, set()), ("rouse", "behind"): (0, set()),
    ("claim_ahead", "leases"): ([-1], set()), ("return_ahead", "flight"): (0, set()),
    ("claim, lanes", "ready"): ([_LIMITED, [b"c1"], [A1], b"f1", [b"a2"]], _CLAIMED - {"ready"}),
    ("claim, lanes", "front"): ([_LIMITED, [b"c1"], [A1], b"r1", b"r2"], _CLAIMED - {"front"}),
    ("claim, lanes", "leases"): ([-1], set()),
    ("claim, lanes", "pauses"): ([[[], _LIMITED[1]], [b"c1"], [A1], b"f1", b"r1"], _CLAIMED),
    ("ack, permit", "flight"): (0, set(RELEASED)),  # what an ack that failed half way has left
    ("back, lanes", "flight"): ([0, 0, 0], set()), ("bury, permit", "flight"): ([0, 0], set()),
    ("park, permit", "flight"): ([1], set()), ("park, permit", "pauses"): ([0], set()),
    ("free_unique, permit", "flight"): (0, set()),
    ("free_unique, permit", "unique"): (1, {*RELEASED, "flight"}),
    **{
        ("retire, permit", key): (1, set(RELEASED) | WITHOUT["retire", key][1])
        for key in ("leases", "workers", "flight", "started", "gone")
    },
    ("promote, lanes", "scheduled"): ([0, b"NOW"], {"bell", "later", "limits", "not_before", "ring"}),
    ("submit_unique, replaces", "unique"): ([b"pushed", b""], {"bell", "default:1:a", "grouped", "idem", "unique"}),
    ("unbury, lanes", "dead"): ([0], set()), ("unpark, lanes", "parked"): ([0, 0], {"counts"}),
    ("unpark, lanes", "counts"): ([3, 0], set(CHANGES["unpark, lanes"][1]) - {"counts"}),
    **{("depths, lanes", key): (answer, set()) for key, answer in {
        "ready": [7, 2, 1, [b"y", b"3"], PAUSES, b"low", 0, 0], "front": [8, 2, 1, [b"y", b"3"], PAUSES, b"low", 0, 0],
        "scheduled": [9, 0, 1, [b"y", b"3"], PAUSES, b"low", 0, 0],
        "dead": [9, 2, 0, [b"y", b"3"], PAUSES, b"low", 0, 0],
        "counts": [9, 2, 1, [], PAUSES, b"low", 0, 0], "pauses": [9, 2, 1, [b"y", b"3"], [], b"low", 0, 0],
        "queues": [9, 2, 1, [b"y", b"3"], PAUSES],
    }.items()},
    ("heads, lanes", "ready"): ([b"NOW", b"default", 7, 2, b"f1", b"low", 0, 0, b""], set()),
    ("heads, lanes", "front"): ([b"NOW", b"default", 8, 2, b"r1", b"low", 0, 0, b""], set()),
    ("heads, lanes", "queues"): ([b"NOW", b"default", 9, 2, b"f1"], set()),
}  # fmt: skip


def shown(value: object, lease: UUID) -> object:
    """Without what differs from run to run: the lease, the time, the id of the server."""
    match value:
        case list():
            return [shown(each, lease) for each in value]
        case set():
            return {shown(each, lease) for each in value}
        case dict():
            return {shown(key, lease): shown(each, lease) for key, each in value.items()}
        case bytes() if value == str(lease).encode():
            return b"LEASE"
        case bytes() if value.isdigit() and 10**20 > int(value) > 1_700_000_000_000:
            return b"NOW"
        case int() if value > 1_700_000_000_000:
            return b"NOW"
        case bytes() if re.fullmatch(rb"[0-9a-f]{40}", value):
            return b"RUN"
        case bytes() if re.match(rb"17\d{11} {", value):
            return b"NOW " + value.partition(b" ")[2]
    return value


def test_the_tables_have_every_script():
    assert {script for script, *_ in CALLS.values()} == set(scripts.ALL)
    assert set(MISSING) == set(CHANGES) == set(CALLS)
    assert set(WITHOUT) == set(EACH_KEY)


@pytest.mark.parametrize("name", CALLS)
async def test_every_script_does_what_its_header_says_to_keys_that_are_all_there(keyspace, name):
    await keyspace.fill(name)
    before = await keyspace.everything()
    answer = await keyspace.run(name)
    after = await keyspace.everything()
    changed = {key: shown(after[key], keyspace.lease) for key in before if before[key] != after[key]}
    assert (shown(answer, keyspace.lease), changed) == CHANGES[name]
    others = OF_LANES if name in WITH_LANES else set()
    assert set(changed) <= {*CALLS[name][1], *others}, "and to no key that is not among its KEYS, or of lanes"


@pytest.mark.parametrize("name", CALLS)
async def test_keys_that_are_missing_are_no_error(keyspace, name):
    assert shown(await keyspace.run(name), keyspace.lease) == MISSING[name]


@pytest.mark.parametrize(("name", "key"), EACH_KEY)
async def test_one_key_that_is_missing_is_no_error_and_the_others_change_as_they_should(keyspace, name, key):
    await keyspace.fill(name)
    await keyspace("DEL", keyspace.keys[key])
    before = await keyspace.everything()
    answer = shown(await keyspace.run(name), keyspace.lease)
    after = await keyspace.everything()
    assert (answer, {each for each in before if before[each] != after[each]}) == WITHOUT[name, key]


ONLY_DELETED = {("retire", "started"), ("retire, permit", "started")}
GONE_WITHOUT = {
    ("renew", "asked"),
    ("retire", "gone"),
    ("retire, permit", "gone"),
}  #: no lease may be lost, or stay, for what people are told
HARMS_ITS_OWN_TASK_ALONE = {
    ("submit_once", "idem"), ("submit_unique", "idem"), ("submit_unique", "free"), ("free_unique", "unique"),
    ("submit_once, lanes", "idem"), ("submit_unique, lanes", "idem"), ("submit_unique, lanes", "free"),
    ("submit_unique, replaces", "idem"), ("submit_unique, replaces", "unique"), ("free_unique, permit", "unique"),
}  # fmt: skip
#: No task depends on them: the bell wakes, and the names are noted again.
DONE_WITHOUT = {
    ("submit_unique", "front"), ("submit_unique, lanes", "front"),
    *((name, "ready") for name in ("submit_once, lanes", "submit_unique, lanes", "push, lanes", "set_limits")),
    *((name, key) for name, key in EACH_KEY if key == "bell"),
    *(
        (name, key) for name, key in EACH_KEY
        if key == "queues" and name.partition(",")[0] not in {"promote", "add_queue", "depths", "heads"}
    ),
}  # fmt: skip
NOT_READ_AS_A_STRING = [("tick", "checkpoint"), ("set_checkpoint", "checkpoint")]  # a string is what they want


@pytest.mark.parametrize(
    ("name", "key"),
    [
        each
        for each in EACH_KEY
        if each not in GONE_WITHOUT | DONE_WITHOUT | HARMS_ITS_OWN_TASK_ALONE | ONLY_DELETED | {*NOT_READ_AS_A_STRING}
    ],
)
async def test_a_key_of_another_type_stops_a_script_before_it_has_done_anything(keyspace, name, key):
    # Redis does not roll back: what a script had written before it failed would stay.
    await keyspace.fill(name)
    await keyspace("DEL", keyspace.keys[key])
    await keyspace("SET", keyspace.keys[key], "of another type")
    before = await keyspace.everything()
    with pytest.raises(KeyOfAnotherType):
        await keyspace.run(name)
    assert await keyspace.everything() == before


@pytest.mark.parametrize(("name", "key"), NOT_READ_AS_A_STRING)
async def test_a_checkpoint_that_is_no_string_is_an_error_too(keyspace, name, key):
    await keyspace("RPUSH", keyspace.keys[key], "of another type")
    with pytest.raises(KeyOfAnotherType):
        await keyspace.run(name)


@pytest.mark.parametrize(("name", "key"), sorted(GONE_WITHOUT))
async def test_what_a_script_goes_without_may_be_of_another_type(keyspace, name, key):
    await keyspace.fill(name)
    await keyspace("DEL", keyspace.keys[key])
    await keyspace("HSET", keyspace.keys[key], "of another", "type")
    before = await keyspace.everything()
    answer = await keyspace.run(name)
    after = await keyspace.everything()
    assert (answer, {each for each in before if before[each] != after[each]}) == (1, set(CHANGES[name][1]) - {key})


@pytest.mark.parametrize(("name", "key"), sorted(DONE_WITHOUT))
async def test_a_bell_and_names_of_another_type_change_nothing_else(keyspace, name, key):
    await keyspace.fill(name)
    await keyspace("DEL", keyspace.keys[key])
    await keyspace("HSET", keyspace.keys[key], "of another", "type")
    before = await keyspace.everything()
    answer = await keyspace.run(name)
    after = await keyspace.everything()
    changed = {each: shown(after[each], keyspace.lease) for each in before if before[each] != after[each]}
    expected, changes = CHANGES[name]
    assert (shown(answer, keyspace.lease), changed) == (
        expected,
        {each: value for each, value in changes.items() if each != key},
    )


#: Keys of lanes that stop a script before it has done anything, where they are of another type.
CHECKED_FIRST = [
    ("claim", "limits"), ("claim, lanes", "limits"), ("back, lanes", "permits"), ("admit", "permits"),
    ("hold", "permits"),
    ("sweep_permits", "permits_left"), ("pause_scope", "limits"), ("pause_scope", "not_before"),
    ("submit_unique, replaces", "default:1:a"), ("submit_once, lanes", "grouped"), ("submit_unique, lanes", "grouped"),
    ("push, lanes", "grouped"), ("unpark, lanes", "grouped"), ("promote, lanes", "grouped"), ("depths", "grouped"),
    ("heads", "grouped"),
    *(
        (name, key)
        for name in WITH_LANES
        if name.partition(",")[0] not in {"submit_once", "submit_unique", "push", "depths", "heads"}
        for key in ("grouped", "running", "blocked", "group_limits", "limits", "ring", "later", "behind", "not_before",
                    "lanes", "holders")
        if key not in WITH_LANES[name][1]
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "key"), CHECKED_FIRST)
async def test_a_lanes_key_of_another_type_stops_a_script_before_it_has_done_anything(keyspace, name, key):
    await keyspace.fill(name)
    await keyspace("DEL", keyspace.keys[key])
    await keyspace("SET", keyspace.keys[key], "of another type")
    before = await keyspace.everything()
    with pytest.raises(KeyOfAnotherType):
        await keyspace.run(name)
    assert await keyspace.everything() == before


@pytest.mark.parametrize("name", WITH_LANES)
async def test_lanes_keys_that_are_missing_are_no_error(keyspace, name):
    """Each alone: Redis deletes none of them while another needs it, but a person might."""
    for key in sorted(OF_LANES):
        await keyspace.fill(name)
        await keyspace("DEL", keyspace.keys[key])
        await keyspace.run(name)
        await keyspace("DEL", *keyspace.keys.values())


async def test_a_worker_is_noted_once_and_the_note_goes_after_its_time(keyspace):
    await keyspace.fill("retire")
    for _ in range(2):
        assert await keyspace.run("retire") == 1
    assert [entry.partition(b" ")[2] for entry in await keyspace.redis.list(keyspace.keys["gone"])] == [
        b'{"new":1}',
        b"",
    ]
    assert 0 < await keyspace("PTTL", keyspace.keys["gone"]) <= 60_000


async def test_under_out_of_memory_every_script_does_all_of_its_work_or_nothing(bridge, tmp_path):
    """Redis would stop a script at its first command that may take memory, and what came before it would stay."""
    async with (
        run_valkey(tmp_path, durable=False) as server,
        open_queue(bridge, server.url, "q") as queue,
        open_redis_cli(server.url) as redis,
    ):
        for name, (_, keys, _, _) in CALLS.items():
            keyspace = Keyspace(redis, queue, uuid4())
            await keyspace("FLUSHALL")
            await keyspace.fill(name)
            before = await keyspace.everything()
            await keyspace("CONFIG", "SET", "maxmemory", "1")
            await until(partial(_is_full, keyspace))
            if name in {
                "schedule",
                "submit_once",
                "submit_unique",
                "push",
                "fire",
                "add_queue",
                "submit_once, lanes",
                "submit_unique, lanes",
                "push, lanes",
            }:  # they take what was not there before; their callers know it
                with pytest.raises(QueueUnavailable, match="maxmemory"):
                    await keyspace.run(name)
                assert await keyspace.everything() == before
            else:
                assert await keyspace.run(name), name
                after = await keyspace.everything()
                touched = {key for key in before if before[key] != after[key]}
                assert touched <= {*keys, *(OF_LANES if name in WITH_LANES else ())}, name
                assert bool(touched) == (name not in ONLY_READS), name
            await keyspace("CONFIG", "SET", "maxmemory", "0")


async def _is_full(keyspace) -> bool:
    try:
        await keyspace("RPUSH", "another", "x")
    except OutOfMemoryError:
        return True
    return False


async def test_an_idempotency_key_of_another_type_harms_only_its_own_task(redis, queue):
    await redis("RPUSH", queue.keys.idempotency(b"2"), "of another type")
    tasks = [(key, b"body", b"", b"task " + key) for key in (b"1", b"2", b"3")]
    assert await queue.push_once(tasks, ttl_seconds=60) == ["pushed", "odd", "pushed"]
    assert await redis.list(queue.name) == [b"task 1", b"task 3"]
