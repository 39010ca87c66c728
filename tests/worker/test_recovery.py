"""Workers that die, freeze, stall and lose Redis: their jobs go on elsewhere, as often as they must and no more."""

import json
from dataclasses import replace
from functools import partial

import pytest
import trio

from tests.support.proxy import Proxy
from tests.support.wait import until, until_true
from tests.worker.system import System
from workqueue.core.queue import Queue, open_queue
from workqueue.services.local.valkey import run_valkey

TERM = 2


@pytest.fixture
def settings() -> dict[str, object]:
    return {"WORKER_CONCURRENCY": 10, "LEASE_SECONDS": TERM}


async def test_the_jobs_of_a_killed_worker_run_elsewhere_once_its_lease_is_over(system: System):
    async with system.worker() as dies, system.worker():
        ids = await system.submit("naps", 30, payload=b'{"seconds": 0.5}')

        async def its_jobs() -> set[str]:
            held = "SELECT id FROM jobs WHERE state = 'processing' AND worker LIKE $1"
            return {str(row["id"]) for row in await system.psql(held, f"%.{dies.process.pid}")}

        async def is_busy() -> bool:
            return len(await its_jobs() & set(system.starts)) >= 5

        await until(is_busy)
        dies.freeze()  # so that nothing more of it starts while we look
        had = await its_jobs()
        renewed_at = await _renewed_at(system.queue, dies.process.pid)
        dies.kill()

        async def recovered() -> bool:
            return not await its_jobs()

        await until(recovered, seconds=60)
        seconds, _ = await system.queue._command("TIME")
        assert seconds + 1 - renewed_at >= TERM, "on Redis's clock: until then it may live"
        await system.wait_for_state("completed", 30)
    starts, ends = system.starts, system.ends
    assert set(ends) == set(ids)
    assert all(count == 1 for job_id, count in starts.items() if job_id not in had), "only what it had is run again"
    assert max(starts.values()) <= 2
    assert [count for job_id, count in starts.items() if job_id in had].count(2) >= 1


async def _renewed_at(queue: Queue, pid: int) -> float:
    """When the lease of the worker with this process id was renewed last, in seconds of Redis's clock."""
    leases = {json.loads(published)["pid"]: lease for lease, (published, _) in (await queue.workers()).items()}
    return (await queue.lease_scores())[leases[pid]] / 1000


async def test_a_frozen_worker_cancels_its_jobs_when_it_wakes_and_its_outcomes_are_refused(system: System):
    ids = await system.submit("naps", 10, payload=b'{"seconds": 8}')
    async with system.worker() as freezes:
        await system.wait_for_starts(10)
        freezes.freeze()
        async with system.worker():
            await system.wait_for_starts(20)
            freezes.wake()
            await freezes.says("is lost: 10 running jobs are cancelled")
            await freezes.says("working under the new lease")
            await system.wait_for_state("completed", 10)
    starts, ends = system.starts, system.ends
    assert starts == dict.fromkeys(ids, 2)
    assert ends == dict.fromkeys(ids, 1), "the runs of the worker that woke were cancelled"
    assert await system.column("recoveries") == {1}
    await system.check_rows()


async def test_a_worker_that_wakes_from_a_freeze_starts_nothing_that_it_had_claimed_before(system: System):
    """It stood still between claim and start: what it held has run elsewhere by now."""
    ids = await system.submit("naps", 400, payload=b'{"seconds": 0.01}')

    async def its_jobs() -> set[str]:
        return {str(row["id"]) for row in await system.psql("SELECT id FROM jobs WHERE state = 'processing'")}

    async with system.worker(worker_concurrency=1) as freezes:
        await system.wait_for_starts(50)  # short jobs: by now it claims ahead
        with trio.fail_after(60):
            while True:
                freezes.freeze()
                in_flight, at_the_freeze = await its_jobs(), system.starts
                if held := in_flight - set(at_the_freeze):
                    break
                freezes.wake()
                await trio.sleep(0.05)
        async with system.worker():
            await system.wait_for_state("completed", 400)
            freezes.wake()
            await freezes.says("working under the new lease")
            [later] = await system.submit("quick")
            await system.wait_for_state("completed", 401)
    starts = system.starts
    assert {job_id: starts[job_id] for job_id in held} == dict.fromkeys(held, 1), "once, by the other worker"
    assert set(starts) == {*ids, later}
    again = {job_id for job_id, runs in starts.items() if runs > 1}
    assert again <= in_flight - held, "only what ran at that moment, or had run and was not stored"
    assert max(starts.values()) <= 2


async def test_a_job_of_ten_leases_runs_once(system: System):
    ids = await system.submit("naps", 2, payload=b'{"seconds": 10}')
    async with (
        system.worker(lease_seconds=1),
        system.worker(lease_seconds=1),
    ):
        await system.wait_for_state("completed", 2)
    assert system.starts == dict.fromkeys(ids, 1)


async def test_the_lease_outlives_the_last_job_of_a_worker_that_stops(system: System):
    """A stop with running jobs may last for many terms: no other worker takes them over meanwhile."""
    worker = partial(system.worker, lease_seconds=1)
    ids = await system.submit("naps", 2, payload=b'{"seconds": 3}')
    async with worker() as stops, worker() as other:
        await system.wait_for_starts(2)
        await stops.terminate()  # once: a second signal would skip the grace
        await other.terminate()
    assert (system.starts, system.ends) == (dict.fromkeys(ids, 1), dict.fromkeys(ids, 1))
    assert await system.count("completed") == 2
    await system.check_nothing_left()


@pytest.mark.parametrize("rows", ["redis only", "postgres"])
async def test_a_killer_among_ninety_nine_good_jobs_is_dead_after_three_deaths(system: System, rows):
    with_rows = rows == "postgres"
    worker = partial(system.worker, {} if with_rows else {"database_url": ""}, worker_concurrency=20)
    submit = partial(system.submit, rows=with_rows)
    await submit("naps", 50, payload=b'{"seconds": 0.05}')
    [killer] = await submit("kills")
    await submit("naps", 49, payload=b'{"seconds": 0.05}')

    async def is_over() -> bool:
        return len(system.ends) == 99 and (await system.queue.depths()).ready == 0

    async def keep_one_alive() -> None:
        """As systemd would."""
        while True:
            async with worker() as running:
                await running.process.wait()

    async with trio.open_nursery() as systemd:
        for _ in range(2):
            systemd.start_soon(keep_one_alive)
        await until(is_over, seconds=100)
        if not with_rows:
            await until(partial(_has_dead, system.queue, 1), seconds=60)
        else:
            await system.wait_for_state("completed", 99)
            await system.wait_for_state("failed", 1)
        systemd.cancel_scope.cancel()
    starts = system.starts
    # Its neighbours run again because of its deaths. The killer itself runs three times and no fourth time.
    assert starts[killer if with_rows else next(iter(set(starts) - set(system.ends)))] == 3
    if with_rows:
        [row] = await system.psql("SELECT error_message, recoveries, attempts FROM jobs WHERE state = 'failed'")
        assert tuple(row) == ("its worker died 3 times while it ran", 3, 0)


async def _has_dead(queue: Queue, count: int) -> bool:
    return (await queue.depths()).dead == count


async def test_a_handler_that_blocks_the_loop_is_named_and_costs_no_lease(system: System):
    [job_id] = await system.submit("blocks", payload=b'{"seconds": 5}')
    async with system.worker() as blocked:
        await system.wait_for_starts(1)
        async with system.worker():
            await system.wait_for_state("completed", 1)
        assert f"s by job {job_id} (blocks)" in blocked.said
        assert "time.sleep(seconds)" in blocked.said, "the stack says where"
        text = (await blocked.get("/metrics", Accept="text/plain")).text
        assert 'workqueue_loop_blocked_total{queue="' + system.queue.name + '"} 1.0' in text
    assert system.starts == {job_id: 1}, "5 s are more than two leases, and no other worker took it over"


@pytest.mark.parametrize(("terms", "runs"), [(1 / 3, 1), (2.5, 2)], ids=["kept", "taken over"])
async def test_a_handler_that_holds_the_gil_keeps_its_lease_for_a_third_of_a_term_and_not_for_more_than_one(
    system: System, terms, runs
):
    """The thread that renews cannot run meanwhile: nothing inside of this process can. The promise ends here."""
    async with system.worker() as one, system.worker() as two:
        [job_id] = await system.submit("hogs", payload=b'{"seconds": %.2f}' % (terms * TERM))
        await system.wait_for_state("completed", 1)
        if runs == 2:
            await until_true(lambda: "working under the new lease" in one.said + two.said, seconds=60)
        assert (one.said + two.said).count("is lost") == runs - 1
        assert one.process.poll() is two.process.poll() is None, one.said + two.said
        assert system.starts.total() == runs
    [row] = await system.psql("SELECT recoveries, result FROM jobs")
    # The first run was cancelled, or it ended before its worker had heard of the loss, and its outcome was refused.
    assert (row["recoveries"], row["result"]) == (runs - 1, str(runs))
    assert system.starts == {job_id: runs}
    await system.check_rows()


async def test_threads_that_outlive_their_jobs_keep_their_slots_until_the_worker_is_replaced(system: System):
    async with system.worker(worker_concurrency=2, stall_limit=1) as worker:
        await system.submit("overstays")
        await system.wait_for_state("failed", 1)
        text = (await worker.get("/metrics", Accept="text/plain")).text
        assert 'workqueue_abandoned_threads{queue="' + system.queue.name + '"} 1.0' in text
        await system.submit("quick", 5)
        await system.wait_for_state("completed", 5)  # in the slot that is left
        await trio.sleep(2)
        assert worker.process.poll() is None, "one slot is of use"
        await system.submit("overstays")
        with trio.fail_after(60):
            assert await worker.process.wait() == 70, worker.said
        assert "no progress in slots for" in worker.said
    assert await system.column("error_message", state="failed") == {"timed out after 0.2 s"}
    await system.check_rows()


async def test_a_child_that_blocks_the_loop_is_told_of_too(system: System):
    [job_id] = await system.submit("blocks_in_a_child")
    async with system.worker() as worker:
        await system.wait_for_state("completed", 1)
        await worker.says("the loop was blocked for")
        assert f"a task of one of these: job {job_id} (blocks_in_a_child)" in worker.said


async def test_a_worker_that_stands_still_beyond_the_limit_is_replaced_and_its_job_recovered(system: System):
    [job_id] = await system.submit("blocks", payload=b'{"seconds": 60}')
    async with system.worker(stall_limit=2) as worker:
        with trio.fail_after(60):
            assert await worker.process.wait() == 70
        await worker.says(rf"no progress in loop for \d+ s; running: job {job_id} \(blocks\)")
        assert "in blocks" in worker.said, "all stacks are dumped"
        async with system.worker(stall_limit=30):

            async def is_recovered() -> bool:
                return await system.column("recoveries") == {1}

            await until(is_recovered, seconds=60)


@pytest.mark.parametrize("service", ["claim", "settle", "promote", "renew"])
async def test_a_worker_one_of_whose_services_stops_is_replaced(system: System, service):
    await system.submit("freezes", payload=b'{"service": "%s"}' % service.encode())
    async with system.worker(stall_limit=1, lease_seconds=1) as worker:
        await system.wait_for_starts(1)
        if service == "settle":
            await system.submit("quick")
        with trio.fail_after(60):
            assert await worker.process.wait() == 70, worker.said
        assert f"no progress in {'lease' if service == 'renew' else service} for" in worker.said


async def test_a_process_that_was_stopped_as_a_whole_is_not_taken_for_stalled(system: System):
    async with system.worker(stall_limit=1) as worker:
        worker.freeze()
        await trio.sleep(7)
        worker.wake()
        await system.submit("quick")
        await system.wait_for_state("completed", 1)
        assert worker.process.poll() is None, worker.said


@pytest.mark.parametrize(("fault", "terms"), [(Proxy.go_away, 3), (Proxy.black_hole, 1.5)], ids=["refuses", "hangs"])
async def test_no_job_runs_twice_when_redis_is_away_for_terms(system: System, fault, terms):
    ids = await system.submit("naps", 12, payload=b'{"seconds": 1}')
    ids += await system.submit("naps", 4, payload=b'{"seconds": 8}')
    async with system.worker(far=True) as one, system.worker(far=True) as two:
        await system.wait_for_starts(16)
        fault(system.redis_proxy)
        await trio.sleep(terms * TERM)
        system.redis_proxy.heal()
        more = await system.submit("quick", 20)
        await system.wait_for_state("completed", 36)
        for worker in (one, two):
            assert "is lost" not in worker.said
            assert worker.said.count("Redis: ") <= 2, "one line on loss"
    assert system.starts == dict.fromkeys([*ids, *more], 1)


async def test_everything_comes_back_after_a_flush_under_running_workers(system: System, bridge, tmp_path):
    async with (
        run_valkey(tmp_path, durable=False) as server,
        open_queue(bridge, server.url, system.queue.name) as queue,
    ):
        there = replace(system, queue=queue, variables={**system.variables, "REDIS_URL": server.url})
        async with there.worker(), there.worker():
            await until(partial(_remembers, queue), seconds=60)
            ids = await there.submit("naps", 200, payload=b'{"seconds": 0.2}')
            await there.wait_for_starts(40)
            await queue._command("FLUSHALL")
            await system.wait_for_state("completed", 200)
        starts, ends = system.starts, system.ends
        assert set(ends) == set(ids)
        assert sum(starts.values()) <= 200 + 20, "again only what ran at that moment: two workers, ten slots each"
        assert await system.column("recoveries") == {0}, "no job is blamed"


async def _remembers(queue: Queue) -> bool:
    _, checkpoint = await queue.read_checkpoint()
    return isinstance(checkpoint, int) and checkpoint > 0


async def test_a_stop_while_postgres_is_away_leaves_the_rest_to_another_worker(system: System):
    ids = await system.submit("naps", 10, payload=b'{"seconds": 30}')
    async with system.worker(far=True, shutdown_grace=1) as worker:
        await system.wait_for_starts(10)
        system.postgres_proxy.go_away()
        await worker.terminate()
    async with system.worker(shutdown_grace=0) as worker:
        await until_true(lambda: system.starts == dict.fromkeys(ids, 2), seconds=60)
        await worker.terminate()
    assert await system.column("recoveries") == {0}, "it ended clean"
    await system.check_rows()


async def test_nothing_is_left_of_dead_workers(system: System):
    for number in range(2):
        async with system.worker() as worker:
            await system.submit("naps", 5, payload=b'{"seconds": 0.3}')
            await system.wait_for_starts(5 * number + 3)
            worker.kill()
    async with system.worker() as worker:
        await system.wait_for_state("completed", 10)
        await until(partial(_only_one_lease, system.queue), seconds=60)
        await worker.terminate()
    await system.check_nothing_left()


async def _only_one_lease(queue: Queue) -> bool:
    return len(await queue.lease_scores()) == 1 and len(await queue.published_leases()) == 1
