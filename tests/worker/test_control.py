"""Cancelling what runs: coroutines, threads, clean-ups that take too long, and messages that do not come."""

import asyncio
import threading
import time
from collections.abc import Collection, Sequence
from uuid import UUID, uuid4

import pytest
import trio
import trio.lowlevel

from tests.support.rows import Psql
from tests.support.wait import until, until_true
from tests.worker.system import System
from workqueue.core.control import ClaimedJob, ControlMessage, write_message
from workqueue.core.handlers import Registry
from workqueue.core.job import Job
from workqueue.core.queue import Queue
from workqueue.core.steps.acts import Acts
from workqueue.core.steps.piggyback import Piggyback
from workqueue.core.store import JobStore
from workqueue.services.worker import control
from workqueue.services.worker.running.consumers import Consumers


@pytest.fixture
def rows(store: JobStore) -> JobStore:
    """Of the workers here: without rows no job can be cancelled."""
    return store


@pytest.fixture
def acts(queue: Queue, store: JobStore) -> Acts:
    return Acts(queue, store, Piggyback())


async def ended(psql: Psql, job_id: UUID) -> tuple[str, str | None]:
    """(state, error of its last run) once the job is no longer pending or processing."""

    async def has_ended() -> bool:
        return await psql.value("SELECT state FROM jobs WHERE id = $1", job_id) not in {"pending", "processing"}

    await until(has_ended, seconds=30)
    state = await psql.value("SELECT state FROM jobs WHERE id = $1", job_id)
    errors = await psql("SELECT error FROM runs WHERE job_id = $1 ORDER BY number DESC", job_id)
    return state, errors[0][0] if errors else None


async def test_a_handler_of_asyncio_is_cancelled_with_all_that_it_started(run_worker, submit, acts, registry, psql):
    seen: list[str] = []

    async def child() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            seen.append("child")

    @registry.handler("x", runtime="asyncio")
    async def waits(job: Job) -> None:
        asyncio.create_task(child())  # noqa: RUF006 - that it is lost is the point
        await asyncio.sleep(0.05)
        seen.append("runs")
        await asyncio.sleep(60)

    async with run_worker() as worker:
        [job_id] = await submit("x")
        await until_true(lambda: "runs" in seen)
        await acts.cancel([job_id])
        assert await ended(psql, job_id) == ("cancelled", "cancelled")
        assert worker.counts.cancelled == 1
    assert seen == ["runs", "child"]


async def test_a_coroutine_is_cancelled_with_all_that_it_started(run_worker, submit, acts, registry: Registry, psql):
    inside: list[str] = []

    async def child() -> None:
        inside.append("started")
        try:
            await trio.sleep_forever()
        finally:
            inside.append("ended")

    @registry.handler("tree")
    async def tree(job: Job) -> object:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(child)
        return None

    [job_id] = await submit("tree", retries=5)
    async with run_worker() as worker:
        await until_true(lambda: inside.count("started") == 3)
        await acts.cancel([job_id])
        assert await ended(psql, job_id) == ("cancelled", "cancelled")
        assert inside.count("ended") == 3
        assert worker.counts.cancelled == 1


async def test_the_message_comes_before_the_worker_looks(
    run_worker, submit, acts, registry: Registry, psql, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(control, "LONG_SECONDS", 3600.0)  # it never looks for any job
    began = trio.Event()
    took: list[float] = []

    @registry.handler("sleeps")
    async def sleeps(job: Job) -> object:
        began.set()
        asked = trio.current_time()
        try:
            await trio.sleep_forever()
        finally:
            took.append(trio.current_time() - asked)

    [job_id] = await submit("sleeps")
    async with run_worker():
        await began.wait()
        await acts.cancel([job_id])
        assert (await ended(psql, job_id))[0] == "cancelled"


async def test_a_message_that_was_lost_is_made_up_for_by_a_look_at_the_rows(
    run_worker, submit, registry: Registry, store: JobStore, queue: Queue, psql
):
    began = trio.Event()

    @registry.handler("sleeps")
    async def sleeps(job: Job) -> object:
        began.set()
        await trio.sleep_forever()

    [job_id] = await submit("sleeps")
    async with run_worker():
        await began.wait()
        await store.cancel(queue.name, [job_id])  # and no message is sent
        assert (await ended(psql, job_id))[0] == "cancelled"


async def test_a_thread_is_asked_and_may_clean_up(run_worker, submit, acts, registry: Registry, psql):
    began, cleaned = threading.Event(), threading.Event()

    @registry.handler("thread")
    def thread(job: Job) -> object:
        began.set()
        while not job.cancelled:
            time.sleep(0.01)
        cleaned.set()
        raise RuntimeError("stopped half way")

    [job_id] = await submit("thread", retries=5)
    async with run_worker(cancel_grace=30):
        await until_true(began.is_set)
        await acts.cancel([job_id])
        assert await ended(psql, job_id) == ("cancelled", "RuntimeError: stopped half way")
        assert cleaned.is_set()


async def test_a_thread_that_does_not_listen_is_given_up_after_the_grace(
    run_worker, submit, acts, registry: Registry, psql
):
    began, end = threading.Event(), threading.Event()

    @registry.handler("deaf")
    def deaf(job: Job) -> object:
        began.set()
        end.wait(60)
        return job.cancelled

    [job_id] = await submit("deaf")
    async with run_worker(cancel_grace=0.2) as worker:
        await until_true(began.is_set)
        await acts.cancel([job_id])
        assert await ended(psql, job_id) == ("cancelled", "cancelled")
        await until_true(lambda: worker.consumers.threads_left == 1)
        end.set()
        await until_true(lambda: worker.consumers.threads_left == 0)


async def test_a_clean_up_under_a_shield_may_last_as_long_as_the_grace(
    run_worker, submit, acts, registry: Registry, psql
):
    began, go_on = trio.Event(), trio.Event()
    returned: list[bool] = []

    @registry.handler("shielded")
    async def shielded(job: Job) -> object:
        began.set()
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await go_on.wait()
            returned.append(True)

    [job_id] = await submit("shielded")
    async with run_worker(cancel_grace=0.3, worker_concurrency=1) as worker:
        await began.wait()
        await acts.cancel([job_id])
        assert await ended(psql, job_id) == ("cancelled", "cancelled; its clean-up took longer than 0.3 s")
        assert len(worker.consumers) == 1, "it keeps its slot"
        go_on.set()
        await until_true(lambda: returned and len(worker.consumers) == 0)
    assert (await psql("SELECT count(*) FROM runs"))[0][0] == 1, "its end is told once"


async def test_an_error_of_the_clean_up_is_told(run_worker, submit, acts, registry: Registry, psql):
    began = trio.Event()

    @registry.handler("breaks")
    async def breaks(job: Job) -> object:
        began.set()
        try:
            await trio.sleep_forever()
        finally:
            raise RuntimeError("no space left")

    [job_id] = await submit("breaks", retries=3)
    async with run_worker():
        await began.wait()
        await acts.cancel([job_id])
        state, error = await ended(psql, job_id)
        assert state == "cancelled"
        assert error is not None
        assert "RuntimeError: no space left" in error


async def test_a_handler_that_ends_by_itself_is_quicker_and_its_result_stands(
    run_worker, submit, acts, registry: Registry, psql
):
    began = trio.Event()

    @registry.handler("stubborn")
    async def stubborn(job: Job) -> object:
        began.set()
        with trio.CancelScope(shield=True):
            await trio.sleep(0.1)
        return "done all the same"

    [job_id] = await submit("stubborn")
    async with run_worker():
        await began.wait()
        await acts.cancel([job_id])
        assert (await ended(psql, job_id))[0] == "completed"


async def test_a_claimed_job_that_has_not_started_never_does(run_worker, submit, acts, registry: Registry, psql):
    began, end = trio.Event(), trio.Event()
    ran: list[str] = []

    @registry.handler("waits")
    async def waits(job: Job) -> object:
        ran.append(job.id)
        if len(ran) == 500:  # jobs as short as those before it are claimed ahead
            began.set()
            await end.wait()
        return None

    await submit("waits", 1000)
    async with run_worker(worker_concurrency=1) as worker:
        await began.wait()
        claimed = [claimed.job_id for claimed in worker._buffer._items]
        assert claimed
        await acts.cancel(claimed)
        for job_id in claimed:
            assert (await ended(psql, job_id)) == ("cancelled", None)
        end.set()
        await until_true(lambda: len(ran) == 1000 - len(claimed))
    assert not set(ran) & set(map(str, claimed))


async def test_a_message_that_is_quicker_than_the_answer_of_the_claim_is_not_lost(
    run_worker, submit, acts, registry: Registry, psql, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(control, "LONG_SECONDS", 3600.0)  # it never looks for any job
    claim = JobStore.claim
    ran: list[str] = []

    async def slow_claim(self: JobStore, ids: Sequence[UUID], *arguments: object, **named: object) -> object:
        answer = await claim(self, ids, *arguments, **named)  # type: ignore[arg-type]
        await acts.cancel(ids)
        await trio.sleep(0.5)
        return answer

    @registry.handler("quick")
    async def quick(job: Job) -> object:
        await trio.lowlevel.checkpoint()
        ran.append(job.id)
        return None

    async with run_worker() as worker:
        await until_true(lambda: worker.can_claim)
        monkeypatch.setattr(JobStore, "claim", slow_claim)
        [job_id] = await submit("quick")
        assert (await ended(psql, job_id)) == ("cancelled", None)
    assert ran == []


async def test_a_message_about_an_earlier_run_does_not_end_the_new_one(
    run_worker, submit, queue: Queue, registry: Registry, psql, monkeypatch: pytest.MonkeyPatch
):
    """It was on its way for so long that its run ended, and a person retried the job."""
    began, end = trio.Event(), trio.Event()
    heard: list[object] = []
    cancel = Consumers.cancel

    def noted(self: Consumers, runs: Collection[ClaimedJob]) -> None:
        cancel(self, runs)
        heard.append(runs)

    monkeypatch.setattr(Consumers, "cancel", noted)

    @registry.handler("waits")
    async def waits(job: Job) -> object:
        began.set()
        await end.wait()
        return "fine"

    [job_id] = await submit("waits")
    async with run_worker():
        await began.wait()
        await queue.tell_workers(write_message(ControlMessage(cancel=[(uuid4(), job_id)])))
        await until_true(lambda: bool(heard))
        end.set()
        assert (await ended(psql, job_id))[0] == "completed"


async def test_the_next_job_of_the_slot_is_not_harmed(run_worker, submit, acts, registry: Registry, psql):
    began = trio.Event()

    @registry.handler("sleeps")
    async def sleeps(job: Job) -> object:
        began.set()
        await trio.sleep_forever()

    @registry.handler("quick")
    async def quick(job: Job) -> object:
        await trio.lowlevel.checkpoint()
        return "fine"

    [cancelled] = await submit("sleeps")
    async with run_worker(worker_concurrency=1):
        await began.wait()
        await acts.cancel([cancelled])
        for job_id in await submit("quick", 20):
            assert (await ended(psql, job_id))[0] == "completed"


async def test_a_run_may_be_extended_beyond_its_timeout(run_worker, submit, registry: Registry, psql):
    deadlines: list[float | None] = []

    @registry.handler("long", timeout=0.5)
    async def long(job: Job) -> object:
        deadlines.append(job.deadline)
        job.extend(60)
        deadlines.append(job.deadline)
        await trio.sleep(1)
        return "in time"

    @registry.handler("too_long", timeout=0.5)
    async def too_long(job: Job) -> object:
        job.extend(0.2)
        await trio.sleep_forever()

    ids = await submit("long"), await submit("too_long")
    async with run_worker():
        assert (await ended(psql, ids[0][0]))[0] == "completed"
        assert await ended(psql, ids[1][0]) == ("failed", "timed out after 0.7 s")
    before, after = deadlines
    assert before is not None
    assert after == before + 60


async def test_a_job_without_a_worker_is_not_cancelled_and_has_no_deadline():
    job = Job(UUID(int=1), "x", {}, 1, 0)
    job.extend(1)
    assert (job.cancelled, job.deadline) == (False, None)
    with pytest.raises(ValueError, match=r"extend\(-1\): must be 0 or more seconds"):
        job.extend(-1)


async def test_what_a_dead_worker_ran_ends_cancelled(system: System):
    [job_id] = await system.submit("naps", payload=b'{"seconds": 600}', retries=5)
    async with system.worker(lease_seconds=1) as worker:
        await system.wait_for_starts(1)
        worker.freeze()
        await Acts(system.queue, system.store, Piggyback()).cancel([UUID(job_id)])
        worker.kill()
    async with system.worker(lease_seconds=1) as other:
        await system.wait_for_state("cancelled", 1)
        await other.terminate()
    assert system.starts == {job_id: 1}
    await system.check_rows()
