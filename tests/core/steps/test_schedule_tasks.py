"""Schedules without rows: one script fires each due time once."""

from random import Random
from typing import Any

import msgspec
import pytest
import trio

from tests.support.wait import until
from workqueue.core.errors import QueueUnavailable
from workqueue.core.queue import DueSchedule, open_queue
from workqueue.core.schedules import Schedule, make_schedule
from workqueue.core.steps.schedule_tasks import LOOK_SECONDS, FireTasks, key_of
from workqueue.core.wire import decode_task
from workqueue.services.local.valkey import run_valkey

HOUR_MS = 3_600_000


def every(seconds: float = 3600, name: str = "s", **members: object) -> Schedule:
    return make_schedule(name, {"every": seconds, "type": "x", **members})


class Bench:
    """The due times in Redis, and what is asked of them."""

    def __init__(self, queue, redis) -> None:
        self.queue = queue
        self.redis = redis

    def fire(self, *schedules: Schedule, queue: Any = None, **options: Any) -> FireTasks:
        return FireTasks(queue or self.queue, schedules, Random(1), **options)

    async def now_ms(self) -> int:
        seconds, micros = await self.redis("TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    async def late(self, schedule: Schedule, seconds: float = 1.0) -> int:
        """So long ago it was due."""
        due_ms = await self.now_ms() - round(seconds * 1000)
        await self.redis("ZADD", self.queue.keys.schedules, due_ms, key_of(schedule))
        return due_ms

    async def due_ms(self, schedule: Schedule) -> int:
        return int(await self.redis("ZSCORE", self.queue.keys.schedules, key_of(schedule)))

    async def tasks(self, queue: str = "default"):
        return [decode_task(task) for task in await self.redis.list(self.queue.keys.ready_of(queue))]


@pytest.fixture
def bench(queue, redis) -> Bench:
    return Bench(queue, redis)


async def test_a_due_time_makes_a_task_with_its_options(bench):
    schedule = every(payload={"a": 1}, retries=3, timeout=5, queue="mail", expires_in=60)
    due_ms = await bench.late(schedule)
    for _ in range(3):
        assert not await bench.fire(schedule).run_once()
    [task] = await bench.tasks("mail")
    assert (task.type, task.payload, task.options.retries, task.options.timeout) == ("x", b'{"a":1}', 3, 5)
    assert task.job_id is not None
    extra = msgspec.json.decode(b"{%b}" % task.extra)
    assert extra["schedule"] == "s"
    assert extra["due_at"].startswith("20")
    assert await bench.due_ms(schedule) == due_ms + HOUR_MS
    assert await bench.redis("SMEMBERS", bench.queue.keys.queues) == {b"mail"}
    assert await bench.redis.list(bench.queue.keys.bell) == [b"mail"]


async def test_a_new_one_waits_for_its_first_time(bench):
    schedule = every()
    await bench.fire(schedule).run_once()
    assert abs(await bench.due_ms(schedule) - await bench.now_ms() - HOUR_MS) < 5000
    before = await bench.due_ms(schedule)
    await bench.fire(schedule).run_once()
    assert await bench.due_ms(schedule) == before
    assert await bench.tasks() == []


async def test_workers_side_by_side_make_each_task_once(bench):
    schedules = [every(name=f"s{number}") for number in range(30)]
    for each in schedules:
        await bench.late(each)
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(bench.fire(*schedules).run_once)
    assert len(await bench.tasks()) == 30


class Cut:
    """A queue whose answers are lost; with `late` the script arrives later as well."""

    def __init__(self, queue: Any, *, late: bool) -> None:
        self.name, self.keys, self._queue, self._late = queue.name, queue.keys, queue, late
        self.sent: Any = None

    async def fire(self, schedules: Any) -> Any:
        if not any(each.next_ms for each in schedules):
            return await self._queue.fire(schedules)
        self.sent = schedules
        if not self._late:
            await self._queue.fire(schedules)
        raise QueueUnavailable("no answer")


@pytest.mark.parametrize("late", [False, True], ids=["done", "not yet done"])
async def test_a_lost_answer_makes_no_second_task(bench, late):
    schedule = every()
    await bench.late(schedule)
    cut = Cut(bench.queue, late=late)
    step = bench.fire(schedule, queue=cut)
    with pytest.raises(QueueUnavailable):
        await step.run_once()
    assert len(await bench.tasks()) == (0 if late else 1)
    await bench.fire(schedule).run_once()
    await bench.queue.fire(cut.sent)
    assert len(await bench.tasks()) == 1


async def test_a_worker_that_is_behind_learns_what_others_did(bench):
    schedule = every(60)
    await bench.late(schedule)
    mine, other = bench.fire(schedule), bench.fire(schedule)
    await mine.run_once()
    await other.run_once()
    assert len(await bench.tasks()) == 1


async def test_while_nothing_is_due_nothing_is_sent(bench):
    now = 1000.0
    step = bench.fire(every(), clock=lambda: now)
    await step.run_once()
    asked = 0

    async def fire(schedules: Any) -> Any:
        nonlocal asked
        asked += 1
        return await type(bench.queue).fire(bench.queue, schedules)

    bench.queue.fire = fire
    for _ in range(5):
        now += LOOK_SECONDS / 5 - 0.1
        assert not await step.run_once()
    assert asked == 0
    now += 1
    await step.run_once()
    assert asked == 1, "the clock alone"


@pytest.mark.parametrize(
    ("missed", "late_seconds", "count"),
    [("once", 3 * 3600 + 600, 1), ("all", 3 * 3600 + 600, 4), ("skip", 3 * 3600 + 600, 0), ("skip", 3 * 3600 + 20, 1)],
)
async def test_missed_times_by_policy(bench, missed, late_seconds, count):
    schedule = every(missed=missed)
    due_ms = await bench.late(schedule, late_seconds)
    step = bench.fire(schedule)
    while await step.run_once():
        pass
    assert len(await bench.tasks()) == count
    assert await bench.due_ms(schedule) == due_ms + 4 * HOUR_MS


async def test_thousands_of_missed_times_come_in_pieces(bench, monkeypatch):
    monkeypatch.setattr("workqueue.core.steps.schedule_tasks.JOBS_MAX", 100)
    schedule = every(1, missed="all")
    await bench.late(schedule, 250.5)
    step = bench.fire(schedule)
    assert await step.run_once()
    assert len(await bench.tasks()) == 100
    while await step.run_once():
        pass
    assert 251 <= len(await bench.tasks()) <= 255


async def test_large_payloads_go_in_several_trips(bench, monkeypatch):
    monkeypatch.setattr("workqueue.core.steps.schedule_tasks.PUSH_BYTES_MAX", 3000)
    schedules = [every(name=f"s{number}", payload={"a": "x" * 1500}) for number in range(5)]
    for each in schedules:
        await bench.late(each)
    await bench.fire(*schedules).run_once()
    assert len(await bench.tasks()) == 5


async def test_tasks_wait_for_a_random_part_of_the_jitter(bench):
    schedules = [every(name=f"s{number}", jitter=1000) for number in range(10)]
    for each in schedules:
        await bench.late(each)
    now_ms = await bench.now_ms()
    await bench.fire(*schedules).run_once()
    scores = [
        float(score) for score in (await bench.redis("ZRANGE", bench.queue.keys.scheduled, 0, -1, "WITHSCORES"))[1::2]
    ]
    assert len(set(scores)) == 10
    assert all(0 < score - now_ms <= 1_001_000 for score in scores)
    assert await bench.tasks() == []


async def test_other_times_are_another_schedule_and_another_payload_is_not(bench):
    schedule = every()
    await bench.late(schedule)
    await bench.fire(every(60)).run_once()
    assert await bench.tasks() == [], "it begins anew"
    await bench.fire(every(payload={"new": 1})).run_once()
    assert [task.payload for task in await bench.tasks()] == [b'{"new":1}']


async def test_what_was_left_behind_for_a_month_goes(bench):
    kept, gone = every(name="kept"), every(name="gone")
    await bench.late(gone, 31 * 86_400)
    await bench.late(kept, 29 * 86_400)
    await bench.fire(every()).run_once()
    assert await bench.redis("ZSCORE", bench.queue.keys.schedules, key_of(gone)) is None
    assert await bench.due_ms(kept)


async def test_what_needs_rows_is_left_out_and_said_so(bench, caplog):
    schedule = every(overlap="skip")
    await bench.late(schedule)
    assert not await bench.fire(schedule).run_once()
    assert await bench.tasks() == []
    assert "schedule 's' is left out: overlap='skip' needs DATABASE_URL" in caplog.text


async def test_a_loss_of_redis_begins_anew(bench):
    schedule = every()
    step = bench.fire(schedule)
    await step.run_once()
    await bench.redis("DEL", bench.queue.keys.schedules)
    await bench.fire(schedule).run_once()
    assert await bench.tasks() == []
    assert await bench.due_ms(schedule)


@pytest.mark.parametrize("key", ["ready", "schedules"])
async def test_a_key_of_another_type_and_a_full_redis_stop_it_before_it_has_done_anything(key, bridge, tmp_path):
    async with run_valkey(tmp_path, durable=False) as server, open_queue(bridge, server.url, "q") as queue:
        await queue._command("ZADD", queue.keys.schedules, 4_000_000_000_000, "a")
        due = DueSchedule("a", 4_000_000_000_000, 4_000_000_000_001, tasks=[(0, b"task")])
        await queue._command("CONFIG", "SET", "maxmemory", "1")

        async def is_full() -> bool:
            try:
                await queue.push([b"x"])
            except QueueUnavailable:
                return True
            return False

        await until(is_full)
        await queue._command("DEL", queue.name)
        with pytest.raises(QueueUnavailable, match="maxmemory"):
            await queue.fire([due])
        assert await queue._command("ZSCORE", queue.keys.schedules, "a") == 4_000_000_000_000
        await queue._command("CONFIG", "SET", "maxmemory", "0")
        if key == "schedules":
            await queue._command("DEL", queue.keys.schedules)
        await queue._command("SET", getattr(queue.keys, key), "of another type")
        with pytest.raises(QueueUnavailable):
            await queue.fire([due])
        if key == "ready":
            assert await queue._command("ZSCORE", queue.keys.schedules, "a") == 4_000_000_000_000
        else:
            assert (await queue.depths()).ready == 0
