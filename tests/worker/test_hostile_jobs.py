"""Jobs that would never end, in a whole worker: it goes on with others, stops in time, and leaves no process behind."""

import signal
from functools import partial
from pathlib import Path

import httpx
import msgspec
import pytest
import trio

from tests.support.steps import make_submit
from tests.support.wait import until, until_true
from tests.worker.conftest import finished
from tests.worker.handlers.support import PROCESS_MIB, WORKER_MIB, children_of, cpu_ticks, is_alive, peak_mib
from tests.worker.handlers.test_attacks import uri, webp_canvas, whole_png
from tests.worker.processes import resident_mib, worker_process
from workqueue.core.steps.piggyback import Piggyback
from workqueue.core.wire import Submission
from workqueue.services.worker.handlers.children import MEMORY_BYTES, open_children

#: Allowed, and some 20 s of work.
SLOW = b'{"title": "x", "paragraphs": ["' + b"word " * 200_000 + b'"]}'
QUICK = b'{"title": "x"}'
BUSY_TICKS = 30


async def test_a_worker_whose_slots_are_all_taken_goes_on_when_their_time_is_over(registry, submit, run_worker, rows):
    async with open_children(2) as children:
        registry.handler("generate_pdf", timeout=1)(children.run)
        async with run_worker(worker_concurrency=2) as worker:
            await submit("generate_pdf", 2, payload=SLOW)
            await submit("generate_pdf", 4, payload=QUICK)
            await finished(worker, 6, seconds=60)
            assert worker.jobs_failed >= 2
            assert await worker.faults() == {}


@pytest.fixture
def variables(redis_url, queue_name) -> dict[str, str]:
    return {"REDIS_URL": redis_url, "QUEUE_NAME": queue_name, "WORKER_CONCURRENCY": "2", "SHUTDOWN_GRACE": "0.5"}


async def both_computing(pid: int) -> list[int]:
    await until_true(lambda: sum(cpu_ticks(each) > BUSY_TICKS for each in children_of(pid)) == 2, seconds=60)
    return children_of(pid)


async def test_sigterm_ends_a_worker_full_of_such_jobs_within_its_grace(nursery, variables, queue, tmp_path: Path):
    await make_submit(queue, None, Piggyback()).run_batch([Submission("generate_pdf", SLOW)] * 2)
    async with worker_process(nursery, tmp_path / "ledger", **variables) as worker:
        pids = await both_computing(worker.process.pid)
        seconds = await worker.terminate()
        assert worker.process.returncode == 0, worker.said
    assert seconds < 15, "the grace is 0.5 s, and the jobs would take 20"
    assert not any(map(is_alive, pids))
    assert "go back" in worker.said
    await until(partial(has_ready, queue, 2))


async def has_ready(queue, count: int) -> bool:
    return (await queue.depths()).ready == count


async def test_the_processes_of_jobs_die_with_their_worker(nursery, variables, queue, tmp_path: Path):
    await make_submit(queue, None, Piggyback()).run_batch([Submission("generate_pdf", SLOW)] * 2)
    async with worker_process(nursery, tmp_path / "ledger", **variables) as worker:
        pids = await both_computing(worker.process.pid)
        worker.process.send_signal(signal.SIGKILL)
        await worker.process.wait()
    await until_true(lambda: not any(map(is_alive, pids)), seconds=30)


async def test_jobs_that_compute_do_not_hold_up_the_loop(nursery, variables, queue, tmp_path: Path):
    """They compute in processes: the worker itself has next to nothing to do, and neither lease nor /ready suffers."""
    await make_submit(queue, None, Piggyback()).run_batch([Submission("generate_pdf", SLOW)] * 2)
    async with worker_process(nursery, tmp_path / "ledger", **variables) as worker:
        await both_computing(worker.process.pid)
        before = cpu_ticks(worker.process.pid)
        await trio.sleep(1)
        assert cpu_ticks(worker.process.pid) - before < 50
        assert resident_mib(worker.process.pid) < 120, "its documents are in the other processes"
        await worker.terminate()


async def test_a_worker_takes_no_more_memory_than_its_unit_gives(nursery, variables, queue, tmp_path: Path):
    """Pictures that would take a gigabyte are refused, and the largest that are not take turns."""
    large = [{"image": uri(whole_png(8000, 8000)), "width": 100}, {"image": uri(whole_png(8000, 8000)), "height": 99}]
    too_large = [
        {"image": uri(whole_png(8000, 8000)), "width": 8000, "format": "webp"},
        {"image": uri(webp_canvas(7999, 7999)), "width": 100},
    ]
    tasks = [Submission("resize_image", msgspec.json.encode(each)) for each in [*large, *too_large, *large]]
    await make_submit(queue, None, Piggyback()).run_batch([*tasks, Submission("generate_pdf", QUICK)])
    async with worker_process(nursery, tmp_path / "ledger", **variables) as worker:
        peaks: dict[int, int] = {}
        async with httpx.AsyncClient() as client:

            async def all_done() -> bool:
                for pid in (worker.process.pid, *children_of(worker.process.pid)):
                    peaks[pid] = peak_mib(pid)
                figures = (await client.get(f"http://127.0.0.1:{worker.port}/metrics")).json()
                return figures["jobs_done"] + figures["jobs_failed"] == 7

            await until(all_done, seconds=60)
            assert (await client.get(f"http://127.0.0.1:{worker.port}/metrics")).json()["jobs_failed"] == 2
        await worker.terminate()
    assert peaks[worker.process.pid] < WORKER_MIB
    assert len(peaks) == 3
    assert all(peak < PROCESS_MIB + (MEMORY_BYTES >> 20) for peak in peaks.values())
    assert worker.said.count("MiB of memory, at most 512 MiB are given") == 2


async def test_a_worker_without_such_jobs_has_no_processes(nursery, variables, queue, tmp_path: Path):
    async with worker_process(nursery, tmp_path / "ledger", **variables) as worker:
        assert children_of(worker.process.pid) == []
        maps = Path(f"/proc/{worker.process.pid}/maps").read_text("utf-8")
        assert "PIL" not in maps
        await worker.terminate()
