"""Schedules that fire: each due time once, whoever is at it, dies, is late or gets no answer."""

import logging
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random
from typing import Any

import pytest
import trio
from uuid_utils.compat import uuid7

from tests.support.invariants import check_rows, tasks_in_redis
from workqueue.core.audit import AuditEntry, all_target
from workqueue.core.errors import StoreUnavailable
from workqueue.core.schedules import Schedule, make_schedule
from workqueue.core.steps.outbox import OutboxRelay
from workqueue.core.steps.schedules import DeclareSchedules, FireSchedules, run_schedule_now
from workqueue.core.store.schedules import API, CODE
from workqueue.core.wire import decode_task

AUDIT = AuditEntry("ops", "schedule", all_target())
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def every(seconds: float = 3600, name: str = "s", **members: object) -> Schedule:
    return make_schedule(name, {"every": seconds, "type": "x", **members})


class Bench:
    """A table of schedules, and what is asked of it."""

    def __init__(self, queue, store, psql) -> None:
        self.name = queue.name
        self.store = store.schedules
        self.psql = psql

    def fire(self, random: Random | None = None) -> FireSchedules:
        return FireSchedules(self.name, self.store, random or Random(1))

    async def put(self, *schedules: Schedule, late_seconds: float | None = 0, source: str = API) -> None:
        """Late: so long ago they were due; None: they are due later."""
        now = await self.store.now()
        await self.store.put(self.name, source, [(each, now + timedelta(hours=1)) for each in schedules])
        if late_seconds is not None:
            await self.late(late_seconds)

    async def late(self, seconds: float) -> None:
        await self.psql("UPDATE schedules SET next_at = now() - make_interval(secs => $1)", seconds)

    async def row(self, name: str = "s"):
        return (await self.store.get(self.name, [name]))[name]

    async def jobs(self) -> list[Mapping[str, Any]]:
        return await self.psql("SELECT * FROM jobs ORDER BY due_at, id")

    async def end(self, state: str = "completed") -> None:
        await self.psql(
            "UPDATE jobs SET state = $1, token = CASE WHEN $1 = 'processing' THEN gen_random_uuid() END", state
        )


@pytest.fixture
def bench(queue, store, psql) -> Bench:
    return Bench(queue, store, psql)


async def test_a_due_time_makes_a_job_with_its_options_and_the_relay_pushes_it(bench, queue, store, psql, redis):
    await bench.put(every(payload={"a": 1}, retries=3, queue="mail", timeout=5, expires_in=60), every(name="other"),
                    late_seconds=None)  # fmt: skip
    assert not await bench.fire().run_once()
    assert await bench.jobs() == []
    await psql("UPDATE schedules SET next_at = now() - interval '2 s' WHERE name = 's'")
    due = (await bench.row()).next_at
    assert not await bench.fire().run_once()
    [job] = await bench.jobs()
    assert (job["schedule"], job["due_at"], job["type"], job["payload"]) == ("s", due, "x", '{"a":1}')
    assert (job["retries"], job["in_queue"], job["timeout"], job["run_at"], job["is_far"]) == (
        3,
        "mail",
        5,
        None,
        False,
    )
    assert 50 < (job["start_by"] - job["created_at"]).total_seconds() <= 61
    row = await bench.row()
    assert (row.last_at, row.last_job_id, row.next_at) == (due, job["id"], due + timedelta(hours=1))
    await check_rows(queue, psql)
    await OutboxRelay(queue, store).run_once()
    [task] = await redis.list(queue.keys.ready_of("mail"))
    assert decode_task(task).job_id == job["id"]
    shown = await store.get(job["id"])
    assert (shown.schedule, shown.due_at) == ("s", due)


async def test_nothing_is_fired_twice(bench):
    await bench.put(every())
    for _ in range(3):
        await bench.fire().run_once()
    assert len(await bench.jobs()) == 1


async def test_workers_side_by_side_make_each_job_once(bench):
    await bench.put(*(every(name=f"s{number}") for number in range(50)))
    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(bench.fire().run_once)
    while await bench.fire().run_once():
        pass
    assert sorted(job["schedule"] for job in await bench.jobs()) == sorted(f"s{number}" for number in range(50))


class Cut:
    """A store whose answer to `fire` is lost; with `late` the statement itself arrives later as well."""

    def __init__(self, store: Any, *, late: bool) -> None:
        self._store = store
        self._late = late
        self.sent: Any = None  #: the arguments

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def fire(self, *arguments: Any, **options: Any) -> None:
        self.sent = arguments, options
        if not self._late:
            await self._store.fire(*arguments, **options)
        raise StoreUnavailable("no answer")


@pytest.mark.parametrize("late", [False, True], ids=["done", "not yet done"])
async def test_a_lost_answer_makes_no_second_job(bench, late):
    # The statement is done, or lies in a buffer: the worker cannot know. Another worker looks, and goes on.
    await bench.put(every(missed="all"), late_seconds=3600)
    cut = Cut(bench.store, late=late)
    with pytest.raises(StoreUnavailable):
        await FireSchedules(bench.name, cut, Random(1)).run_once()  # type: ignore[arg-type]
    assert len(await bench.jobs()) == (0 if late else 2)
    await bench.fire().run_once()
    assert len(await bench.jobs()) == 2
    arguments, options = cut.sent
    _, _, firings = arguments
    assert await bench.store.fire(bench.name, uuid7(), firings, **options) == {}, "it has moved"
    assert len(await bench.jobs()) == 2


async def test_a_worker_killed_between_the_look_and_the_statement_costs_nothing(bench):
    await bench.put(every())
    with trio.CancelScope() as scope:
        cut = Cut(bench.store, late=True)

        async def die(*_: object, **__: object) -> None:
            scope.cancel()
            await trio.sleep_forever()

        cut.fire = die  # type: ignore[method-assign]
        await FireSchedules(bench.name, cut, Random(1)).run_once()  # type: ignore[arg-type]
    assert await bench.jobs() == []
    await bench.fire().run_once()
    assert len(await bench.jobs()) == 1


async def test_a_definition_that_changes_between_the_look_and_the_statement_decides(bench):
    await bench.put(every(payload={"old": 1}))
    cut = Cut(bench.store, late=True)
    with pytest.raises(StoreUnavailable):
        await FireSchedules(bench.name, cut, Random(1)).run_once()  # type: ignore[arg-type]
    await bench.put(every(payload={"new": 1}), late_seconds=None)
    arguments, options = cut.sent
    assert await bench.store.fire(*arguments, **options) == {}
    await bench.fire().run_once()
    assert [job["payload"] for job in await bench.jobs()] == ['{"new":1}']


async def test_one_that_is_paused_between_the_look_and_the_statement_makes_no_job(bench):
    await bench.put(every())
    cut = Cut(bench.store, late=True)
    with pytest.raises(StoreUnavailable):
        await FireSchedules(bench.name, cut, Random(1)).run_once()  # type: ignore[arg-type]
    assert await bench.store.pause(bench.name, await bench.row(), "by a person")
    arguments, options = cut.sent
    assert await bench.store.fire(*arguments, **options) == {}
    await bench.fire().run_once()
    assert await bench.jobs() == []


async def test_a_clock_that_is_set_back_repeats_nothing(bench, psql):
    await bench.put(every(60))
    await bench.fire().run_once()
    # As if the clock of Postgres went back by ten minutes: what comes is later than now, what was is not due again.
    await psql("UPDATE schedules SET next_at = next_at + interval '10 min'")
    await bench.fire().run_once()
    assert len(await bench.jobs()) == 1


async def test_an_outage_of_redis_delays_the_tasks_alone(bench, queue, store, psql, redis):
    # Nothing of this needs Redis: the jobs wait in the outbox.
    await bench.put(every(60, missed="all"), late_seconds=300)
    await bench.fire().run_once()
    jobs = await bench.jobs()
    assert len(jobs) in {5, 6}
    await check_rows(queue, psql)
    while await OutboxRelay(queue, store).run_once():
        pass
    assert await tasks_in_redis(queue) == {job["id"] for job in jobs}


# --- times that were missed


@pytest.mark.parametrize(
    ("missed", "late_seconds", "count"),
    [("once", 3 * 3600 + 600, 1), ("all", 3 * 3600 + 600, 4), ("skip", 3 * 3600 + 600, 0), ("skip", 3 * 3600 + 20, 1)],
)
async def test_missed_times_by_policy(bench, missed, late_seconds, count):
    await bench.put(every(missed=missed), late_seconds=late_seconds)
    first = (await bench.row()).next_at
    while await bench.fire().run_once():
        pass
    jobs = await bench.jobs()
    assert len(jobs) == count
    if missed == "all":
        assert [job["due_at"] for job in jobs] == [first + timedelta(hours=hours) for hours in range(4)]
    elif count:
        assert jobs[0]["due_at"] == first + timedelta(hours=3)
    row = await bench.row()
    assert row.next_at == first + timedelta(hours=4)


async def test_thousands_of_missed_times_come_in_pieces_and_hold_up_no_other(bench, monkeypatch):
    monkeypatch.setattr("workqueue.core.steps.schedules.JOBS_MAX", 100)
    await bench.put(every(1, "long", missed="all"), every(3600, "other"), late_seconds=499.5)
    await bench.fire().run_once()
    names = [job["schedule"] for job in await bench.jobs()]
    assert (names.count("long"), names.count("other")) == (50, 1)
    for _ in range(20):
        if not await bench.fire().run_once():
            break
    dues = [job["due_at"] for job in await bench.jobs() if job["schedule"] == "long"]
    assert len(dues) == len(set(dues)) >= 500


# --- one job while another one goes on


@pytest.mark.parametrize("state", ["pending", "processing"])
async def test_one_that_must_not_overlap_leaves_times_out(bench, state):
    await bench.put(every(overlap="skip"))
    await bench.fire().run_once()
    await bench.end(state)
    await bench.late(1)
    before = await bench.row()
    await bench.fire().run_once()
    after = await bench.row()
    assert len(await bench.jobs()) == 1
    assert (after.next_at, after.last_at) == (before.next_at + timedelta(hours=1), before.last_at)
    await bench.end()
    await bench.late(1)
    await bench.fire().run_once()
    assert len(await bench.jobs()) == 2


async def test_one_that_waits_makes_its_job_when_the_last_one_has_ended(bench, psql):
    await bench.put(every(overlap="wait", missed="all"), late_seconds=3600)
    for count in (1, 2):
        for _ in range(3):
            await bench.fire().run_once()
        assert len(await bench.jobs()) == count
        await bench.end("failed")
    await bench.fire().run_once()
    assert len(await bench.jobs()) == 2
    await bench.late(1)
    await bench.fire().run_once()
    await psql("DELETE FROM jobs WHERE state = 'pending'")  # a job that is gone has ended
    await bench.late(1)
    await bench.fire().run_once()
    assert len(await bench.jobs()) == 3


async def test_those_that_wait_hold_up_no_others(bench, monkeypatch):
    monkeypatch.setattr("workqueue.core.steps.schedules.DUE_MAX", 3)
    await bench.put(*(every(name=f"w{number}", overlap="wait") for number in range(3)))
    await bench.fire().run_once()
    await bench.put(every(), late_seconds=5)
    await bench.psql("UPDATE schedules SET next_at = now() WHERE name = 's'")
    await bench.fire().run_once()
    assert "s" in [job["schedule"] for job in await bench.jobs()]


async def test_a_run_by_hand_between_the_look_and_the_statement_counts_as_one_that_goes_on(bench):
    await bench.put(every(overlap="skip"))
    cut = Cut(bench.store, late=True)
    with pytest.raises(StoreUnavailable):
        await FireSchedules(bench.name, cut, Random(1)).run_once()  # type: ignore[arg-type]
    await run_schedule_now(bench.name, bench.store, await bench.row())
    arguments, options = cut.sent
    assert await bench.store.fire(*arguments, **options) == {}
    assert len(await bench.jobs()) == 1


# --- jitter


async def test_jobs_wait_for_a_random_part_of_the_jitter(bench, queue, store, psql):
    await bench.put(*(every(name=f"s{number}", jitter=1000, expires_in=60) for number in range(20)))
    await bench.fire().run_once()
    delays = [(job["run_at"] - job["due_at"]).total_seconds() for job in await bench.jobs()]
    assert len(set(delays)) == 20
    assert min(delays) > 0
    assert 500 < max(delays) <= 1000
    for job in await bench.jobs():
        assert 50 < (job["start_by"] - job["run_at"]).total_seconds() < 70
    await OutboxRelay(queue, store).run_once()
    await check_rows(queue, psql)


async def test_a_jitter_of_hours_leaves_jobs_where_those_of_later_are(bench, queue, psql):
    await bench.put(every(jitter=80_000))
    await bench.fire(Random(3)).run_once()
    [job] = await bench.jobs()
    assert job["is_far"]
    assert await psql("SELECT * FROM outbox") == []
    await check_rows(queue, psql)


# --- run now


async def test_run_now_makes_a_job_and_changes_no_due_time(bench, psql):
    await bench.put(every(payload={"a": 1}), late_seconds=None)
    before = await bench.row()
    run = await run_schedule_now(bench.name, bench.store, before, AUDIT)
    [job] = await bench.jobs()
    after = await bench.row()
    assert run is not None
    assert (job["id"], job["schedule"], job["due_at"], job["payload"]) == (run.id, "s", before.now, '{"a":1}')
    assert (after.next_at, after.last_job_id) == (before.next_at, run.id)
    assert await psql.value("SELECT count FROM audit WHERE act = 'schedule'") == 1
    assert await run_schedule_now(bench.name, bench.store, before) is None, "it has changed since"
    await bench.store.pause(bench.name, after, "by a person")
    assert await run_schedule_now(bench.name, bench.store, await bench.row()) is not None


# --- what cannot be computed


async def test_what_this_release_cannot_read_is_paused_and_said_so(bench, psql, caplog):
    await bench.put(make_schedule("s", {"cron": "0 0 * * *", "type": "x"}), every(name="other"))
    await psql("UPDATE schedules SET tz = 'Mars/Olympus' WHERE name = 's'")
    for _ in range(2):
        await bench.fire().run_once()
    assert [job["schedule"] for job in await bench.jobs()] == ["other"]
    assert (await bench.row()).paused_why == "this release cannot tell when it is due: tz is not valid"
    assert caplog.text.count("schedule 's' is paused") == 1


# --- what the code declares


def declare(bench: Bench, *schedules: Schedule, silent_seconds: float = 60) -> DeclareSchedules:
    return DeclareSchedules(bench.name, bench.store, schedules, silent_seconds=silent_seconds)


async def silence(bench: Bench, seconds: float) -> None:
    """As if so much time had passed."""
    span = timedelta(seconds=seconds)
    await bench.psql("UPDATE declarations SET since = since - $1::interval, seen_at = seen_at - $1::interval", span)
    await bench.psql("UPDATE schedules SET updated_at = updated_at - $1::interval", span)


async def test_what_the_code_declares_is_written_once(bench, caplog):
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            await declare(bench, every(60, "a"), every(60, "b")).run_once()
    assert caplog.text.count("is new") == 2
    before = await bench.row("a")
    assert before.source == CODE
    assert 0 < (before.next_at - before.now).total_seconds() <= 60
    await declare(bench, every(60, "a", payload={"more": 1}), every(7200, "b")).run_once()
    after = await bench.row("a")
    assert (after.next_at, after.version, after.schedule.payload) == (before.next_at, 2, '{"more":1}')
    assert ((await bench.row("b")).next_at - before.now).total_seconds() > 3600


async def test_a_start_neither_repeats_nor_loses_a_due_time(bench):
    step = declare(bench, every(3600))
    await step.run_once()
    await bench.late(10)
    due = (await bench.row()).next_at
    await declare(bench, every(3600)).run_once()
    assert (await bench.row()).next_at == due
    await bench.fire().run_once()
    await declare(bench, every(3600)).run_once()
    await bench.fire().run_once()
    assert [job["due_at"] for job in await bench.jobs()] == [due]


async def test_what_is_gone_from_the_code_is_paused_and_said_once(bench, caplog):
    await declare(bench, every(name="kept"), every(name="gone")).run_once()
    new = declare(bench, every(name="kept"))
    await new.run_once()
    await silence(bench, 50)
    await new.run_once()
    assert not (await bench.row("gone")).is_gone, "the old code was there a moment ago"
    await silence(bench, 50)
    await new.run_once()
    await new.run_once()
    assert (await bench.row("gone")).is_gone
    assert not (await bench.row("kept")).is_gone
    assert caplog.text.count("'gone' is paused: the code of no worker declares it any more") == 1
    await bench.late(10)
    await bench.fire().run_once()
    assert [job["schedule"] for job in await bench.jobs()] == ["kept"]


async def test_the_last_one_that_goes_is_missed_too(bench):
    await declare(bench, every()).run_once()
    without = declare(bench)
    for _ in range(3):
        await without.run_once()
        await silence(bench, 50)
    await without.run_once()
    assert (await bench.row()).is_gone
    assert await bench.psql.value("SELECT count(*) FROM declarations WHERE names = '{}'") == 1


async def test_a_worker_without_schedules_writes_nothing(bench):
    await declare(bench).run_once()
    assert await bench.psql("SELECT * FROM declarations") == []


async def test_an_outage_of_all_workers_makes_nothing_gone(bench):
    mail, reports = declare(bench, every(name="mail")), declare(bench, every(name="reports"))
    await mail.run_once()
    await reports.run_once()
    await silence(bench, 5000)
    await mail.run_once()  # the first one that is back
    await mail.run_once()
    assert not (await bench.row("reports")).is_gone
    await reports.run_once()
    await silence(bench, 50)
    await mail.run_once()
    await reports.run_once()
    await silence(bench, 50)
    await mail.run_once()
    assert not (await bench.row("reports")).is_gone


async def test_what_is_back_runs_again_and_catches_up(bench, caplog):
    await declare(bench, every()).run_once()
    without = declare(bench)
    for _ in range(3):
        await without.run_once()
        await silence(bench, 50)
    await without.run_once()
    await bench.late(1800)
    await bench.fire().run_once()
    assert await bench.jobs() == []
    with caplog.at_level(logging.INFO):
        await declare(bench, every()).run_once()
    assert "'s' runs again: it is back in the code" in caplog.text
    await bench.fire().run_once()
    assert len(await bench.jobs()) == 1


async def test_a_worker_that_was_cut_off_for_long_takes_back_what_is_its_own(bench):
    step = declare(bench, every())
    await step.run_once()
    without = declare(bench)
    for _ in range(3):
        await without.run_once()
        await silence(bench, 50)
    await without.run_once()
    assert (await bench.row()).is_gone
    await step.run_once()
    assert not (await bench.row()).is_gone


async def test_what_a_person_has_paused_stays_paused_whatever_is_declared(bench):
    await declare(bench, every()).run_once()
    await bench.store.pause(bench.name, await bench.row(), "by a person")
    await declare(bench, every(payload={"a": 1})).run_once()
    assert (await bench.row()).paused_why == "by a person"


async def test_a_schedule_of_the_api_is_left_to_the_api(bench, caplog):
    await bench.put(every(payload={"api": 1}))
    await declare(bench, every(payload={"code": 1})).run_once()
    row = await bench.row()
    assert (row.source, row.schedule.payload) == (API, '{"api":1}')
    assert "'s' of the code is left out" in caplog.text


# --- by chance

EVENTS = ("look", "look late", "look cut", "arrive", "minute", "hour", "pause", "resume", "edit", "now", "end")


@pytest.mark.parametrize("overlap", ["allow", "skip", "wait"])
@pytest.mark.parametrize("seed", range(20))
async def test_whatever_happens_each_due_time_makes_one_job(bench, overlap, seed):
    """`all` of them, none twice; and with `skip` and `wait` never two at a time."""
    chance = Random(seed)
    events = [chance.choice(EVENTS) for _ in range(40)]
    await bench.put(every(60, missed="all", overlap=overlap), late_seconds=1)
    late: list[Cut] = []
    edits = 0
    by_hand = set()
    for event in events:
        if event == "look":
            await bench.fire().run_once()
        elif event in {"look late", "look cut"}:
            late.append(Cut(bench.store, late=event == "look late"))
            with suppress(StoreUnavailable):
                await FireSchedules(bench.name, late[-1], Random(1)).run_once()  # type: ignore[arg-type]
        elif event == "arrive" and late and (sent := late.pop(0).sent):
            arguments, options = sent
            await bench.store.fire(arguments[0], uuid7(), arguments[2], **options)
        elif event in {"minute", "hour"}:
            span = timedelta(minutes=1 if event == "minute" else 60)
            await bench.psql("UPDATE schedules SET next_at = next_at - $1::interval", span)
            await bench.psql("UPDATE jobs SET due_at = due_at - $1::interval", span)
        elif event == "pause":
            await bench.store.pause(bench.name, await bench.row(), "by a person")
        elif event == "resume":
            row = await bench.row()
            await bench.store.resume(bench.name, row, row.next_at)
        elif event == "edit":
            edits += 1
            await bench.put(every(60, missed="all", overlap=overlap, payload={"n": edits}), late_seconds=None)
        elif event == "now" and overlap == "allow":
            run = await run_schedule_now(bench.name, bench.store, await bench.row())
            by_hand.add(run.id if run else None)
        elif event == "end":
            await bench.end()
        going_on = [job for job in await bench.jobs() if job["state"] == "pending"]
        assert overlap == "allow" or len(going_on) <= 1
    jobs = [job for job in await bench.jobs() if job["id"] not in by_hand]
    dues = [job["due_at"] for job in jobs]
    assert len(set(dues)) == len(dues), "one comes twice"
    steps = {later - earlier for earlier, later in pairwise(dues)}
    assert overlap == "skip" or steps <= {timedelta(minutes=1)}, "one was left out"
    pushed = {job_id for row in await bench.psql("SELECT ids FROM outbox") for job_id in row["ids"]}
    assert {job["id"] for job in await bench.jobs()} <= pushed
