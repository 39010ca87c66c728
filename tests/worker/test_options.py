"""What a job's sender has chosen, as a worker keeps to it: with rows and without."""

import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import msgspec
import trio

from tests.support.invariants import check_nothing_left
from tests.support.steps import make_submit
from tests.support.wait import until
from tests.worker.conftest import finished
from workqueue.core.dead_letter import read_dead_letter
from workqueue.core.job import Job
from workqueue.core.options import JobOptions
from workqueue.core.policies import Backoff, Discard, Retry, Snooze
from workqueue.core.steps.far_off import FarOff
from workqueue.core.wire import Submission


def _moment(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


async def test_a_delayed_job_starts_when_it_is_due_and_not_before(registry, run_worker, queue, rows, psql_if_rows):
    began: dict[str, float] = {}

    @registry.handler("x")
    async def handle(job):
        began[job.payload["name"]] = trio.current_time()

    made = trio.current_time()
    chosen = {
        "now": Submission("x", b'{"name":"now"}'),
        "after": Submission("x", b'{"name":"after"}', JobOptions(run_at=_moment(1.0)), 1.0),
        "at": Submission("x", b'{"name":"at"}', JobOptions(run_at=_moment(1.0))),
    }
    async with run_worker() as worker:
        accepted = trio.current_time()
        await make_submit(queue, rows).run_batch(list(chosen.values()))
        await finished(worker, 3)
    assert began["now"] < min(began["after"], began["at"])
    for name, since in (("after", accepted), ("at", made)):
        assert began[name] - since >= 0.98, f"{name}: two clocks may differ a little"
        assert began[name] - accepted < 3
    if psql_if_rows is not None:
        await psql_if_rows("DELETE FROM outbox")
    await check_nothing_left(queue, psql_if_rows)


async def test_a_job_that_was_not_started_in_time_fails_without_a_run(registry, run_worker, queue, rows, psql_if_rows):
    ran: list[str] = []

    @registry.handler("x")
    async def handle(job):
        ran.append(job.payload["name"])

    await make_submit(queue, rows).run_batch(
        [
            Submission("x", b'{"name":"late"}', JobOptions(5, expires_at=_moment(-1))),
            Submission("x", b'{"name":"in time"}', JobOptions(expires_at=_moment(60))),
        ]
    )
    async with run_worker() as worker:
        await finished(worker, 2)
    assert ran == ["in time"]
    error = "expired: it was not started in time"
    if psql_if_rows is None:
        [[entry]] = [piece async for piece in queue.dead_letters()]
        assert read_dead_letter(entry).reason == error
    else:
        assert await psql_if_rows("SELECT error_message FROM jobs WHERE state = 'failed'") == [(error,)]


async def test_a_job_that_was_started_in_time_is_retried_later(registry, run_worker, queue, rows):
    runs: list[int] = []

    @registry.handler("x")
    async def handle(job):
        runs.append(job.attempt)
        await trio.sleep(0.6)
        raise ValueError("once more")

    await make_submit(queue, rows).run_batch([Submission("x", b"{}", JobOptions(2, expires_at=_moment(0.5)))])
    async with run_worker() as worker:
        await finished(worker, 1)
    assert runs == [1, 2, 3]


async def test_its_own_timeout_bounds_a_run_instead_of_its_handlers(registry, run_worker, queue, rows, psql_if_rows):
    ended: dict[str, str] = {}

    @registry.handler("x", timeout=0.2)
    async def handle(job):
        try:
            await trio.sleep(1)
            ended[job.payload["name"]] = "slept"
        except trio.Cancelled:
            ended[job.payload["name"]] = "cancelled"
            raise

    await make_submit(queue, rows).run_batch(
        [
            Submission("x", b'{"name":"longer"}', JobOptions(timeout=30)),
            Submission("x", b'{"name":"shorter"}', JobOptions(timeout=0.05)),
            Submission("x", b'{"name":"handlers"}'),
        ]
    )
    async with run_worker() as worker:
        await finished(worker, 3)
    assert ended == {"longer": "slept", "shorter": "cancelled", "handlers": "cancelled"}
    if psql_if_rows is not None:
        errors = await psql_if_rows("SELECT error_message FROM jobs WHERE state = 'failed' ORDER BY id")
        assert [row["error_message"] for row in errors] == ["timed out after 0.05 s", "timed out after 0.2 s"]


async def test_another_program_may_push_them(registry, run_worker, queue, redis, rows, psql_if_rows):
    began: dict[str, float] = {}

    @registry.handler("x")
    async def handle(job):
        began[job.payload["name"]] = trio.current_time()
        await trio.sleep(0.3)

    def task(name: str, **options: object) -> str:
        return json.dumps({"type": "x", "payload": {"name": name}, **options})

    async with run_worker(worker_concurrency=20) as worker:
        pushed = trio.current_time()
        await redis(
            "RPUSH", queue.name,
            task("later", run_at=_moment(1.2).isoformat()),
            task("earlier", run_at=_moment(-5).isoformat()),
            task("named", run_at=_moment(3600).isoformat(), job_id=str(uuid4())),
            task("short", timeout=0.1),
            task("old", expires_at=_moment(-5).isoformat()),
            *(task(f"many {n}", run_at=_moment(1.2).isoformat()) for n in range(20)),
        )  # fmt: skip
        await finished(worker, 25)
    assert "old" not in began
    late = {name: at - pushed for name, at in began.items()}
    assert late["earlier"] < 1
    assert late["named"] < 1 or rows is not None  # it says that we have made it, and so when it is due
    assert late["later"] >= 1
    assert all(late[f"many {n}"] >= 1 for n in range(20))
    assert (worker.counts.done, worker.jobs_failed) == (23, 2)


async def test_what_another_program_cannot_mean_becomes_a_dead_letter_that_names_it(run_worker, queue, redis, rows):
    wrong = {"timeout": "3", "expires_at": "tomorrow", "run_at": 12}
    for name, value in wrong.items():
        await redis("RPUSH", queue.name, json.dumps({"type": "x", name: value}))

    async def are_dead() -> bool:
        return (await queue.depths()).dead == 3

    async with run_worker():
        await until(are_dead)
    reasons = [read_dead_letter(entry).reason async for piece in queue.dead_letters() for entry in piece]
    for name, reason in zip(wrong, reasons, strict=True):
        assert reason is not None
        assert name in reason


async def test_what_is_far_off_is_brought_in_time(registry, run_worker, queue, store, psql):
    ran = trio.Event()

    @registry.handler("x")
    async def handle(job):
        ran.set()

    step = make_submit(queue, store)
    await step.run_batch([Submission("x", b"{}", JobOptions(run_at=_moment(86_400)), 86_400.0)])
    await psql("UPDATE jobs SET run_at = now() + interval '1 s'")
    await FarOff(queue, store).run_once()
    async with run_worker(store=store):
        with trio.fail_after(20):
            await ran.wait()


async def test_what_a_handler_asks_for(registry, run_worker, queue, rows, psql_if_rows):
    runs: dict[str, list[float]] = {}

    @registry.handler(
        "x", backoff=Backoff(base=0.4, jitter=False), retry_on=(OSError, TimeoutError), discard_on=FileNotFoundError
    )
    async def handle(job):
        name = job.payload["name"]
        runs.setdefault(name, []).append(trio.current_time())
        match name:
            case "backoff":
                raise OSError("once more")
            case "discarded":
                raise FileNotFoundError
            case "not retried":
                raise ValueError("no")
            case "discard":
                raise Discard("of no use")
            case "retry":
                raise Retry("later", after=0.8)
            case "snooze" if len(runs[name]) < 5:
                raise Snooze(0.2)

    names = ("backoff", "discarded", "not retried", "discard", "retry", "snooze")
    await make_submit(queue, rows).run_batch(
        [Submission("x", b'{"name":"%b"}' % name.encode(), JobOptions(1)) for name in names]
    )
    async with run_worker(worker_concurrency=6) as worker:
        await finished(worker, 6)
    assert {name: len(times) for name, times in runs.items()} == {
        "backoff": 2, "discarded": 1, "not retried": 1, "discard": 1, "retry": 2, "snooze": 5,
    }  # fmt: skip
    assert 0.4 <= runs["backoff"][1] - runs["backoff"][0] < 0.8
    assert runs["retry"][1] - runs["retry"][0] >= 0.8
    assert runs["snooze"][4] - runs["snooze"][0] >= 0.8
    if psql_if_rows is not None:
        rows_found = await psql_if_rows("SELECT payload, state, attempts, interruptions, error_message FROM jobs")
        found = {json.loads(row["payload"])["name"]: tuple(row)[1:] for row in rows_found}
        assert found["snooze"] == ("completed", 0, 0, None)
        assert found["retry"] == ("failed", 2, 0, "later")
        assert found["discard"] == ("failed", 1, 0, "of no use")


class Invoice(msgspec.Struct):
    order: int


async def test_a_typed_payload_is_decoded_and_one_that_does_not_fit_fails_at_once(
    registry, run_worker, queue, rows, psql_if_rows
):
    got: list[Invoice] = []

    @registry.handler("x")
    async def handle(job: Job[Invoice]) -> Invoice:
        got.append(job.payload)
        return job.payload

    tasks = [Submission("x", b'{"order":7}', JobOptions(3)), Submission("x", b'{"order":"7"}', JobOptions(3))]
    await make_submit(queue, rows).run_batch(tasks)
    async with run_worker() as worker:
        await finished(worker, 2)
    assert got == [Invoice(7)]
    error = "payload.order: Expected `int`, got `str`"
    if psql_if_rows is None:
        [[entry]] = [piece async for piece in queue.dead_letters()]
        assert read_dead_letter(entry).reason == error
    else:
        states = await psql_if_rows("SELECT state, attempts, error_message, result FROM jobs ORDER BY id")
        assert [tuple(row) for row in states] == [("completed", 0, None, '{"order":7}'), ("failed", 1, error, None)]
