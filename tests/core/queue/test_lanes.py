"""Lanes on a real Redis: whose turn it is, who gets a permit, and that no permit and no wake-up is lost."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from uuid import UUID, uuid4

import pytest
import trio

from tests.support.redis_cli import RedisCli
from workqueue.core.limits import GROUPS, Limit, Limits
from workqueue.core.queue import Queue


def task(number: int | str, group: str | None = None, *, type: str = "x", queue: str | None = None) -> bytes:
    members = {"type": type, "job_id": f"{number}", **({} if group is None else {"group": group})}
    return json.dumps(members | ({} if queue is None else {"queue": queue}), separators=(",", ":")).encode()


def ids(tasks: Sequence[bytes]) -> list[str]:
    return [json.loads(each)["job_id"] for each in tasks]


class Worker:
    """One lease. Mutable state: its next number, and what it holds."""

    def __init__(self, queue: Queue, lease: UUID) -> None:
        self.queue = queue
        self.lease = lease
        self.start = 1
        self.held: dict[int, bytes] = {}

    async def claim(self, count: int = 100, queues: Sequence[str] = ()) -> list[str]:
        """The ids of what was claimed, in order. What no permit was got for with the claim gets none here."""
        claimed = await self.queue.claim(
            self.lease, start=self.start, count=count, quotas=[(each, count) for each in queues]
        )
        self.start += count
        self.held |= claimed
        return ids([claimed[number] for number in sorted(claimed)])

    async def ack(self, *names: str) -> None:
        numbers = [number for number, each in self.held.items() if ids([each])[0] in names]
        for number in numbers:
            del self.held[number]
        await self.queue.ack(self.lease, numbers)

    async def give_back(self, name: str, delay_ms: int = 0) -> None:
        [number] = [number for number, each in self.held.items() if ids([each]) == [name]]
        del self.held[number]
        await self.queue.give_back(self.lease, [(number, delay_ms, b"")])

    async def admit(self, type: str = "x") -> list[str]:
        """Ask for permits for all that is held of a limited type; what got none is held no more."""
        rows = [(number, "default", json.loads(each).get("group", ""), type) for number, each in self.held.items()]
        answers = await self.queue.admit(self.lease, rows)
        for number, may_run in answers.items():
            if not may_run:
                del self.held[number]
        return ids(list(self.held.values()))


@pytest.fixture
async def workers(queue: Queue) -> AsyncIterator[tuple[Worker, Worker]]:
    leases = [uuid4(), uuid4()]
    for lease in leases:
        await register(queue, lease)
    yield Worker(queue, leases[0]), Worker(queue, leases[1])
    for lease in leases:
        await queue.end(lease)
        for number in await queue.numbers(lease):
            await queue.ack(lease, [number])
        await queue.retire(lease)
    await no_trace(queue)
    await queue.remove()


async def register(queue: Queue, lease: UUID) -> None:
    from workqueue.core.queue import scripts

    keys = [queue.keys.leases, queue.keys.workers]
    await queue._script(scripts.REGISTER, keys, [str(lease), "{}"])


async def no_trace(queue: Queue) -> None:
    """No permit is left, and of lanes that are empty nothing at all."""
    assert await queue.permits() == {}
    lanes = await queue.lanes()
    names = {name.split("}:", 1)[-1].partition(":")[0] for name in await queue.key_names()}
    assert not names & {"permits", "holders"}, names
    if not lanes:
        assert not names & {"ring", "blocked", "later", "behind", "grouped", "g"}, names


async def limit(queue: Queue, version: int = 1, **of: Limit) -> None:
    """Group names as keywords; `type_x` is the type x, `groups` each group."""
    named = {
        GROUPS if name == "groups" else f"type:{name[5:]}" if name.startswith("type_") else f"group:{name}": each
        for name, each in of.items()
    }
    await queue.set_limits(Limits(version, named))


# --- turns


async def test_one_job_of_a_group_waits_for_one_turn_behind_a_hundred_thousand(queue, workers):
    await queue.push_to([("default", task(n, "big")) for n in range(2_000)])
    await queue.push_to([("default", task("one", "small"))])
    first = await workers[0].claim(100)
    assert first[0] == "0"
    assert "one" in [*first, *await workers[0].claim(100)]


async def test_groups_give_in_turn_and_each_in_its_order(queue, workers):
    for n in range(30):
        await queue.push_to([("default", task(f"{group}{n}", group)) for group in "abc"])
    order: list[str] = []
    for _ in range(10):
        got = await workers[0].claim(9)
        assert Counter(each[0] for each in got) == {"a": 3, "b": 3, "c": 3}
        order += got
    for group in "abc":
        assert [each for each in order if each[0] == group] == [f"{group}{n}" for n in range(30)]


async def test_jobs_without_a_group_and_those_with_one_give_half_each(queue, workers):
    await queue.push([task(f"p{n}") for n in range(50)])
    await queue.push_to([("default", task(f"g{n}", "a")) for n in range(50)])
    assert Counter(each[0] for each in await workers[0].claim(40)) == {"p": 20, "g": 20}
    assert len(await workers[0].claim(100)) == 60


async def test_one_at_a_time_neither_waits_for_the_other(queue, workers):
    await queue.push([task(f"p{n}") for n in range(60)])
    await queue.push_to([("default", task(f"g{n}", "a")) for n in range(60)])
    kinds = Counter([(await workers[0].claim(1))[0][0] for _ in range(60)])
    assert min(kinds["p"], kinds["g"]) > 5


async def test_a_claim_that_is_repeated_is_answered_the_same(queue, workers):
    await queue.push_to([("default", task(n, "a")) for n in range(3)])
    lease = workers[0].lease
    first = await queue.claim(lease, start=1, count=5)
    assert queue.with_permits == {1, 2, 3}
    assert await queue.claim(lease, start=1, count=5) == first
    assert queue.with_permits == {1, 2, 3}
    assert await queue.permits() == {"group:a": 3}


async def test_groups_of_other_queues_and_strange_names(queue, workers):
    names = ["a", "a:b", "1:a", "ü\U0001f600", "x" * 200, "{a}", "a\nb", '"', "\\"]
    await queue.push_to([("mail", task(f"m{n}", name, queue="mail")) for n, name in enumerate(names)])
    assert (await queue.depths()).others["mail"].ready == len(names)
    assert await workers[0].claim() == []
    assert sorted(await workers[0].claim(100, ["mail", "default"])) == [f"m{n}" for n in range(len(names))]
    assert await queue.permits() == {f"group:{name}": 1 for name in names}


async def test_ten_thousand_groups_leave_nothing(queue, workers):
    await queue.push_to([("default", task(n, f"g{n}")) for n in range(10_000)])
    assert (await queue.depths()).ready == 10_000
    seen: set[str] = set()
    while got := await workers[0].claim(1000):
        seen.update(got)
        await workers[0].ack(*got)
    assert len(seen) == 10_000


# --- limits of running


async def test_no_more_run_than_may_on_all_workers_together(queue, workers):
    await limit(queue, a=Limit(running=3))
    await queue.push_to([("default", task(n, "a")) for n in range(10)])
    one, two = workers
    assert [len(await one.claim(2)), len(await two.claim(5)), len(await one.claim(5))] == [2, 1, 0]
    await one.ack("0")
    assert (await two.claim(), await one.claim()) == (["3"], [])
    await two.ack("2", "3")
    assert await one.claim(1) == ["4"]
    assert await two.claim(5) == ["5"]


async def test_the_limit_of_each_group_and_one_of_its_own(queue, workers):
    await limit(queue, groups=Limit(running=1), b=Limit(running=2))
    await queue.push_to([("default", task(f"{group}{n}", group)) for n in range(3) for group in "abc"])
    assert sorted(await workers[0].claim()) == ["a0", "b0", "b1", "c0"]


async def test_a_job_that_may_not_run_keeps_none_of_another_group_waiting(queue, workers):
    await limit(queue, a=Limit(running=1))
    await queue.push_to([("default", task(f"a{n}", "a")) for n in range(5_000)])
    await queue.push_to([("default", task("b", "b"))])
    await queue.push([task("plain")])
    assert sorted(await workers[0].claim()) == ["a0", "b", "plain"]


@pytest.mark.parametrize("way", ["ack", "give back", "bury", "park", "recover"])
async def test_whatever_ends_a_run_releases_its_permit(queue, workers, way):
    await limit(queue, a=Limit(running=1))
    await queue.push_to([("default", task(n, "a")) for n in range(2)])
    one, two = workers
    assert (await one.claim(), await two.claim()) == (["0"], [])
    if way == "ack":
        await one.ack("0")
    elif way == "give back":
        await one.give_back("0")
    elif way == "bury":
        await queue.bury(one.lease, [(1, b"dead")])
    elif way == "park":
        from workqueue.core.pauses import Paused

        await queue.set_paused(Paused(1, frozenset("x")))
        assert await queue.park(one.lease, "x", [1]) == [True]
    else:
        await queue.end(one.lease)
        await queue.give_back(one.lease, [(1, 0, b"")])
        await queue.retire(one.lease)
    assert await two.claim() == (["0"] if way in ("give back", "recover") else ["1"])


async def test_permits_of_a_lease_that_another_release_has_recovered_are_swept(queue, workers, redis: RedisCli):
    await limit(queue, a=Limit(running=1))
    await queue.push_to([("default", task(n, "a")) for n in range(2)])
    one, two = workers
    await one.claim()
    await queue.sweep_permits()
    assert await queue.permits() == {"group:a": 1}, "it lives"
    await redis("DEL", queue.keys.flight(one.lease))
    await redis("ZREM", queue.keys.leases, str(one.lease))
    assert await two.claim() == []
    assert await queue.sweep_permits() == 1
    assert await two.claim() == ["1"]


async def test_a_permit_of_a_living_lease_whose_task_was_given_back_by_another_release_is_swept(
    queue, workers, redis: RedisCli
):
    """Redis was set back to a moment at which the lease lived that a worker of that release was recovering."""
    await limit(queue, a=Limit(running=2))
    await queue.push_to([("default", task(n, "a")) for n in range(3)])
    one, two = workers
    assert await one.claim() == ["0", "1"]
    await redis("HDEL", queue.keys.flight(one.lease), 1)
    await queue.sweep_permits()
    assert await queue.permits() == {"group:a": 1}
    assert await two.claim() == ["2"]


async def test_the_end_of_a_lease_releases_the_permits_that_are_left(queue, workers, redis: RedisCli):
    """A worker of the release before has given the task back, and released nothing."""
    await limit(queue, a=Limit(running=1))
    await queue.push_to([("default", task(n, "a")) for n in range(2)])
    one, two = workers
    await one.claim()
    await redis("HDEL", queue.keys.flight(one.lease), 1)
    await queue.end(one.lease)
    assert await two.claim() == []
    assert await queue.retire(one.lease)
    assert await two.claim() == ["1"]


async def test_a_raised_limit_wakes_and_a_lowered_one_waits(queue, workers):
    await limit(queue, 1, a=Limit(running=2))
    await queue.push_to([("default", task(n, "a")) for n in range(9)])
    one, two = workers
    assert await one.claim() == ["0", "1"]
    await limit(queue, 2, a=Limit(running=4))
    assert await two.claim() == ["2", "3"]
    await limit(queue, 3, a=Limit(running=1))
    await two.ack("2", "3")
    await one.ack("0")
    assert await two.claim() == []
    await one.ack("1")
    assert await two.claim() == ["4"]
    await queue.set_limits(Limits(4))
    assert await one.claim() == ["5", "6", "7", "8"]


async def test_a_lane_that_is_blocked_by_one_scope_passes_the_permit_of_the_other_on(queue, workers):
    await limit(queue, type_x=Limit(running=1), a=Limit(running=1))
    one, two = workers
    await queue.push_to([("default", task("a-y", "a", type="y"))])
    assert await one.claim() == ["a-y"]
    await queue.push_to([("default", task("c-x", "c"))])
    assert await one.claim() == ["c-x"]
    await queue.push_to([("default", task("a-x", "a"))])
    await queue.push_to([("default", task("b-x", "b"))])
    assert await two.claim() == []
    await one.ack("c-x")  # the first that waits for a permit of x may be that of a, which may not run
    assert await two.claim() == ["b-x"]
    await one.ack("a-y")
    assert await one.claim() == []
    await two.ack("b-x")
    assert await one.claim() == ["a-x"]


async def test_a_permit_wakes_a_lane_of_each_queue(queue, workers):
    await limit(queue, a=Limit(running=1))
    one, two = workers
    await queue.push_to([("default", task("d0", "a")), ("mail", task("m", "a", queue="mail"))])
    await queue.push_to([("default", task("d1", "a"))])
    both = ["default", "mail"]
    assert await one.claim(1, ["default"]) == ["d0"]
    assert await two.claim(5, both) == []
    await one.ack("d0")
    assert await two.claim(5, ["default"]) == ["d1"], "mail has no worker that takes from it"
    assert await two.claim(5, both) == []
    await two.ack("d1")
    assert await one.claim(5, both) == ["m"]


# --- limited types


async def test_what_is_claimed_from_the_list_gets_a_permit_or_waits_in_its_lane(queue, workers):
    await limit(queue, type_x=Limit(running=2))
    await queue.push([task(n) for n in range(5)])
    one, two = workers
    await one.claim()
    assert queue.limited.types == {"x"}
    assert await one.admit() == ["0", "1"]
    assert await one.admit() == ["0", "1"], "asked again: the same"
    assert await queue.permits() == {"type:x": 2}
    assert await queue.lanes() == ["default:0:x"]
    await one.ack("0")
    assert await two.claim() == ["2"]
    await queue.push([task("later")])
    await two.claim()
    assert await two.admit() == ["2"], "those that came before are first"
    await one.ack("1")
    await two.ack("2")
    assert await one.claim() == ["3", "4"]


async def test_a_limited_type_keeps_no_other_type_of_its_group_waiting(queue, workers):
    await limit(queue, type_x=Limit(running=1))
    await queue.push_to([("default", task(f"x{n}", "a")) for n in range(50)])
    await queue.push_to([("default", task(f"y{n}", "a", type="y")) for n in range(3)])
    got: list[str] = []
    for _ in range(5):
        got += await workers[0].claim(20)
    assert sorted(got) == ["x0", "y0", "y1", "y2"]
    assert await queue.permits() == {"group:a": 4, "type:x": 1}


async def test_a_lane_that_is_emptied_and_gets_a_task_in_one_claim_keeps_it(queue, workers):
    await limit(queue, 1, type_x=Limit(running=1))
    await queue.push_to([("default", task(f"x{n}", "a")) for n in range(2)])
    one, two = workers
    assert await one.claim() == ["x0"]
    await one.ack("x0")  # x1 is in the lane of a and x, which is next
    await queue.push_to([("default", task("x2", "a"))])
    await limit(queue, 2, type_x=Limit(running=5))
    assert [*await two.claim(), *await two.claim()] == ["x1", "x2"]
    assert (await queue.depths()).ready == 0


async def test_what_runs_already_counts_when_its_type_becomes_limited(queue, workers):
    await queue.push([task(n) for n in range(3)])
    one, two = workers
    await one.claim(2)
    await limit(queue, type_x=Limit(running=1))
    await queue.hold(one.lease, [(1, "", "x"), (2, "", "x"), (77, "", "x")])
    await queue.hold(one.lease, [(1, "", "x")])
    assert await queue.permits() == {"type:x": 2}
    await two.claim()
    assert await two.admit() == []
    await one.ack("0")
    assert await two.claim() == []
    await one.ack("1")
    assert await two.claim() == ["2"]


# --- order


async def test_a_retry_keeps_its_place_at_the_head_of_a_group_with_order(queue, workers):
    await limit(queue, a=Limit(running=1))
    await queue.push_to([("default", task(n, "a")) for n in range(3)])
    one, two = workers
    await one.claim()
    await one.give_back("0", 200)
    assert (await two.claim(), await queue.lanes()) == ([], ["default:1:a"])
    await queue.push_to([("default", task("other", "b"))])
    assert await two.claim() == ["other"]
    with trio.fail_after(5):
        while not (got := await two.claim()):
            await trio.sleep(0.02)
            await queue.promote()
    assert got == ["0"]
    await two.ack("0")
    assert await two.claim() == ["1"]


async def test_a_person_can_have_a_retry_at_the_head_looked_at_anew(queue, workers):
    await limit(queue, a=Limit(running=1))
    await queue.push_to([("default", task(n, "a")) for n in range(2)])
    await workers[0].claim()
    await workers[0].give_back("0", 3_600_000)
    assert await workers[0].claim() == []
    await queue.rouse()
    assert await workers[0].claim() == ["0"]


async def test_where_several_may_run_a_retry_waits_beside_the_others(queue, workers):
    await limit(queue, a=Limit(running=2))
    await queue.push_to([("default", task(n, "a")) for n in range(2)])
    await workers[0].claim(1)
    await workers[0].give_back("0", 50)
    assert await workers[0].claim() == ["1"]
    assert (await queue.depths()).scheduled == 1
    await trio.sleep(0.1)
    await queue.promote()
    assert await workers[0].claim() == ["0"]


# --- rates


async def test_no_more_start_than_a_rate_allows_and_the_rest_in_time(queue, workers):
    await limit(queue, a=Limit(rate=10, per_seconds=1))
    await queue.push_to([("default", task(n, "a")) for n in range(15)])
    starts: list[float] = []
    with trio.fail_after(10):
        while len(starts) < 15:
            await queue.promote()
            starts += [trio.current_time()] * len(await workers[0].claim())
            await trio.sleep(0.01)
    for index in range(len(starts) - 10):
        assert starts[index + 10] - starts[index] > 0.95, "more than ten in a second"


async def test_a_rate_of_a_type_holds_for_what_comes_from_the_list(queue, workers):
    await limit(queue, type_x=Limit(rate=1, per_seconds=3600))
    await queue.push([task(n) for n in range(3)])
    await workers[0].claim()
    assert await workers[0].admit() == ["0"]
    await workers[0].ack("0")
    assert await workers[0].claim() == []
    assert (await queue.depths()).ready == 2
    await queue.set_limits(Limits(2))
    assert await workers[0].claim() == ["1", "2"], "the limit is gone"


async def test_a_scope_pauses_and_goes_on_by_itself(queue, workers):
    await queue.push_to([("default", task("a", "a")), ("default", task("b", "b"))])
    await queue.pause_scope("group:a", 0.2)
    assert await workers[0].claim() == ["b"]
    await queue.push([task("plain")])
    await queue.pause_scope("type:x", 0.4)
    await workers[1].claim()
    assert queue.limited.types == {"x"}
    assert await workers[1].admit() == []
    got: list[str] = []
    with trio.fail_after(5):
        while len(got) < 2:
            await queue.promote()
            got += await workers[0].claim()
            await trio.sleep(0.02)
    await trio.sleep(0.3)
    await queue.promote()
    await workers[1].claim()
    assert queue.limited.types == set(), "nothing is limited any more"
