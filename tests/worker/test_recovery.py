"""Workers that die, freeze, stall and lose Redis: their jobs go on elsewhere, as often as they must and no more."""

import re
import signal
from functools import partial
from pathlib import Path

import httpx
import pytest
import trio

from tests.support.invariants import check_nothing_left, check_rows
from tests.support.proxy import Proxy, through
from tests.support.steps import make_submit
from tests.support.wait import until, until_true
from tests.worker.processes import WorkerProcess, ledger_counts, worker_process
from workqueue.core.options import JobOptions
from workqueue.core.queue import open_queue
from workqueue.core.steps.piggyback import Piggyback
from workqueue.core.store import JobStore
from workqueue.core.wire import Submission
from workqueue.services.local.valkey import run_valkey

TERM = 2


@pytest.fixture
def variables(redis_url, postgres_dsn, database_schema, queue_name) -> dict[str, str]:
    return {
        "REDIS_URL": redis_url,
        "DATABASE_URL": postgres_dsn,
        "DATABASE_SCHEMA": database_schema,
        "QUEUE_NAME": queue_name,
        "WORKER_CONCURRENCY": "10",
        "LEASE_SECONDS": str(TERM),
    }


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


async def enqueue(queue, store: JobStore | None, job_type: str, count: int, payload: bytes = b"{}", retries: int = 0):
    outbox = Piggyback()
    ids = await make_submit(queue, store, outbox).run_batch(
        [Submission(job_type, payload, JobOptions(retries))] * count
    )
    if store is not None:
        await outbox.clear(store)
    return [str(job_id) for job_id in ids]


def started(ledger: Path, count: int) -> bool:
    return len(ledger_counts(ledger)[0]) >= count


async def all_in(psql, state: str, count: int) -> bool:
    [row] = await psql("SELECT count(*) AS rows FROM jobs WHERE state = $1", state)
    return row["rows"] == count


def kill(worker: WorkerProcess, number: signal.Signals = signal.SIGKILL) -> None:
    worker.process.send_signal(number)


async def test_the_jobs_of_a_killed_worker_run_elsewhere_within_a_lease_and_three_seconds(
    nursery, variables, ledger, queue, store, psql
):
    async with worker_process(nursery, ledger, **variables) as dies, worker_process(nursery, ledger, **variables):
        ids = await enqueue(queue, store, "naps", 30, b'{"seconds": 0.5}')

        async def its_jobs() -> set[str]:
            held = "SELECT id FROM jobs WHERE state = 'processing' AND worker LIKE $1"
            return {str(row["id"]) for row in await psql(held, f"%.{dies.process.pid}")}

        async def is_busy() -> bool:
            return len(await its_jobs() & set(ledger_counts(ledger)[0])) >= 5

        await until(is_busy)
        kill(dies, signal.SIGSTOP)  # so that nothing more of it starts while we look
        had = await its_jobs()
        kill(dies)
        died_at = trio.current_time()

        async def recovered() -> bool:
            return not await its_jobs()

        await until(recovered, seconds=TERM + 3)
        assert trio.current_time() - died_at >= TERM * 0.6, "it lived long enough for somebody to be sure"
        await until(partial(all_in, psql, "completed", 30), seconds=20)
    starts, ends = ledger_counts(ledger)
    assert set(ends) == set(ids)
    assert all(count == 1 for job_id, count in starts.items() if job_id not in had), "only what it had is run again"
    assert max(starts.values()) <= 2
    assert [count for job_id, count in starts.items() if job_id in had].count(2) >= 1


async def test_a_frozen_worker_cancels_its_jobs_when_it_wakes_and_its_outcomes_are_refused(
    nursery, variables, ledger, queue, store, psql
):
    ids = await enqueue(queue, store, "naps", 10, b'{"seconds": 8}')
    async with worker_process(nursery, ledger, **variables) as freezes:
        await until_true(partial(started, ledger, 10))
        kill(freezes, signal.SIGSTOP)
        async with worker_process(nursery, ledger, **variables):
            await until_true(lambda: sum(ledger_counts(ledger)[0].values()) == 20, seconds=15)
            kill(freezes, signal.SIGCONT)
            await until_true(lambda: "is lost: 10 running jobs are cancelled" in freezes.said)
            await until_true(lambda: "working under the new lease" in freezes.said)
            await until(partial(all_in, psql, "completed", 10), seconds=30)
    starts, ends = ledger_counts(ledger)
    assert starts == dict.fromkeys(ids, 2)
    assert ends == dict.fromkeys(ids, 1), "the zombie's runs were cancelled"
    assert {row["recoveries"] for row in await psql("SELECT recoveries FROM jobs")} == {1}
    await check_rows(queue, psql)


async def test_a_worker_that_wakes_from_a_freeze_starts_nothing_that_it_had_claimed_before(
    nursery, variables, ledger, queue, store, psql
):
    """It stood still between claim and start: what it held has run elsewhere by now."""
    own = variables | {"WORKER_CONCURRENCY": "1"}
    ids = await enqueue(queue, store, "naps", 400, b'{"seconds": 0.01}')

    async def its_jobs() -> set[str]:
        return {str(row["id"]) for row in await psql("SELECT id FROM jobs WHERE state = 'processing'")}

    async with worker_process(nursery, ledger, **own) as freezes:
        await until_true(partial(started, ledger, 50))  # short jobs: by now it claims ahead
        with trio.fail_after(10):
            while True:
                kill(freezes, signal.SIGSTOP)
                in_flight, at_the_freeze = await its_jobs(), ledger_counts(ledger)[0]
                if held := in_flight - set(at_the_freeze):
                    break
                kill(freezes, signal.SIGCONT)
                await trio.sleep(0.05)
        async with worker_process(nursery, ledger, **variables):
            await until(partial(all_in, psql, "completed", 400), seconds=30)
            kill(freezes, signal.SIGCONT)
            await until_true(lambda: "working under the new lease" in freezes.said)
            [later] = await enqueue(queue, store, "quick", 1)
            await until(partial(all_in, psql, "completed", 401), seconds=20)
    starts, _ = ledger_counts(ledger)
    assert {job_id: starts[job_id] for job_id in held} == dict.fromkeys(held, 1), "once, by the other worker"
    assert set(starts) == {*ids, later}
    again = {job_id for job_id, runs in starts.items() if runs > 1}
    assert again <= in_flight - held, "only what ran at that moment, or had run and was not stored"
    assert max(starts.values()) <= 2


async def test_a_job_of_ten_leases_runs_once(nursery, variables, ledger, queue, store, psql):
    ids = await enqueue(queue, store, "naps", 2, b'{"seconds": 10}')
    async with (
        worker_process(nursery, ledger, **variables | {"LEASE_SECONDS": "1"}),
        worker_process(nursery, ledger, **variables | {"LEASE_SECONDS": "1"}),
    ):
        await until(partial(all_in, psql, "completed", 2), seconds=20)
    assert ledger_counts(ledger)[0] == dict.fromkeys(ids, 1)


async def test_the_lease_outlives_the_last_job_of_a_worker_that_stops(nursery, variables, ledger, queue, store, psql):
    """A stop with running jobs may last for many terms: nobody takes them over meanwhile."""
    own = variables | {"LEASE_SECONDS": "1"}
    ids = await enqueue(queue, store, "naps", 2, b'{"seconds": 3}')
    async with worker_process(nursery, ledger, **own) as stops, worker_process(nursery, ledger, **own) as other:
        await until_true(partial(started, ledger, 2))
        await stops.terminate()  # once: a second signal would skip the grace
        await other.terminate()
    assert ledger_counts(ledger) == (dict.fromkeys(ids, 1), dict.fromkeys(ids, 1))
    assert await all_in(psql, "completed", 2)
    await check_nothing_left(queue, psql)


@pytest.mark.parametrize("rows", ["redis only", "postgres"])
async def test_a_killer_among_ninety_nine_good_jobs_is_dead_after_three_deaths(
    nursery, variables, ledger, queue, store, psql, rows
):
    own = variables | {"WORKER_CONCURRENCY": "20"} | ({"DATABASE_URL": ""} if rows == "redis only" else {})
    in_rows = None if rows == "redis only" else store
    await enqueue(queue, in_rows, "naps", 50, b'{"seconds": 0.05}')
    [killer] = await enqueue(queue, in_rows, "kills", 1)
    await enqueue(queue, in_rows, "naps", 49, b'{"seconds": 0.05}')

    async def is_over() -> bool:
        return len(ledger_counts(ledger)[1]) == 99 and (await queue.depths()).ready == 0

    async def keep_one_alive() -> None:
        """As systemd would."""
        while True:
            async with worker_process(nursery, ledger, **own) as worker:
                await worker.process.wait()

    async with trio.open_nursery() as systemd:
        for _ in range(2):
            systemd.start_soon(keep_one_alive)
        await until(is_over, seconds=60)
        if in_rows is None:
            await until(partial(_has_dead, queue, 1), seconds=20)
        else:
            await until(partial(all_in, psql, "completed", 99), seconds=20)
            await until(partial(all_in, psql, "failed", 1), seconds=20)
        systemd.cancel_scope.cancel()
    starts, _ = ledger_counts(ledger)
    # That neighbours run again is the death's fault; that the killer ran three times and no fourth time is what counts.
    assert starts[killer if in_rows else next(iter(set(starts) - set(ledger_counts(ledger)[1])))] == 3
    if in_rows is not None:
        [row] = await psql("SELECT error_message, recoveries, attempts FROM jobs WHERE state = 'failed'")
        assert tuple(row) == ("its worker died 3 times while it ran", 3, 0)


async def _has_dead(queue, count: int) -> bool:
    return (await queue.depths()).dead == count


async def test_a_handler_that_blocks_the_loop_is_named_and_costs_no_lease(
    nursery, variables, ledger, queue, store, psql
):
    [job_id] = await enqueue(queue, store, "blocks", 1, b'{"seconds": 5}')
    async with worker_process(nursery, ledger, **variables) as blocked:
        await until_true(partial(started, ledger, 1))
        async with worker_process(nursery, ledger, **variables):
            await until(partial(all_in, psql, "completed", 1), seconds=20)
        assert f"s by job {job_id} (blocks)" in blocked.said
        assert "time.sleep(seconds)" in blocked.said, "the stack says where"
        text = (await httpx_get(blocked.port, "/metrics", {"Accept": "text/plain"})).text
        assert 'workqueue_loop_blocked_total{queue="' + queue.name + '"} 1.0' in text
    assert ledger_counts(ledger)[0] == {job_id: 1}, "5 s are more than two leases, and nobody took it over"


@pytest.mark.parametrize(("terms", "runs"), [(1 / 3, 1), (2.5, 2)], ids=["kept", "taken over"])
async def test_a_handler_that_holds_the_gil_keeps_its_lease_for_a_third_of_a_term_and_not_for_more_than_one(
    nursery, variables, ledger, queue, store, psql, terms, runs
):
    """The thread that renews cannot run meanwhile: nothing inside of this process can. The promise ends here."""
    async with worker_process(nursery, ledger, **variables) as one, worker_process(nursery, ledger, **variables) as two:
        [job_id] = await enqueue(queue, store, "hogs", 1, b'{"seconds": %.2f}' % (terms * TERM))
        await until(partial(all_in, psql, "completed", 1), seconds=20)
        if runs == 2:
            await until_true(lambda: "working under the new lease" in one.said + two.said)
        assert (one.said + two.said).count("is lost") == runs - 1
        assert one.process.poll() is two.process.poll() is None, one.said + two.said
        await until_true(lambda: sum(ledger_counts(ledger)[0].values()) == runs)
    [row] = await psql("SELECT recoveries, result FROM jobs")
    # The first run was cancelled, or it ended before its worker had heard of the loss, and its outcome was refused.
    assert (row["recoveries"], row["result"]) == (runs - 1, str(runs))
    assert ledger_counts(ledger)[0] == {job_id: runs}
    await check_rows(queue, psql)


async def test_threads_that_outlive_their_jobs_keep_their_places_until_the_worker_is_replaced(
    nursery, variables, ledger, queue, store, psql
):
    own = variables | {"WORKER_CONCURRENCY": "2", "STALL_LIMIT": "1"}
    async with worker_process(nursery, ledger, **own) as worker:
        await enqueue(queue, store, "overstays", 1)
        await until(partial(all_in, psql, "failed", 1))
        text = (await httpx_get(worker.port, "/metrics", {"Accept": "text/plain"})).text
        assert 'workqueue_abandoned_threads{queue="' + queue.name + '"} 1.0' in text
        await enqueue(queue, store, "quick", 5)
        await until(partial(all_in, psql, "completed", 5))  # in the place that is left
        await trio.sleep(2)
        assert worker.process.poll() is None, "one place is of use"
        await enqueue(queue, store, "overstays", 1)
        with trio.fail_after(15):
            assert await worker.process.wait() == 70, worker.said
        assert "no progress in slots for" in worker.said
    assert {row["error_message"] for row in await psql("SELECT error_message FROM jobs WHERE state = 'failed'")} == {
        "timed out after 0.2 s"
    }
    await check_rows(queue, psql)


async def httpx_get(port: int, path: str, headers: dict[str, str]) -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.get(f"http://127.0.0.1:{port}{path}", headers=headers)


async def test_a_child_that_blocks_the_loop_is_told_of_too(nursery, variables, ledger, queue, store, psql):
    [job_id] = await enqueue(queue, store, "blocks_in_a_child", 1)
    async with worker_process(nursery, ledger, **variables) as worker:
        await until(partial(all_in, psql, "completed", 1), seconds=20)
        await until_true(lambda: "the loop was blocked for" in worker.said)
        assert f"a task of one of these: job {job_id} (blocks_in_a_child)" in worker.said


async def test_a_worker_that_stands_still_beyond_the_limit_is_replaced_and_its_job_recovered(
    nursery, variables, ledger, queue, store, psql
):
    [job_id] = await enqueue(queue, store, "blocks", 1, b'{"seconds": 60}')
    async with worker_process(nursery, ledger, **variables, STALL_LIMIT="2") as worker:
        with trio.fail_after(20):
            assert await worker.process.wait() == 70
        assert re.search(rf"no progress in loop for [23] s; running: job {job_id} \(blocks\)", worker.said)
        assert "in blocks" in worker.said, "all stacks are dumped"
        async with worker_process(nursery, ledger, **variables, STALL_LIMIT="30"):

            async def is_recovered() -> bool:
                [row] = await psql("SELECT recoveries FROM jobs")
                return row["recoveries"] == 1

            await until(is_recovered, seconds=TERM + 3)


@pytest.mark.parametrize("service", ["claim", "settle", "promote", "renew"])
async def test_a_worker_one_of_whose_services_stops_is_replaced(
    nursery, variables, ledger, queue, store, psql, service, monkeypatch
):
    await enqueue(queue, store, "freezes", 1, b'{"service": "%s"}' % service.encode())
    own = variables | {"STALL_LIMIT": "1", "LEASE_SECONDS": "1"}
    async with worker_process(nursery, ledger, **own) as worker:
        await until_true(partial(started, ledger, 1))
        if service == "settle":
            await enqueue(queue, store, "quick", 1)
        with trio.fail_after(40):
            assert await worker.process.wait() == 70, worker.said
        assert f"no progress in {'lease' if service == 'renew' else service} for" in worker.said


async def test_a_process_that_was_stopped_as_a_whole_is_not_taken_for_stalled(
    nursery, variables, ledger, queue, store, psql
):
    async with worker_process(nursery, ledger, **variables, STALL_LIMIT="1") as worker:
        kill(worker, signal.SIGSTOP)
        await trio.sleep(7)
        kill(worker, signal.SIGCONT)
        await enqueue(queue, store, "quick", 1)
        await until(partial(all_in, psql, "completed", 1), seconds=10)
        assert worker.process.poll() is None, worker.said


@pytest.mark.parametrize(("how", "terms"), [("refuses", 3), ("hangs", 1.5)])
async def test_no_job_runs_twice_when_redis_is_away_for_terms(
    nursery, variables, ledger, redis_port, queue, store, psql, how, terms
):
    proxy = Proxy(redis_port)
    await nursery.start(proxy.run)
    own = variables | {"REDIS_URL": through(variables["REDIS_URL"], proxy)}
    ids = await enqueue(queue, store, "naps", 12, b'{"seconds": 1}')
    ids += await enqueue(queue, store, "naps", 4, b'{"seconds": 8}')
    async with worker_process(nursery, ledger, **own) as one, worker_process(nursery, ledger, **own) as two:
        await until_true(partial(started, ledger, 16))
        if how == "refuses":
            proxy.go_away()
        else:
            proxy.black_hole()
        await trio.sleep(terms * TERM)
        proxy.heal()
        healed_at = trio.current_time()
        more = await enqueue(queue, store, "quick", 20)
        await until_true(lambda: set(more) <= set(ledger_counts(ledger)[1]), seconds=5)
        assert trio.current_time() - healed_at < 3, "they claim again within two seconds of its return"
        await until(partial(all_in, psql, "completed", 36), seconds=20)
        for worker in (one, two):
            assert "is lost" not in worker.said
            assert worker.said.count("Redis: ") <= 2, "one line on loss"
    assert ledger_counts(ledger)[0] == dict.fromkeys([*ids, *more], 1)


async def test_everything_comes_back_after_a_flush_under_running_workers(
    nursery, variables, ledger, bridge, tmp_path, store, psql, queue_name
):
    async with run_valkey(tmp_path, durable=False) as server, open_queue(bridge, server.url, queue_name) as queue:
        own = variables | {"REDIS_URL": server.url}
        async with worker_process(nursery, ledger, **own), worker_process(nursery, ledger, **own):
            await until(partial(_remembers, queue), seconds=20)
            ids = await enqueue(queue, store, "naps", 200, b'{"seconds": 0.2}')
            await until_true(partial(started, ledger, 40))
            await queue._command("FLUSHALL")
            await until(partial(all_in, psql, "completed", 200), seconds=40)
        starts, ends = ledger_counts(ledger)
        assert set(ends) == set(ids)
        assert sum(starts.values()) <= 200 + 20, "again only what ran at that moment: two workers, ten places each"
        assert {row["recoveries"] for row in await psql("SELECT recoveries FROM jobs")} == {0}, "nobody is blamed"


async def _remembers(queue) -> bool:
    return ((await queue.read_checkpoint())[1] or 0) > 0


async def test_a_stop_while_postgres_is_away_leaves_the_rest_to_another_worker(
    nursery, variables, ledger, postgres, queue, store, psql
):
    proxy = Proxy(postgres.port)
    await nursery.start(proxy.run)
    own = variables | {"DATABASE_URL": through(variables["DATABASE_URL"], proxy), "SHUTDOWN_GRACE": "1"}
    ids = await enqueue(queue, store, "naps", 10, b'{"seconds": 30}')
    async with worker_process(nursery, ledger, **own) as worker:
        await until_true(partial(started, ledger, 10))
        proxy.go_away()
        assert await worker.terminate() < 15
    async with worker_process(nursery, ledger, **variables | {"SHUTDOWN_GRACE": "0"}) as worker:
        await until_true(lambda: ledger_counts(ledger)[0] == dict.fromkeys(ids, 2), seconds=TERM + 5)
        await worker.terminate()
    assert {row["recoveries"] for row in await psql("SELECT recoveries FROM jobs")} == {0}, "it ended clean"
    await check_rows(queue, psql)


async def test_nothing_is_left_of_dead_workers(nursery, variables, ledger, queue, store, psql):
    for _ in range(2):
        async with worker_process(nursery, ledger, **variables) as worker:
            await enqueue(queue, store, "naps", 5, b'{"seconds": 0.3}')
            await trio.sleep(0.2)
            kill(worker)
    async with worker_process(nursery, ledger, **variables) as worker:
        await until(partial(all_in, psql, "completed", 10), seconds=20)
        await until(partial(_only_one_lease, queue), seconds=10)
        await worker.terminate()
    await check_nothing_left(queue, psql)


async def _only_one_lease(queue) -> bool:
    return len(await queue.lease_scores()) == 1 and len(await queue.published_leases()) == 1
