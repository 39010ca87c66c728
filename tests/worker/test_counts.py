"""What a thousand jobs cost, counted and not timed: a change that crosses the bridge once a job, or starts a task for
each, fails here however noisy the machine is."""

import subprocess
import sys

import pytest
import trio

from tests.worker.conftest import finished
from workqueue.core.bridge import Bridge

JOBS = 10_000
CROSSINGS_PER_THOUSAND = {"redis only": 15, "postgres": 30}
#: Upkeep makes some 30 (promote ten times a second, publish, observe, sweep, loss); and a machine that is slow leaves
#: batches small. One crossing a job would make thousands.
CROSSINGS_PER_SECOND = 200
TASKS_PER_THOUSAND = 5


class Spawned(trio.abc.Instrument):
    """Counts the tasks that are started."""

    def __init__(self) -> None:
        self.tasks = 0

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        self.tasks += 1


@pytest.mark.parametrize(("kind", "concurrency"), [("returns", 2), ("waits", 100), ("raises", 100)])
async def test_a_thousand_jobs_cost_few_crossings_and_no_tasks(
    registry, submit, run_worker, rows, monkeypatch, kind, concurrency
):
    crossings = 0
    run = Bridge.run

    async def counted(self, *arguments):
        nonlocal crossings
        crossings += 1
        return await run(self, *arguments)

    @registry.handler("returns", timeout=30)
    async def returns(job): ...

    @registry.handler("waits", timeout=30)
    async def waits(job):
        await trio.lowlevel.checkpoint()

    @registry.handler("raises", timeout=30)
    async def raises(job):
        raise ValueError("no")

    await submit(kind, JOBS)
    monkeypatch.setattr(Bridge, "run", counted)
    spawned = Spawned()
    async with run_worker(worker_concurrency=concurrency) as worker:
        begun, before = trio.current_time(), crossings
        trio.lowlevel.add_instrument(spawned)
        await finished(worker, JOBS, seconds=60)
        trio.lowlevel.remove_instrument(spawned)
        seconds, made = trio.current_time() - begun, crossings - before
    allowed = CROSSINGS_PER_THOUSAND["redis only" if rows is None else "postgres"] * JOBS / 1000
    assert made <= allowed + CROSSINGS_PER_SECOND * seconds, f"{made} crossings in {seconds:.1f} s"
    assert spawned.tasks <= TASKS_PER_THOUSAND * JOBS / 1000, f"{spawned.tasks} tasks were started"


def test_a_worker_starts_without_what_only_others_need():
    """24 MB and a quarter of the start, for documents that most workers never make, and for asking other processes."""
    said = subprocess.run(
        [sys.executable, "-c", "import sys, workqueue.services.worker.main; print(*sys.modules)"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert "workqueue.services.worker.worker" in said
    assert not {"fpdf", "fontTools", "quart", "hypercorn", "httpx"} & set(said)
