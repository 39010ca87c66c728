"""Several worker processes under one parent, as `workqueue worker --processes N` runs them."""

import os
import re
import signal
from functools import partial
from typing import Any

import httpx
import pytest
import trio
import trio.testing

from tests.cli.support import environ
from tests.support.wait import until, until_true
from tests.worker.processes import WorkerProcess, ledger_counts, worker_process
from workqueue.core.control import Wish
from workqueue.core.errors import InvalidSettings
from workqueue.core.steps.worker_acts import ask_worker
from workqueue.services.worker import processes


@pytest.fixture
def variables(redis_url, queue_name) -> dict[str, str]:
    return {"REDIS_URL": redis_url, "QUEUE_NAME": queue_name, "WORKER_CONCURRENCY": "3", "LEASE_SECONDS": "1"}


async def push(queue, job_type: str, count: int, payload: str = "{}") -> None:
    await queue.push([f'{{"type":"{job_type}","payload":{payload}}}'.encode()] * count)


def children(worker: WorkerProcess) -> list[int]:
    return [int(pid) for pid in re.findall(r"worker [^ ]+\.(\d+) takes jobs", worker.said)]


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def ask(worker: WorkerProcess, path: str, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.get(f"http://127.0.0.1:{worker.port}{path}", headers=headers)


async def test_one_endpoint_sums_one_death_is_mended_and_one_signal_ends_all(nursery, variables, tmp_path, queue):
    async with worker_process(nursery, tmp_path / "ledger", processes=2, **variables) as worker:
        first, second = children(worker)
        await push(queue, "quick", 50)

        async def done() -> bool:
            return (await ask(worker, "/metrics")).json()["jobs_done"] == 50

        await until(done)
        metrics = (await ask(worker, "/metrics")).json()
        assert metrics == {
            "total_jobs_in_queue": 0, "jobs_done": 50, "jobs_failed": 0, "worker_concurrency": 6,
            "queue_name": queue.name,
        }  # fmt: skip
        text = (await ask(worker, "/metrics", Accept="text/plain")).text
        assert re.search(r'workqueue_jobs_total\{.*outcome="done".*\} 50\.0', text)
        assert (await ask(worker, "/ready")).text == "ready"

        os.kill(first, signal.SIGKILL)
        await until_true(lambda: len(children(worker)) == 3, seconds=30)
        assert "has ended by itself" in worker.said
        assert lives(second)
        await push(queue, "naps", 6, '{"seconds": 0.5}')
        await until_true(lambda: len(ledger_counts(tmp_path / "ledger")[0]) == 56)
        await worker.terminate()
        assert worker.process.returncode == 0, worker.said
    assert not any(map(lives, children(worker)))
    starts, ends = ledger_counts(tmp_path / "ledger")
    assert len(ends) == 56, "what ran had its grace"
    assert max(starts.values()) == 1


async def test_with_a_token_the_parents_port_asks_for_it_and_the_children_are_asked_all_the_same(
    nursery, variables, tmp_path
):
    token = "the-token-of-metrics"
    async with worker_process(
        nursery, tmp_path / "ledger", wait=False, processes=2, METRICS_TOKEN=token, **variables
    ) as worker:
        await until_true(lambda: len(children(worker)) == 2, seconds=30)

        async def is_ready() -> bool:
            return (await ask(worker, "/ready", Authorization=f"Bearer {token}")).text == "ready"

        await until(is_ready, seconds=30)
        answer = await ask(worker, "/metrics", Authorization=f"Bearer {token}")
        assert answer.json()["worker_concurrency"] == 6
        assert (await ask(worker, "/metrics")).status_code == 401
        assert (await ask(worker, "/health")).text == "ok"
        assert token not in worker.said
        await worker.terminate()


async def test_a_child_that_is_stopped_stays_ended_and_the_parent_ends_with_the_last(
    nursery, variables, tmp_path, queue
):
    async with worker_process(nursery, tmp_path / "ledger", processes=2, **variables) as worker:
        first, second = await queue.workers()
        await ask_worker(queue, first, Wish.STOP)
        await until_true(lambda: "was stopped, and is not started again" in worker.said, seconds=30)

        async def is_ready() -> bool:
            return (await ask(worker, "/ready")).status_code == 200

        await until(is_ready)
        assert (await ask(worker, "/metrics")).json()["worker_concurrency"] == 3
        await trio.sleep(1.5)  # a death would be mended by now
        assert list(await queue.workers()) == [second]
        assert len(children(worker)) == 2
        await ask_worker(queue, second, Wish.QUIET)

        async def is_quiet() -> bool:
            answer = await ask(worker, "/ready")
            return answer.status_code == 503 and list(answer.json()) == ["worker"]

        await until(is_quiet)
        await ask_worker(queue, second, Wish.STOP)
        await until_true(lambda: worker.process.poll() is not None, seconds=30)
        assert worker.process.returncode == 0, worker.said


class CountedChild(processes.Child):
    """Counts how often its parent had an answer from it."""

    answered = 0

    async def ask(self, path: str) -> httpx.Response | None:
        answer = await super().ask(path)
        self.answered += answer is not None
        return answer


async def test_a_child_that_stands_still_as_a_whole_is_replaced_and_ends_in_time(
    variables, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(processes, "LOOK_SECONDS", 0.5)
    monkeypatch.setattr(processes, "ANSWER_SECONDS", 0.4)
    monkeypatch.setattr(processes, "END_MARGIN_SECONDS", 0.5)
    child = CountedChild(1, tmp_path, environ(**variables), grace_seconds=0, silence_seconds=3)
    with trio.fail_after(120):
        async with trio.open_nursery() as running:
            running.start_soon(child.run)
            await until_true(lambda: child.answered, seconds=60)
            child.send(signal.SIGSTOP)
            await until_true(lambda: "has not answered" in caplog.text, seconds=60)
            before = child.answered
            await until_true(lambda: child.answered > before, seconds=60)
            child.send(signal.SIGSTOP)
            child.end()
    assert "does not end: it is killed" in caplog.text


async def test_a_stop_reaches_a_child_that_is_being_started(variables, tmp_path, caplog, monkeypatch):
    opened = trio.lowlevel.open_process

    async def slowly(*arguments: Any, **named: Any) -> trio.Process:
        with trio.CancelScope(shield=True):  # a thread starts it
            await trio.sleep(0.5)
        return await opened(*arguments, **named)

    monkeypatch.setattr(trio.lowlevel, "open_process", slowly)
    child = processes.Child(1, tmp_path, environ(**variables), grace_seconds=60, silence_seconds=60)
    with trio.fail_after(30):
        async with trio.open_nursery() as running:
            running.start_soon(child.run)
            await trio.testing.wait_all_tasks_blocked()
            assert child._process is None
            child.end()
    assert "it is killed" not in caplog.text


async def test_children_do_not_outlive_a_parent_that_was_killed(nursery, variables, tmp_path):
    async with worker_process(nursery, tmp_path / "ledger", processes=2, **variables) as worker:
        worker.process.kill()
        await until_true(lambda: not any(map(lives, children(worker))), seconds=30)


async def test_a_setting_that_only_a_child_finds_wrong_ends_the_parent_with_its_status(nursery, variables, tmp_path):
    async with worker_process(nursery, tmp_path / "ledger", processes=2, wait=False, **variables,
                              WORKER_HANDLERS="no.such.module") as worker:  # fmt: skip
        with trio.fail_after(30):
            assert await worker.process.wait() == 2
        await until_true(partial(worker.said.__contains__, "cannot import no.such.module"))
        assert "Traceback" not in worker.said


@pytest.mark.parametrize("how", ["too long", "missing"])
async def test_a_temporary_folder_that_cannot_be_used_is_passed_over(nursery, variables, tmp_path, how, queue):
    # Children whose sockets had no room in a path were started again for ever.
    folder = tmp_path / ("x" * 120)
    if how == "too long":
        folder.mkdir()
    ledger = tmp_path / "ledger"
    async with worker_process(nursery, ledger, processes=2, TMPDIR=str(folder), **variables) as worker:
        await push(queue, "quick", 5)
        await until_true(lambda: len(ledger_counts(ledger)[1]) == 5)
        assert await worker.terminate() < 20
    assert "is started again" not in worker.said


def test_where_no_folder_can_be_used_it_says_so(monkeypatch):
    def refuse(**_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryDirectory", refuse)
    with pytest.raises(InvalidSettings, match=r"TMPDIR: several processes need a folder.*Read-only file system"):
        processes._folder_for_sockets()
