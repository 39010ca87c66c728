"""What a person asks of a worker: quiet, resume, stop; and what is told of one that has ended."""

import logging
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import httpx
import pytest
import trio

from tests.producer.serving import serving
from tests.support.wait import until, until_true
from tests.worker.conftest import Run, finished
from tests.worker.system import System
from workqueue.core.control import Wish
from workqueue.core.gone import Became, Gone, read_gone
from workqueue.core.handlers import Registry
from workqueue.core.job import Job
from workqueue.core.queue import Queue
from workqueue.core.steps.worker_acts import ask_worker
from workqueue.services.published import Published, WorkerState, read_published
from workqueue.services.worker.wishes import Wishes
from workqueue.services.worker.worker import Worker


class Told:
    """Mutable state: what the wishes have told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.wishes = Wishes(lambda: self.said.append(self.wishes.state), lambda: self.said.append("stop!"))


def test_a_wish_that_comes_again_changes_nothing():
    told = Told()
    for wish in ("quiet", "quiet", "", "of a later release", "resume", "resume", "quiet"):
        told.wishes.hear(wish)
    assert told.said == ["quiet", "working", "quiet"]


def test_one_that_stops_cannot_be_made_to_work_again():
    told = Told()
    told.wishes.hear("quiet")
    told.wishes.hear("stop")
    told.wishes.stopping()
    for wish in Wish:
        told.wishes.hear(wish)
    assert told.said == ["quiet", "stop!", "stopping"]
    assert told.wishes.state is WorkerState.STOPPING


# --- a worker


def lease_of(worker: Worker) -> Any:
    assert worker.leases.current is not None
    return worker.leases.current.id


async def published(queue: Queue) -> Published:
    """What the one worker says of itself now."""
    [(text, _)] = (await queue.workers()).values()
    return read_published(text) or pytest.fail("it cannot be read")


async def says(queue: Queue, state: str) -> bool:
    return (await published(queue)).state == state


async def gone(queue: Queue) -> Gone:
    (entry, *_), _ = await queue.gone()
    return (read_gone(entry) or pytest.fail("it cannot be read"))[1]


async def test_a_quiet_worker_finishes_what_runs_gives_back_the_rest_and_claims_no_more(
    run_worker: Run, submit, queue: Queue, registry: Registry
):
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
        assert len(worker._buffer) > 0
        before = trio.current_time()
        await ask_worker(queue, lease_of(worker), Wish.QUIET)
        await until_true(lambda: worker.wishes.state is WorkerState.QUIET)
        assert trio.current_time() - before < 1, "over the channel: a renewal would take up to three seconds"
        assert len(worker._buffer) == 0

        async def all_are_back() -> bool:
            return await queue.ready_length() == 500

        await until(all_are_back)
        await until(partial(says, queue, "quiet"), seconds=2)
        assert [job.job_id for job in (await published(queue)).running] == [ran[-1]], "it goes on"
        end.set()
        await finished(worker, 500)
        await trio.sleep(0.5)
        assert (len(ran), await queue.ready_length()) == (500, 500)
        assert list(await worker.faults()) == ["worker"]
        await ask_worker(queue, lease_of(worker), Wish.RESUME)
        await finished(worker, 1000)
        assert await worker.faults() == {}
    assert len(set(ran)) == 1000


async def test_a_claim_that_is_under_way_gives_back_what_it_took(
    run_worker: Run, submit, queue: Queue, registry: Registry, monkeypatch: pytest.MonkeyPatch
):
    ran: list[str] = []
    claim = Queue.claim
    waits = trio.Event()

    @registry.handler("quick")
    async def quick(job: Job) -> object:
        await trio.lowlevel.checkpoint()
        ran.append(job.id)
        return None

    async def slow(self: Queue, *arguments: Any, **named: Any) -> Any:
        answer = await claim(self, *arguments, **named)
        if answer:
            waits.set()
            await trio.sleep(0.5)
        return answer

    async with run_worker() as worker:
        await until_true(lambda: worker.can_claim)
        monkeypatch.setattr(Queue, "claim", slow)
        await submit("quick")  # fewer than there is room for: the consumers run before the next claim
        await waits.wait()
        worker.wishes.hear("quiet")

        async def all_are_back() -> bool:
            return await queue.ready_length() == 1 and not await queue.numbers(lease_of(worker))

        await until(all_are_back)
        assert ran == []


async def test_what_a_claim_took_whose_answer_was_lost_goes_back_too(
    run_worker: Run, submit, queue: Queue, registry: Registry, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("workqueue.services.worker.claiming.AUDIT_SECONDS", 0.2)

    @registry.handler("quick")
    async def quick(job: Job) -> object: ...

    async with run_worker() as worker:
        worker.wishes.hear("quiet")
        await trio.sleep(0.5)
        await submit("quick")
        await queue.claim(lease_of(worker), start=1_000_000, count=1)  # as if its answer had not come

        async def is_back() -> bool:
            return await queue.ready_length() == 1

        await until(is_back)


async def test_a_message_that_was_lost_is_made_up_for_by_the_next_renewal(
    run_worker: Run, queue: Queue, redis, registry: Registry
):
    async with run_worker(lease_seconds=2) as worker:
        await queue.ask_worker(lease_of(worker), "quiet")  # and no message is sent
        await until_true(lambda: worker.wishes.state is WorkerState.QUIET, seconds=5)
        await queue.ask_worker(lease_of(worker), "resume")
        await until_true(lambda: worker.wishes.state is WorkerState.WORKING, seconds=5)


async def test_what_is_asked_of_another_worker_is_not_heard(run_worker: Run, queue: Queue, registry: Registry):
    async with run_worker() as one, run_worker() as other:
        await ask_worker(queue, lease_of(one), Wish.QUIET)
        await until_true(lambda: one.wishes.state is WorkerState.QUIET)
        assert other.wishes.state is WorkerState.WORKING


async def test_it_stays_quiet_under_its_next_lease(run_worker: Run, queue: Queue, redis, registry: Registry):
    async with run_worker(lease_seconds=1) as worker:
        first = lease_of(worker)
        await ask_worker(queue, first, Wish.QUIET)
        await until_true(lambda: worker.wishes.state is WorkerState.QUIET)

        async def is_fenced() -> bool:  # it may be renewed in between
            return await queue.fence(first, (await queue.lease_scores())[first])

        await until(is_fenced)

        async def has_another() -> bool:
            return [lease for lease in await queue.workers() if lease != first] != []

        await until(has_another)
        assert (await published(queue)).state == "quiet"


async def test_a_worker_that_is_stopping_says_so(run_worker: Run, submit, queue: Queue, registry: Registry):
    began, end = trio.Event(), trio.Event()

    @registry.handler("waits")
    async def waits(job: Job) -> object:
        began.set()
        await end.wait()
        return None

    await submit("waits")
    async with run_worker(shutdown_grace=30) as worker, trio.open_nursery() as nursery:
        await began.wait()
        worker.wishes.stopping()

        async def look() -> None:
            await until(partial(says, queue, "stopping"), seconds=2)
            end.set()

        nursery.start_soon(look)


# --- what is told of one that has ended


async def test_a_worker_that_stops_tells_how_many_it_gave_back(
    run_worker: Run, submit, queue: Queue, registry: Registry, caplog: pytest.LogCaptureFixture
):
    began = trio.Event()
    ran: list[str] = []

    @registry.handler("waits")
    async def waits(job: Job) -> object:
        ran.append(job.id)
        if len(ran) == 500:
            began.set()
            await trio.sleep_forever()
        return None

    await submit("waits", 1000)
    with caplog.at_level(logging.INFO):
        async with run_worker(worker_concurrency=1, shutdown_grace=0.2) as worker:
            await began.wait()
            lease = lease_of(worker)
    [waited] = map(int, re.findall(r"stopping: 1 jobs run and get 0.2 s, (\d+) go back", caplog.text))
    assert await queue.ready_length() == 501
    told = await gone(queue)
    assert (told.lease, told.is_clean, told.became) == (lease, True, Became(given_back=waited + 1))
    last = read_published(told.published.encode()) or pytest.fail("it cannot be read")
    assert (last.name, last.jobs_done, last.state) == (worker.name, 499, "stopping")


@asynccontextmanager
async def producer(system: System) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(dict(system.variables)) as client:
        yield client


async def states(client: httpx.AsyncClient) -> dict[str, dict[str, Any]]:
    """State -> the worker in it; of several the last one."""
    return {worker["state"]: worker for worker in (await client.get("/api/workers")).json()}


async def until_state(client: httpx.AsyncClient, state: str) -> dict[str, Any]:
    async def is_there() -> bool:
        return state in await states(client)

    await until(is_there, seconds=30)
    return (await states(client))[state]


async def test_one_that_was_killed_is_silent_and_then_gone_with_what_became_of_its_jobs(system: System):
    await system.submit("naps", 2, payload=b'{"seconds": 600}')
    async with producer(system) as client:
        async with system.worker(lease_seconds=1, worker_concurrency=3) as worker:
            await system.wait_for_starts(2)
            worker.kill()
        assert (await until_state(client, "silent"))["became"] is None
        async with system.worker(lease_seconds=1, shutdown_grace=0.1) as other:
            told = await until_state(client, "gone")
            assert (told["pid"], told["became"]) == (
                worker.process.pid,
                {"given_back": 2, "failed": 0, "cancelled": 0},
            )
            await other.terminate()
        assert (await until_state(client, "stopped"))["pid"] == other.process.pid
        assert [each["state"] for each in (await client.get("/api/workers")).json()] == ["stopped", "gone"]


async def test_a_worker_process_that_is_asked_to_stop_ends_as_by_sigterm(system: System):
    await system.submit("naps", payload=b'{"seconds": 1}')
    async with producer(system) as client, system.worker() as worker:
        await system.wait_for_starts(1)
        [shown] = (await client.get("/api/workers")).json()
        answer = await client.post(f"/api/workers/{shown['id']}/stop", headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["asked"]) == (200, "stop")
        asked = time.monotonic()
        await until_true(lambda: "stopping: 1 jobs run" in worker.said, seconds=2)
        assert time.monotonic() - asked < 2
        await until_true(lambda: worker.process.poll() is not None, seconds=30)
        assert worker.process.returncode == 0, worker.said
        told = await until_state(client, "stopped")
        assert (told["jobs_done"], told["became"]["given_back"]) == (1, 0)
