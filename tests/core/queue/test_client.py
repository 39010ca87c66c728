"""Each script against the contract in its header, on a real server."""

import json
from contextlib import asynccontextmanager, closing
from functools import partial
from itertools import count
from pathlib import Path
from random import Random
from uuid import UUID, uuid4

import msgspec
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from tests.support.proxy import Proxy, through
from tests.support.redis_cli import RedisCli, open_redis_cli
from tests.support.wait import IMPATIENT, until
from workqueue.core.bridge import open_bridge
from workqueue.core.dead_letter import dead_letter, dead_letter_id
from workqueue.core.errors import InvalidTask, KeyOfAnotherType, LeaseLost, QueueUnavailable
from workqueue.core.queue import DeadPage, Keys, LeaseConnection, open_queue, scripts
from workqueue.core.queue.client import (
    DEAD_BYTES_MAX,
    DEAD_LETTERS_MAX,
    PROMOTE_MAX,
    PUSH_BYTES_MAX,
    WAIT_SECONDS,
    _parts,
)
from workqueue.core.wire import decode_task
from workqueue.services.local.valkey import run_valkey


@pytest.fixture
def connection(redis_url, queue_name):
    connection = LeaseConnection(redis_url, Keys(queue_name), seconds=3)
    yield connection
    connection.close()


@pytest.fixture
def lease(connection):
    lease = uuid4()
    connection.register(lease, b"{}")
    return lease


def nothing() -> None:
    """A callback for claims that wait."""


# --- claim


async def test_tasks_are_claimed_in_the_order_of_their_push_the_front_list_first(redis, queue, lease):
    await queue.push([b"1", b"2", b"3"])
    await redis("LMOVE", queue.keys.ready, queue.keys.front, "LEFT", "RIGHT")  # as a worker that waits
    assert await queue.claim(lease, start=1, count=2) == {1: b"1", 2: b"2"}
    assert await queue.claim(lease, start=3, count=9) == {3: b"3"}
    assert await queue.claim(lease, start=12, count=9) == {}


async def test_the_same_claim_again_gives_the_same_answer_and_takes_nothing(queue, lease):
    await queue.push([b"1", b"2", b"3"])
    first = await queue.claim(lease, start=1, count=2)
    assert await queue.claim(lease, start=1, count=2) == first
    assert (await queue.depths()).ready == 1


async def test_a_claim_that_comes_too_late_takes_nothing(queue, lease):
    # The first send of a claim is held up on its way; its repeat and the next claim are answered. Then it arrives.
    await queue.push([b"1", b"2", b"3"])
    assert await queue.claim(lease, start=5, count=1) == {5: b"1"}
    assert await queue.claim(lease, start=1, count=1) == {}
    assert (await queue.depths()).ready == 2


async def test_a_late_claim_after_an_ack_takes_nothing(queue, lease):
    await queue.push([b"1", b"2"])
    await queue.claim(lease, start=1, count=1)
    await queue.ack(lease, [1])
    assert await queue.claim(lease, start=1, count=1) == {}
    assert (await queue.depths()).ready == 1


@pytest.mark.parametrize("how", ["never", "ended", "gone"])
async def test_a_lost_lease_claims_nothing(redis, queue, lease, how):
    await queue.push([b"1"])
    if how == "ended":
        await queue.end(lease)
    elif how == "gone":
        await redis("DEL", queue.keys.leases)
    with pytest.raises(LeaseLost):
        await queue.claim(uuid4() if how == "never" else lease, start=1, count=1)
    assert (await queue.depths()).ready == 1


async def test_a_claim_is_bounded_by_bytes_but_never_empty(redis, queue, lease):
    big = b"x" * (1024 * 1024)
    for _ in range(5):
        await queue.push([big] * 4)
    taken = await queue.claim(lease, start=1, count=500)
    assert 7 <= len(taken) <= 8  # 8 MiB
    assert (await queue.depths()).ready == 20 - len(taken)
    huge = b"y" * (9 * 1024 * 1024)
    await redis("DEL", queue.keys.ready)
    await queue.push([huge])
    assert await queue.claim(lease, start=501, count=5) == {501: huge}


async def test_tasks_are_counted_at_one_moment_though_they_move(queue, lease, monkeypatch):
    """Looked at one list after the other, a task that goes from a flight into the schedule is seen in neither."""
    await queue.push([b"a task"])
    await queue.claim(lease, start=1, count=1)
    leases = queue.published_leases

    async def move_and_look():
        await queue.give_back(lease, [(1, 60_000, b"")])
        return await leases()

    monkeypatch.setattr(queue, "published_leases", move_and_look)
    assert await queue.count_tasks() == 1


async def test_tasks_of_a_lease_that_is_new_are_counted(queue, connection, monkeypatch):
    await queue.push([b"a task"])
    published, new, looks = queue.published_leases, uuid4(), 0

    async def look_and_claim():
        nonlocal looks
        looks += 1
        found = await published()  # the last look before the count
        if looks == 1:
            connection.register(new, b"{}")
            await queue.claim(new, start=1, count=1)
        return found

    monkeypatch.setattr(queue, "published_leases", look_and_claim)
    assert await queue.count_tasks() == 1
    assert looks == 2, "it looked again"


async def test_five_thousand_are_claimed_in_one_call(queue, lease):
    await queue.push([b"%d" % number for number in range(5_000)])
    assert list((await queue.claim(lease, start=1, count=5_000)).values()) == [b"%d" % n for n in range(5_000)]
    assert (await queue.depths()).ready == 0


@pytest.mark.parametrize("start", [2**31 - 10, 2**40])
async def test_numbers_may_be_large(queue, lease, start):
    tasks = [b"%d" % number for number in range(20)]
    await queue.push(tasks)
    claimed = await queue.claim(lease, start=start, count=20)
    assert claimed == dict(enumerate(tasks, start))
    assert await queue.claim(lease, start=start, count=20) == claimed
    assert await queue.numbers(lease) == set(claimed)
    assert await queue.ack(lease, list(claimed)) == 20


@pytest.mark.parametrize("key", ["ready", "front"])
async def test_a_key_of_another_type_stops_the_claim_and_nothing_is_lost(redis, queue, lease, key):
    await queue.push([b"1"])
    if key == "ready":
        await redis("DEL", queue.keys.ready)
    await redis("SET", getattr(queue.keys, key), "a string")
    with pytest.raises(KeyOfAnotherType):
        await queue.claim(lease, start=1, count=1)
    with pytest.raises(KeyOfAnotherType):
        await queue.depths()
    assert await queue.numbers(lease) == set()


async def test_a_flight_of_another_type_loses_nothing(redis, queue, lease):
    await queue.push([b"1"])
    await redis("SET", queue.keys.flight(lease), "a string")
    with pytest.raises(KeyOfAnotherType):
        await queue.claim(lease, start=1, count=1)
    assert (await queue.depths()).ready == 1


# --- names

NAME = "0192f0c1-2d3e-7abc-8def-0123456789ab"

#: What a claim leaves to those who read it more exactly: it has a name, or may have one, or is no task, or too large.
LEFT = [
    b'{"type":"x","job_id":"%b"}' % NAME.encode(),
    b'{"type":"x","job_id":null}',
    b'{"type":"x","payload":{"job_id":1}}',
    b'{"type":"x","job\\u005fid":"%b"}' % NAME.encode(),
    b'{"type":1}',
    b'{"payload":{}}',
    b"{}",
    b'["type"]',
    b"nonsense",
    b'{"type":"x",}',
    b'{"type":"x"} {"type":"x"}',
    b'{"type":"x"}}',
    b"",
    b'{"type":"x","payload":{"a":"%b"}}' % (b"a" * 5000),
    b'{"type":"x","payload":' + b'{"a":' * 2000 + b"1" + b"}" * 2001,
]

NAMED = [
    b'{"type":"x"}',
    b'{"type":"x","payload":{"a":"}"},"retries":2}',
    b' {"type" : "x" , "payload":{}}\n',
    '{"type":"\N{SNOWMAN}","payload":{"a":"\\u0000\\ud83d\\ude00"},"more":[1,{"b":1e999}]}'.encode(),
]


@pytest.mark.parametrize("task", NAMED)
async def test_a_claim_gives_an_id_to_a_task_that_has_none(queue, lease, task):
    await queue.push([task])
    name = UUID(NAME)
    taken = await queue.claim(lease, start=1, count=1, spare_ids=[name])
    assert decode_task(taken[1]) == msgspec.structs.replace(decode_task(task), job_id=name)
    assert await queue.flight_tasks(lease, [1]) == taken
    assert await queue.claim(lease, start=1, count=1, spare_ids=[name]) == taken, "the same claim again"


@pytest.mark.parametrize("task", LEFT)
async def test_a_claim_leaves_alone_what_it_does_not_understand(queue, lease, task):
    await queue.push([task, NAMED[0]])
    taken = await queue.claim(lease, start=1, count=2, spare_ids=[UUID(NAME), uuid4()])
    assert taken[1] == task
    assert decode_task(taken[2]).job_id == UUID(NAME), "and its name goes to the next"


async def test_a_claim_gives_ids_to_as_many_tasks_as_it_has_spare_ids(queue, lease):
    await queue.push([b'{"type":"x"}'] * 5)
    names = [uuid4() for _ in range(3)]
    taken = await queue.claim(lease, start=1, count=5, spare_ids=names)
    assert [decode_task(task).job_id for task in taken.values()] == [*names, None, None]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = st.fixed_dictionaries(
    {"type": st.text(min_size=1, max_size=5)},
    optional={
        "payload": st.dictionaries(st.text(max_size=5), JSON, max_size=3) | JSON,
        "retries": st.integers(-1, 5) | JSON,
        "attempts": st.integers(0, 5),
        "job_id": st.sampled_from([NAME, None, 1]),
        "more": JSON,
    },
)


@settings(max_examples=150)
@given(
    tasks=st.lists(MEMBERS | JSON, min_size=1, max_size=20), ascii_only=st.booleans(), indent=st.sampled_from([None, 1])
)
def test_a_task_that_got_an_id_says_what_it_said_before(portal, valkey, tasks, ascii_only, indent):
    texts = [json.dumps(task, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "replace") for task in tasks]
    names = [uuid4() for _ in texts]
    lease, keys = uuid4(), Keys(f"test:{uuid4().hex}")
    connection = LeaseConnection(valkey.url, keys, seconds=5)
    connection.register(lease, b"{}")
    connection.close()

    async def claimed() -> dict[int, bytes]:
        async with open_queue(portal.bridge, valkey.url, keys.ready) as queue:
            await queue.push(texts)
            taken = await queue.claim(lease, start=1, count=len(texts), spare_ids=names)
            await queue.remove()
            return taken

    for before, after in zip(texts, portal.call(claimed).values(), strict=True):
        if before != after:
            assert _read(after) == _read(before)
            assert json.loads(after)["job_id"] in map(str, names)


def _read(text: bytes) -> object:
    """What it says, but for the name, or why it says nothing."""
    try:
        return msgspec.structs.replace(decode_task(text), job_id=None)
    except InvalidTask as error:
        return str(error)


# --- in flight


async def test_what_is_acked_leaves_the_flight_once(queue, lease):
    await queue.push([b"1", b"2"])
    await queue.claim(lease, start=1, count=2)
    assert await queue.ack(lease, [1, 7]) == 1
    assert await queue.ack(lease, [1]) == 0
    assert await queue.numbers(lease) == {2}


async def test_what_goes_back_keeps_its_order_at_the_head(queue, lease):
    await queue.push([b"%d" % number for number in range(1, 8)])
    await queue.claim(lease, start=1, count=5)
    given = await queue.give_back(lease, [(2, 0, b""), (1, 0, b""), (4, 0, b"four"), (9, 0, b"")])
    assert given == {1: True, 2: True, 4: True, 9: False}
    assert await queue.give_back(lease, [(1, 0, b"")]) == {1: False}
    taken = await queue.claim(lease, start=10, count=9)
    assert list(taken.values()) == [b"1", b"2", b"four", b"6", b"7"]


async def test_what_goes_back_in_several_calls_keeps_its_order_too(redis, queue, lease):
    # 2,500 are more than one call of the script takes, and so are 12 MiB.
    tasks = [b"%05d" % number for number in range(2_500)]
    await queue.push([*tasks, b"after"])
    claimed = await queue.claim(lease, start=1, count=2_500)
    given = await queue.give_back(lease, [(number, 0, b"") for number in claimed])
    assert given == dict.fromkeys(claimed, True)
    assert await redis.list(queue.keys.ready) == [*tasks, b"after"]
    claimed = await queue.claim(lease, start=5_001, count=12)
    large = {number: task + b"x" * 1024 * 1024 for number, task in claimed.items()}
    await queue.give_back(lease, [(number, 0, task) for number, task in large.items()])
    assert await redis("LRANGE", queue.keys.ready, 0, 12) == [*large.values(), tasks[12]]


async def test_thousands_leave_the_flight_in_several_calls(redis, queue, lease):
    await queue.push([b"%d" % number for number in range(7_000)])
    claimed = await queue.claim(lease, start=1, count=7_000)
    named = [(number, b"named " + task) for number, task in claimed.items()]
    assert await queue.assign_ids(lease, named) == [True] * 7_000
    assert await queue.ack(lease, list(claimed)[:6_500]) == 6_500
    assert await queue.bury(lease, [(number, task) for number, task in named[6_500:]]) == {}
    assert await queue.numbers(lease) == set()
    assert await redis.list(queue.keys.dead) == [task for _, task in named[6_500:]]


async def test_what_goes_back_with_a_delay_is_promoted_when_it_is_due(queue, lease):
    await queue.push([b"1", b"2"])
    await queue.claim(lease, start=1, count=2)
    await queue.give_back(lease, [(1, 60_000, b"later"), (2, 400, b"soon")])
    assert (await queue.depths()).scheduled == 2
    assert (await queue.promote())[0] == 0

    async def promoted() -> bool:
        return (await queue.promote())[0] == 1

    await until(promoted)
    assert await queue.claim(lease, start=3, count=9) == {3: b"soon"}


async def test_two_thousand_five_hundred_that_are_due_come_in_pieces(queue):
    await queue.schedule([(-1, b"%d" % number) for number in range(2_500)])
    assert [(await queue.promote())[0] for _ in range(3)] == [PROMOTE_MAX, PROMOTE_MAX, 500]
    assert (await queue.depths()).ready == 2_500
    assert (await queue.depths()).scheduled == 0


async def test_dead_letters_are_bounded_and_say_how_many_were_dropped(redis, queue, lease):
    await redis("RPUSH", queue.keys.dead, *range(DEAD_LETTERS_MAX - 1))
    await queue.push([b"1", b"2", b"3"])
    await queue.claim(lease, start=1, count=3)
    assert await queue.bury(lease, [(1, b"a"), (2, b"b"), (3, b"c"), (8, b"never")]) == {"": 2}
    assert await queue.bury(lease, [(1, b"a")]) == {}
    assert (await queue.depths()).dead == DEAD_LETTERS_MAX
    assert await redis("LRANGE", queue.keys.dead, -1, -1) == [b"c"]


async def test_dropped_dead_letters_are_counted_by_the_types_of_their_tasks(redis, queue, lease):
    def entry(task: bytes) -> bytes:
        return dead_letter(task, 'a "reason"')

    old = [
        entry(b'{"type":"a","payload":{}}'), entry(b'{"payload":{}, "type": "a"}'), entry(b'{"type":"\xc3\xa4","x":1}'),
        entry(b"no task"), entry(b"\xff"), b"\xff\x00", b"", entry(b'{"type":"b","payload":"' + b"x" * 2**20 + b'"}'),
    ]  # fmt: skip
    await redis("RPUSH", queue.keys.dead, *old, *range(DEAD_LETTERS_MAX - len(old)))
    await queue.push([b"%d" % number for number in range(len(old))])
    await queue.claim(lease, start=1, count=len(old))
    dropped = await queue.bury(lease, [(number, b"x") for number in range(1, len(old) + 1)])
    assert dropped == {"a": 2, "\xe4": 1, "b": 1, "": 4}


async def test_counting_the_dropped_dead_letters_is_bounded(redis, queue, lease):
    mebibyte = dead_letter(b'{"type":"a","payload":"' + b"x" * 2**20 + b'"}', "reason")
    await redis("RPUSH", queue.keys.dead, *[mebibyte] * 20)
    for _ in range(3):
        await redis("RPUSH", queue.keys.dead, *[dead_letter(b'{"type":"b"}', "reason")] * DEAD_LETTERS_MAX)
    await queue.push([b"1", b"2"])
    await queue.claim(lease, start=1, count=2)
    dropped = await queue.bury(lease, [(1, b"x"), (2, b"y")])
    assert sum(dropped.values()) == 2 * DEAD_LETTERS_MAX + 22
    assert dropped["a"] == 3, "4 MiB are looked at"
    await redis("RPUSH", queue.keys.dead, *[b"x"] * 5000)
    assert await queue.bury(lease, []) == {}


async def test_a_task_gets_an_id_only_while_it_is_in_our_flight(queue, lease):
    await queue.push([b"1", b"2"])
    await queue.claim(lease, start=1, count=2)
    await queue.ack(lease, [2])
    assert await queue.assign_ids(lease, [(1, b"one"), (2, b"two")]) == [True, False]
    assert await queue.give_back(lease, [(1, 0, b"")]) == {1: True}
    assert await queue.claim(lease, start=3, count=1) == {3: b"one"}
    await queue.end(lease)
    assert await queue.assign_ids(lease, [(3, b"x")]) == [False]


# --- leases


async def test_a_lease_is_fenced_only_at_the_score_that_was_seen(redis, queue, connection, lease):
    score = await redis("ZSCORE", queue.keys.leases, str(lease))
    await trio.sleep(0.005)
    connection.renew(lease, b"{}")
    assert await queue._script(scripts.FENCE, [queue.keys.leases], [str(lease), score]) == 0
    score = await redis("ZSCORE", queue.keys.leases, str(lease))
    assert await queue._script(scripts.FENCE, [queue.keys.leases], [str(lease), score]) == 1
    assert not connection.renew(lease, b"{}")


# --- a server that cannot


@asynccontextmanager
async def own_server(folder: Path, bridge):
    """A queue on a server of the test's own, whose configuration may be changed."""
    async with run_valkey(folder, durable=False) as server, open_queue(bridge, server.url, "q") as queue:
        lease_connection = LeaseConnection(server.url, queue.keys, seconds=3)
        async with open_redis_cli(server.url) as redis:
            with closing(lease_connection):
                yield redis, queue, lease_connection


async def test_out_of_memory_refuses_new_tasks_and_lets_workers_go_on(bridge, tmp_path):
    async with own_server(tmp_path, bridge) as (redis, queue, connection):
        lease = uuid4()
        connection.register(lease, b"{}")
        await queue.push([b"x" * 1000] * 100)
        await redis("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(QueueUnavailable, match="maxmemory"):
            await queue.push([b"more"])
        with pytest.raises(QueueUnavailable, match="maxmemory"):
            await queue.schedule([(5, b"more")])
        with pytest.raises(QueueUnavailable, match="maxmemory"):
            await queue.claim(lease, start=1, count=3, on_task_available=nothing)
        assert connection.renew(lease, b"{}")
        assert len(await queue.claim(lease, start=1, count=3)) == 3
        assert await queue.assign_ids(lease, [(1, b"named")]) == [True]
        assert await queue.give_back(lease, [(1, 0, b""), (2, 5, b"later")]) == {1: True, 2: True}
        assert await queue.bury(lease, [(3, b"dead")]) == {}
        await until(partial(_promotes, queue))
        assert await queue.ack(lease, [3]) == 0
        await queue.end(lease)
        assert await queue.retire(lease)
        late = uuid4()
        connection.register(late, b"{}")
        assert await queue.claim(late, start=1, count=1)
        score = await redis("ZSCORE", queue.keys.leases, str(late))
        assert await queue._script(scripts.FENCE, [queue.keys.leases], [str(late), score]) == 1


async def _promotes(queue) -> bool:
    return (await queue.promote())[0] == 1


# --- a connection that breaks


@pytest.fixture
async def proxied(bridge, nursery, redis_port, redis_url, queue_name):
    proxy = Proxy(redis_port)
    await nursery.start(proxy.run)
    async with open_queue(bridge, through(redis_url, proxy), queue_name, command_seconds=IMPATIENT) as behind:
        yield behind, proxy


async def test_a_task_whose_blmove_reply_was_lost_is_claimed(queue, lease, proxied):
    # BLMOVE moves the task into the front list, then the wait is cancelled before its reply is read.
    # A worker that trusts the reply would never run this task.
    behind, proxy = proxied
    assert not await behind.claim(lease, start=1, count=1, on_task_available=nothing)  # it is connected
    proxy.swallow_replies()
    async with trio.open_nursery() as waiting:
        waiting.start_soon(partial(behind.claim, lease, start=2, count=1, on_task_available=pytest.fail))
        await queue.push([b"task"])
        await proxy.replies_swallowed.wait()
        waiting.cancel_scope.cancel()
    assert list((await queue.claim(lease, start=3, count=1)).values()) == [b"task"]


async def test_a_claim_that_is_cancelled_while_it_waits_takes_nothing(redis, queue, lease):
    async with trio.open_nursery() as waiting:
        waiting.start_soon(partial(queue.claim, lease, start=1, count=9, on_task_available=pytest.fail))
        await until(partial(_is_blocked, redis))
        waiting.cancel_scope.cancel()
    await queue.push([b"1", b"2"])
    await trio.sleep(0.1)
    assert await queue.numbers(lease) == set()
    assert list((await queue.claim(lease, start=10, count=9)).values()) == [b"1", b"2"]


async def test_a_claim_that_waits_gets_what_comes(redis, queue, lease):
    found: list[int] = []

    async def push() -> None:
        await until(partial(_is_blocked, redis))
        assert not found
        await queue.push([b"1", b"2"])

    async with trio.open_nursery() as pushing:
        pushing.start_soon(push)
        tasks: dict[int, bytes] = {}
        start = 1
        while not tasks:
            tasks = await queue.claim(lease, start=start, count=9, on_task_available=partial(found.append, 1))
            start += 9
    assert list(tasks.values()) == [b"1", b"2"]
    assert len(found) == (start - 1) / 9


async def test_a_claim_that_waits_knows_its_script_on_a_new_server(redis, queue, lease):
    await queue.push([b"1"])
    await redis("SCRIPT", "FLUSH")
    assert await queue.claim(lease, start=1, count=9, on_task_available=nothing) == {1: b"1"}


async def _is_blocked(redis: RedisCli) -> bool:
    return b"cmd=blmove" in await redis("CLIENT", "LIST")


async def test_a_push_whose_reply_was_lost_is_not_sent_twice(queue, proxied):
    behind, proxy = proxied
    await behind.depths()
    proxy.swallow_replies()
    with pytest.raises(QueueUnavailable, match=r"no answer|Timeout"):
        await behind.push([b"once"])
    proxy.heal()
    assert (await queue.depths()).ready == 1


async def test_cancelled_commands_never_hand_their_answer_to_another_caller(queue, proxied):
    behind, proxy = proxied
    random = Random(7)
    proxy.delay_seconds = 0.002

    async def ask(word: str) -> None:
        with trio.move_on_after(random.uniform(0, 0.006)):
            assert await behind._command("ECHO", word) == word.encode()

    for round_ in range(40):
        async with trio.open_nursery() as callers:
            for number in range(5):
                callers.start_soon(ask, f"{round_}.{number}")
    proxy.delay_seconds = 0
    await _all_places_are_free(behind)


async def test_cancelled_scripts_and_pipelines_lose_no_connection_either(redis, queue, lease, proxied):
    # A script that the server does not know takes two trips, a pipeline several answers.
    behind, proxy = proxied
    random = Random(11)
    proxy.delay_seconds = 0.001
    asks = [behind.depths, behind.workers, behind.promote, partial(behind.claim, lease, start=1, count=1)]

    async def ask(what) -> None:
        with trio.move_on_after(random.uniform(0, 0.006)):
            await what()

    for round_ in range(30):
        if round_ % 10 == 0:
            await redis("SCRIPT", "FLUSH")
        async with trio.open_nursery() as callers:
            for what in asks:
                callers.start_soon(ask, what)
    proxy.delay_seconds = 0
    await _all_places_are_free(behind)


async def _all_places_are_free(queue) -> None:
    """More callers than the pool has connections: a lost one would make the last of them wait."""

    async def ask(word: str) -> None:
        assert await queue._command("ECHO", word) == word.encode()

    with trio.fail_after(3):
        async with trio.open_nursery() as callers:
            for number in range(24):
                callers.start_soon(ask, f"still here {number}")


async def test_waits_that_are_cancelled_at_any_moment_lose_no_task(queue, lease):
    random = Random(5)
    pushed: list[bytes] = []
    claimed: list[bytes] = []
    start = 1
    for round_ in range(150):
        async with trio.open_nursery() as waiting:
            waiting.cancel_scope.deadline = trio.current_time() + random.uniform(0.001, 0.008)
            waiting.start_soon(partial(queue.claim, lease, start=start, count=10, on_task_available=nothing))
            await trio.sleep(random.uniform(0, 0.003))
            task = b"%d" % round_
            with trio.CancelScope(shield=True):
                await queue.push([task])
            pushed.append(task)
        claimed += (await queue.claim(lease, start=start, count=10)).values()  # the same claim, as `Claim` repeats it
        start += 10
    claimed += (await queue.claim(lease, start=start, count=1000)).values()
    assert claimed == pushed
    assert (await queue.depths()).ready == 0


async def test_a_server_that_hangs_costs_a_bounded_time_and_is_used_again(queue, proxied):
    behind, proxy = proxied
    proxy.black_hole()
    with trio.fail_after(30), pytest.raises(QueueUnavailable):
        await behind.depths()
    proxy.heal()
    await until(partial(_answers, behind))


async def test_a_server_that_reads_no_more_costs_a_bounded_time(bridge, nursery):
    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some(100)  # the question whether it lives
        await stream.send_all(b"+PONG\r\n")
        await trio.sleep_forever()

    [listener] = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
    port = listener.socket.getsockname()[1]
    async with open_queue(bridge, f"redis://127.0.0.1:{port}", "q", command_seconds=IMPATIENT) as queue:
        for tasks in ([b"small"], [b"x" * 2**20] * 40):  # what fits into the socket, and what does not
            with trio.fail_after(30), pytest.raises(QueueUnavailable):
                await queue.push(tasks)
    nursery.cancel_scope.cancel()


async def _answers(queue) -> bool:
    try:
        await queue.depths()
    except QueueUnavailable:
        return False
    return True


async def test_answers_are_read_together_and_expire(queue, redis):
    first, second, none = uuid4(), uuid4(), uuid4()
    await queue.answer(first, b"1", keep_seconds=5)
    await queue.answer(second, b"2", keep_seconds=5)
    assert await queue.answers([none, second, first]) == {second: b"2", first: b"1"}
    assert 0 < await redis("PTTL", queue.keys.answer(first)) <= 5000


async def test_an_idle_wait_ends_by_itself(queue, lease):
    begun = trio.current_time()
    with trio.fail_after(30):
        for start in range(1, 4):
            assert not await queue.claim(lease, start=start, count=1, on_task_available=nothing)
    assert trio.current_time() - begun > 2 * WAIT_SECONDS


MIB = 1 << 20


def test_parts_are_bounded_in_bytes():
    rows = [(number, 0, b"x" * MIB) for number in range(12)]
    parts = _parts(rows, 3)
    assert [row for part in parts for row in part] == rows
    assert max(sum(len(row[2]) for row in part) for part in parts) <= PUSH_BYTES_MAX


async def test_promote_moves_no_more_bytes_at_once_than_a_push(queue):
    size, count = 20_000, 400
    await queue.schedule([(-1, b"%04d" % number + b"x" * size) for number in range(count)])
    moved = [(await queue.promote())[0]]
    assert 0 < moved[0] < count  # the script looks at the bytes after each hundred
    while moved[-1]:
        moved.append((await queue.promote())[0])
    assert sum(moved) == count


# --- dead letters, for a person


async def walk(queue, *, oldest_first: bool = False, count: int = 2, **more) -> list[bytes]:
    found: list[bytes] = []
    place: int | None = 0
    after = ""
    while place is not None:
        page = await queue.read_dead(place, oldest_first=oldest_first, count=count, after=after, **more)
        found += page.entries
        place, after = page.next, dead_letter_id(page.entries[-1]) if page.entries else ""
    return found


async def test_dead_letters_are_read_in_either_order(redis, queue):
    assert await queue.read_dead(0) == DeadPage([], 0, None)
    await redis("RPUSH", queue.keys.dead, 1, 2, 3, 4, 5)
    assert await queue.read_dead(0, count=2) == DeadPage([b"5", b"4"], 5, 2)
    assert await queue.read_dead(4, count=2) == DeadPage([b"1"], 5, None)
    assert await queue.read_dead(9, count=2) == DeadPage([], 5, None)
    assert await walk(queue) == [b"5", b"4", b"3", b"2", b"1"]
    assert await walk(queue, oldest_first=True) == [b"1", b"2", b"3", b"4", b"5"]


async def test_of_dead_letters_that_are_read_some_are_answered_by_their_ids(redis, queue):
    await redis("RPUSH", queue.keys.dead, "a", "b", "a", "c")
    wanted = [dead_letter_id(b"a"), dead_letter_id(b"none")]
    assert await queue.read_dead(0, count=3, only=wanted) == DeadPage([b"a"], 4, 3)
    assert await queue.read_dead(3, count=3, only=wanted) == DeadPage([b"a"], 4, None)


async def test_large_dead_letters_are_read_in_pieces(redis, queue):
    large = [bytes([letter]) * (2**20 + 1) for letter in b"abcdef"]
    await redis("RPUSH", queue.keys.dead, *large, b"x" * (DEAD_BYTES_MAX + 1))
    pages, place = [], 0
    while place is not None:
        page = await queue.read_dead(place)
        pages.append([entry[:1] for entry in page.entries])
        place = page.next
    assert pages == [[b"x"], [b"f", b"e", b"d"], [b"c", b"b", b"a"]]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_a_walk_shows_what_stays_once_whatever_comes_and_goes(redis_url, queue_name, data):
    """Between two pages new entries come, the oldest are trimmed, and any go that were not the last of a page."""
    async with open_bridge() as bridge, open_queue(bridge, redis_url, queue_name) as queue:
        with closing(Redis.from_url(redis_url)) as server:
            server.delete(queue.keys.dead)
            fresh = count(1)
            stays = {next(fresh) for _ in range(data.draw(st.integers(1, 12), "at first"))}
            server.rpush(queue.keys.dead, *sorted(stays))
            seen: list[int] = []
            place: int | None = 0
            after = ""
            while place is not None:
                page = await queue.read_dead(place, count=2, after=after)
                seen += map(int, page.entries)
                if not page.entries:
                    break
                place, after = page.next, dead_letter_id(page.entries[-1])
                for _ in range(data.draw(st.integers(0, 3), "new ones")):
                    server.rpush(queue.keys.dead, next(fresh))
                gone = data.draw(st.sets(st.sampled_from(sorted(stays)), max_size=2), "gone") - {seen[-1]}
                for each in gone:
                    server.lrem(queue.keys.dead, 0, each)
                stays -= gone
    assert sorted(stays - set(seen)) == []
    assert len(seen) == len(set(seen))


async def test_a_dead_letter_and_its_task_change_places_at_once_and_once(redis, queue):
    await redis("RPUSH", queue.keys.dead, "a", "b", "a", "c", "12")
    await queue.push([b"first"])
    assert await queue.unbury([(b"b", b"B"), (b"none", b"N"), (b"12", b"")], with_copies=False) == [1, 0, 1]
    assert await redis.list(queue.keys.dead) == [b"a", b"a", b"c"]
    assert await redis.list(queue.name) == [b"first", b"B"]
    assert await queue.unbury([(b"b", b"B"), (b"a", b"A")], with_copies=True) == [0, 2]
    assert await redis.list(queue.keys.dead) == [b"c"]
    assert await redis.list(queue.name) == [b"first", b"B", b"A", b"A"]
    assert await queue.unbury([], with_copies=True) == []
    assert await queue.clear_dead() == 1
    assert await queue.clear_dead() == 0
    assert await redis("EXISTS", queue.keys.dead) == 0
