"""The small parts of a worker: buffer, outcomes, prefetch, upkeep, metrics, notifications."""

import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from types import SimpleNamespace
from uuid import uuid4

import pytest
import trio
from prometheus_client import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.support.wait import until_true
from workqueue.core.errors import QueueUnavailable, StoreUnavailable
from workqueue.core.job import Artifact
from workqueue.core.outcome import Complete
from workqueue.core.steps.lease import ClaimedTask, Lease
from workqueue.core.steps.settle import Ending
from workqueue.core.wire import Task
from workqueue.services.health import Dependency
from workqueue.services.systemd import Notifier
from workqueue.services.worker.claiming import Claiming
from workqueue.services.worker.heartbeats import Heartbeats
from workqueue.services.worker.leases import Leases
from workqueue.services.worker.metrics import (
    BUCKETS_SECONDS,
    STRANGE_TYPES_MAX,
    Counts,
    Gauges,
    Snapshot,
    TypeCounts,
    WorkerCollector,
    collector_registry,
    total,
    wants_prometheus,
)
from workqueue.services.worker.prefetch import Prefetch
from workqueue.services.worker.running.buffer import Buffer
from workqueue.services.worker.running.outcomes import BATCH_MAX, WAITING_BYTES_MAX, WAITING_MAX, Outcomes
from workqueue.services.worker.upkeep import repeat

LEASE = Lease()


def held(number: int) -> ClaimedTask:
    return ClaimedTask.of(LEASE, number, Task("x"), uuid4(), trio.current_time())


async def test_a_buffer_is_first_in_first_out_and_wakes_who_waits():
    buffer, taken = Buffer(), []

    async def consume() -> None:
        while (item := await buffer.take()) is not None:
            taken.append(item.number)

    async with trio.open_nursery() as consumers:
        for _ in range(5):
            consumers.start_soon(consume)
        await wait_all_tasks_blocked()
        assert buffer.idle == 5
        buffer.extend([held(number) for number in range(20)])
        await wait_all_tasks_blocked()
        assert sorted(taken) == list(range(20))
        assert buffer.idle == 5
        buffer.close()
    assert len(buffer) == 0


async def test_a_drained_buffer_gives_back_everything_in_order():
    buffer = Buffer()
    buffer.extend([held(number) for number in range(3)])
    assert buffer.waiting_since() is not None
    assert [item.number for item in buffer.drain()] == [0, 1, 2]
    assert buffer.waiting_since() is None


class SlowSettle:
    """Stands where Settle stands, and holds each batch until it is told to go on."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.go_on = trio.Event()

    async def run_batch(self, batch: list[Ending]) -> None:
        self.batches.append(len(batch))
        await self.go_on.wait()


async def test_outcomes_gather_while_a_batch_is_settled_and_hold_consumers_up_when_full():
    settle = SlowSettle()
    outcomes = Outcomes(settle, Heartbeats())  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        await nursery.start(outcomes.run)
        for number in range(WAITING_MAX + 501):
            outcomes.put(Ending(held(number), Complete(b"1"), 0.1))
            if number == 0:
                await wait_all_tasks_blocked()
        assert settle.batches == [1]
        assert outcomes.full
        with trio.move_on_after(0.02) as patience:
            await outcomes.wait_for_room()
        assert patience.cancelled_caught, "a consumer takes its next job only when there is room"
        settle.go_on.set()
        with trio.fail_after(5):
            await outcomes.wait_for_room()
            await outcomes.wait_empty()
        assert sum(settle.batches) == WAITING_MAX + 501
        assert max(settle.batches) == BATCH_MAX
        nursery.cancel_scope.cancel()


async def test_large_outcomes_hold_consumers_up_long_before_there_are_many():
    """A worker that waits out an outage with results of a MiB each must not grow by gigabytes."""
    settle = SlowSettle()
    outcomes = Outcomes(settle, Heartbeats())  # type: ignore[arg-type]
    mebibyte = Complete(b"1", [Artifact("a", "text/plain", b"x" * 2**20)])
    count = 0
    while not outcomes.full:
        outcomes.put(Ending(held(count), mebibyte, 0.1))
        count += 1
        assert count < WAITING_MAX
    assert count == WAITING_BYTES_MAX // 2**20
    settle.go_on.set()
    async with trio.open_nursery() as nursery:
        await nursery.start(outcomes.run)
        with trio.fail_after(5):
            await outcomes.wait_empty()
        nursery.cancel_scope.cancel()
    assert not outcomes.full, "what has gone counts no longer"
    assert max(settle.batches) < 4, "and a statement carries 4 MiB"


class Trickle:
    """Stands where Claim stands: there is always one more task, and never as many as there are places."""

    def __init__(self) -> None:
        self.claims = 0

    async def run_once(self, lease: Lease, count: int, found: Callable[[], None] | None) -> list[ClaimedTask]:
        self.claims += 1
        if found is not None:
            found()
        await trio.lowlevel.checkpoint()
        return [held(self.claims)]


class Waiting:
    """Stands where Claim stands: nothing is there, until somebody puts a task there."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.task = trio.Event()
        self.answer = trio.Event()

    async def run_once(self, lease: Lease, count: int, found: Callable[[], None] | None) -> list[ClaimedTask]:
        if found is None or len(self.steps) > 2:
            self.steps.append("claims")
            await trio.lowlevel.checkpoint()
            return []
        self.steps.append("waits")
        await self.task.wait()
        found()
        self.steps.append("claims what came")
        await self.answer.wait()
        return [held(1)]


def claiming_of(claim: object, buffer: Buffer, *, is_full: bool = False) -> Claiming:
    leases = Leases(lambda lease: None)
    leases.take(Lease())
    idle, outcomes = (
        SimpleNamespace(yield_next_claim=False, environment=SimpleNamespace(fault=None)),
        SimpleNamespace(full=is_full),
    )
    return Claiming(claim, leases, buffer, idle, outcomes, Counts(), Heartbeats(), Random(1))  # type: ignore[arg-type]


async def test_a_stop_ends_a_wait_at_once_and_lets_the_claim_behind_it_end(nursery):
    for comes in (False, True):
        claim, buffer = Waiting(), Buffer()
        claiming = claiming_of(claim, buffer)
        nursery.start_soon(buffer.take)
        with trio.fail_after(0.5):  # less than STOP_SECONDS
            async with trio.open_nursery() as claims:
                claims.start_soon(claiming.run)
                await until_true(lambda claim=claim: "waits" in claim.steps)
                if comes:
                    claim.task.set()
                    await wait_all_tasks_blocked()
                claiming.end_soon()
                claims.cancel_scope.cancel()
                claim.answer.set()
        assert claim.steps == ["claims", "waits", *["claims what came"] * comes]
        await wait_all_tasks_blocked()
        assert buffer.idle == (0 if comes else 1), "what it took has a consumer"
        buffer.close()


async def test_nothing_is_claimed_while_outcomes_are_full(nursery):
    claim, buffer = Trickle(), Buffer()
    nursery.start_soon(buffer.take)
    with trio.move_on_after(0.2):
        await claiming_of(claim, buffer, is_full=True).run()
    assert claim.claims == 0
    buffer.close()


async def test_whoever_waits_for_a_job_has_it_before_the_next_claim_is_sent(nursery):
    for _ in range(20):  # Trio runs what is ready in any order
        claim, buffer = Waiting(), Buffer()
        claiming = claiming_of(claim, buffer)

        async def consume(buffer: Buffer = buffer, claim: Waiting = claim) -> None:
            while await buffer.take():
                claim.steps.append("runs")

        for _ in range(5):  # more than are woken, so that there is room for more
            nursery.start_soon(consume)
        await wait_all_tasks_blocked()
        claim.task.set()
        claim.answer.set()
        async with trio.open_nursery() as claims:
            claims.start_soon(claiming.run)
            await until_true(lambda claim=claim: len(claim.steps) > 4)
            claims.cancel_scope.cancel()
        assert claim.steps[:5] == ["claims", "waits", "claims what came", "runs", "claims"]
        buffer.close()


async def test_a_stop_ends_the_claiming_after_the_claim_that_is_under_way(nursery):
    buffer, claim = Buffer(), Trickle()
    claiming = claiming_of(claim, buffer)
    for _ in range(200):
        nursery.start_soon(buffer.take)
    await wait_all_tasks_blocked()
    async with trio.open_nursery() as claims:
        claims.start_soon(claiming.run)
        await trio.lowlevel.checkpoint()
        claiming.end_soon()
        claims.cancel_scope.cancel()
    assert claim.claims <= 2
    buffer.close()


async def test_prefetch_follows_from_how_long_jobs_take(autojump_clock: MockClock):
    prefetch, finished = Prefetch(), 0
    for _ in range(20):  # 10,000 a second
        await trio.sleep(0.1)
        finished += 1000
        ahead = prefetch.target(finished)
    assert 500 <= ahead <= 1000
    for _ in range(20):  # one in two seconds
        await trio.sleep(2)
        finished += 1
        ahead = prefetch.target(finished)
    assert ahead == 0
    prefetch.reset(finished)
    assert prefetch.target(finished) == 0


async def test_prefetch_covers_two_claims_where_they_take_long(autojump_clock: MockClock):
    """Or a worker far from its servers waits, finishes less for it, claims less ahead for that, and waits for more."""
    prefetch, finished = Prefetch(), 0
    for _ in range(30):
        await trio.sleep(0.15)
        prefetch.claimed(0.15)
        finished += 300
        ahead = prefetch.target(finished)
    assert 500 <= ahead <= 600, "2,000 a second, for 0.3 s"
    assert prefetch.stale_seconds > 0.3, "what was claimed for so long is not given back before"
    prefetch.claimed(60)  # an outage
    assert prefetch.target(finished) <= 2000, "a second at most"
    for _ in range(60):
        prefetch.claimed(0.005)
    assert prefetch.target(finished) == pytest.approx(200, abs=1)
    assert prefetch.stale_seconds == 0.2


async def test_a_loop_waits_out_an_outage_and_a_bug_ends_it(autojump_clock: MockClock):
    calls = 0
    called_at: list[float] = []

    async def run_once() -> bool:
        nonlocal calls
        calls += 1
        called_at.append(trio.current_time())
        if calls < 3:
            raise QueueUnavailable("away")
        if calls < 6:
            return True  # there is more to do
        raise ZeroDivisionError

    heartbeats = Heartbeats(trio.current_time)
    with pytest.raises(ZeroDivisionError):
        await repeat(run_once, every_seconds=60, name="mine", heartbeats=heartbeats)
    assert calls == 6
    assert called_at[5] - called_at[2] < 1, "a full piece is repeated at once"
    await trio.sleep(1000)
    assert heartbeats.overdue(0) == {}, "what has ended is not waited for"


async def test_what_a_watch_cannot_see_is_told_once_and_again_after_a_minute(autojump_clock: MockClock, caplog):
    """Postgres answers, and its disk is full: each request, or each try of a worker, meets that."""
    postgres = Dependency("Postgres", "Start it")
    away = False

    async def reach() -> None:
        if away:
            raise StoreUnavailable("Postgres: gone")

    def told() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]

    async def fail_for(seconds: float, text: str) -> None:
        end = trio.current_time() + seconds
        while trio.current_time() < end:
            await postgres.look(reach, trio.lowlevel.checkpoint)
            postgres.failed(StoreUnavailable(text), "still trying")
            await trio.sleep(0.1)

    await fail_for(300, "Postgres: no space left")
    assert told() == ["still trying: Postgres: no space left"]
    await fail_for(10, "Postgres: permission denied")
    assert len(told()) == 2, "another reason is news"
    await trio.sleep(61)
    await fail_for(10, "Postgres: permission denied")
    assert len(told()) == 3
    away = True
    await fail_for(10, "Postgres: gone")
    assert len(told()) == 4, "the outage itself, told by the watch"


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", False),
        ("*/*", False),
        ("text/html,application/xhtml+xml,*/*;q=0.8", False),
        ("application/json, text/plain, */*", False),
        ("text/plain;version=0.0.4;q=0.5,*/*;q=0.1", True),
        ("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", True),
    ],
)
def test_only_a_scraper_gets_prometheus_text(accept, wanted):
    assert wants_prometheus(accept) == wanted


@pytest.mark.parametrize("accept", ["text/plain;version=0.0.4", "application/openmetrics-text;version=1.0.0"])
async def test_metrics_can_be_parsed_and_have_the_sums(accept):
    from prometheus_client.exposition import choose_encoder

    counts = Counts()
    counts.of("send_email").done = 3
    for seconds in (0.0005, 0.2, 4000.0):
        counts.of("send_email").ran(seconds)
    gauges = Gauges(ready=7, scheduled=1, dead=2, running=1, buffered=0, unsettled=0, threads_left=0, copies=5,
                    invalid=1, concurrency=2)  # fmt: skip
    encode, _ = choose_encoder(accept)
    text = encode(collector_registry(WorkerCollector(Snapshot(3, 0, 0, counts.types, gauges), "q"))).decode()
    families = {f.name: f for f in (parse_openmetrics if "openmetrics" in accept else parse_text)(text)}
    samples = {
        (s.name, s.labels.get("outcome"), s.labels.get("le")): s.value for f in families.values() for s in f.samples
    }
    assert samples["workqueue_ready_tasks", None, None] == 7
    assert samples["workqueue_jobs_total", "done", None] == 3
    assert samples["workqueue_duplicate_tasks_total", None, None] == 5
    assert samples["workqueue_job_seconds_bucket", None, "0.001"] == 1
    assert samples["workqueue_job_seconds_bucket", None, "+Inf"] == 3
    assert samples["workqueue_job_seconds_count", None, None] == 3


async def test_types_without_a_handler_share_bounded_room_and_hide_none_that_has_one():
    registered = {f"registered {number}" for number in range(700)}

    def one_worker(begin: int) -> Snapshot:
        counts = Counts(registered.__contains__)
        for number in range(begin, begin + 2000):
            counts.of(f"{number}" + "x" * 190).failed += 1
        for name in registered:
            counts.of(name).done += 1
            counts.of(name).ran(0.1)
        assert len(counts.types) == 700 + STRANGE_TYPES_MAX + 1
        gauges = Gauges(ready=0, scheduled=0, dead=0, running=0, buffered=0, unsettled=0, threads_left=0, copies=0,
                        invalid=0, concurrency=2)  # fmt: skip
        return Snapshot(700, 2000, 0, counts.types, gauges)

    sums = total([one_worker(begin) for begin in range(0, 128_000, 2000)])  # of 64 processes
    assert {name: sums.types[name].done for name in registered} == dict.fromkeys(registered, 64)
    strange = {name: counts.failed for name, counts in sums.types.items() if name not in registered}
    assert len(strange) == STRANGE_TYPES_MAX + 1
    assert sum(strange.values()) == 128_000
    sums.types.clear()
    sums.types.update({name: TypeCounts(failed=count, strange=True) for name, count in strange.items()})
    shown = generate_latest(collector_registry(WorkerCollector(sums, "q")))
    assert len(shown) < 30_000


async def test_systemd_is_told_ready_stopping_and_that_the_loop_lives(tmp_path: Path, nursery):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(5)
        notifier = Notifier.from_environ({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "90000"})
        notifier.ready()
        assert systemd.recv(100) == b"READY=1"
        await nursery.start(notifier.feed_watchdog)
        begun = trio.current_time()
        for _ in range(3):
            assert await trio.to_thread.run_sync(partial(systemd.recv, 100)) == b"WATCHDOG=1"
        assert trio.current_time() - begun < 2
        nursery.cancel_scope.cancel()
        notifier.stopping()


def test_without_systemd_nothing_is_sent():
    Notifier.from_environ({}).ready()
    Notifier("/nowhere/at/all").ready()


def test_the_counts_of_several_processes_are_summed():
    one = TypeCounts(1, 2, 3, 4.0, [1] * (len(BUCKETS_SECONDS) + 1))
    gauges = Gauges(*[1] * len(Gauges.__struct_fields__))
    both = total([Snapshot(1, 2, 3, {"x": one}, gauges)] * 2)
    assert (both.done, both.failed, both.given_back) == (2, 4, 6)
    assert both.types["x"] == TypeCounts(2, 4, 6, 8.0, [2] * (len(BUCKETS_SECONDS) + 1))


async def test_a_server_that_goes_between_two_questions_is_away():
    redis, asked = Dependency("Redis", "Start it"), 0

    async def reach() -> None:
        nonlocal asked
        asked += 1
        if asked > 1:
            raise QueueUnavailable("gone")

    async def check() -> None:
        raise QueueUnavailable("gone")

    await redis.look(reach, check)
    assert redis.is_away
