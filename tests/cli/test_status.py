"""`workqueue status` against a real producer, with and without workers; and rates, which are pure."""

import fcntl
import json
import socket
from functools import partial
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest
import trio

from tests.cli.support import workqueue
from tests.producer.serving import serving
from tests.support.wait import until
from tests.worker.processes import worker_process
from workqueue.core.gone import Became, Gone, write_gone
from workqueue.services.cli import local_installation
from workqueue.services.cli.status import Health, Look, Overview, Rate, Rates, Watch, Worker
from workqueue.services.local.process import free_port

NO_WORKER = "no worker is alive, so no job runs: start one with `workqueue worker`"


async def status(*arguments: str, **variables: str):
    return await trio.to_thread.run_sync(partial(workqueue, "status", *arguments, **variables))


async def document(*arguments: str, **variables: str):
    done = await status("--json", *arguments, **variables)
    return done, json.loads(done.stdout)


async def publish(queue, *, silent_seconds: float = 0, **said: object) -> None:
    """A worker that has said this about itself."""
    lease = str(uuid4())
    seconds, _ = await queue._command("TIME")
    await queue._command("ZADD", queue.keys.leases, (int(seconds) - silent_seconds) * 1000, lease)
    await queue._command("HSET", queue.keys.workers, lease, msgspec.json.encode(said))


async def test_a_system_that_works_is_well_and_shows_rates(url, queue, redis_url, postgres_dsn, tmp_path, nursery,
                                                            database_schema):  # fmt: skip
    where = {"REDIS_URL": redis_url, "DATABASE_URL": postgres_dsn, "DATABASE_SCHEMA": database_schema}
    async with worker_process(
        nursery, tmp_path / "ledger", QUEUE_NAME=queue.name, LEASE_SECONDS="2", **where
    ) as worker:
        for _ in range(3):
            done = await trio.to_thread.run_sync(partial(workqueue, "enqueue", "quick", "--url", url))
            assert done.returncode == 0, done.stderr
        failed = await trio.to_thread.run_sync(partial(workqueue, "enqueue", "no_such_type", "--url", url))
        assert failed.returncode == 0

        async def has_run() -> bool:
            found = (await document("--url", url, "--no-rates"))[1]
            return (found["jobs_done"], found["jobs_failed"]) == (3, 1)

        await until(has_run, seconds=60)
        done, found = await document("--url", url)
        assert (done.returncode, done.stderr, found["ok"], found["faults"]) == (0, "", True, [])
        assert (found["waiting"], found["oldest_seconds"], found["dead"], found["rows"]) == (0, None, 0, True)
        assert found["redis"]["ok"]
        assert found["postgres"]["ok"]
        assert found["done_per_second"] is not None, "it looks twice"
        assert found["done_per_second"] == found["workers"][0]["done_per_second"]
        assert [failure["type"] for failure in found["failures"]] == ["no_such_type"]
        shown = await status("--url", url, "--no-rates")
        assert (shown.returncode, shown.stderr) == (0, "")
        assert "all is well" in shown.stdout
        assert "no_such_type" in shown.stdout
        assert "? a second" in shown.stdout, "one look tells no rate"
        assert shown.stdout.endswith("\n")
        await worker.terminate()


async def test_without_a_worker_it_is_not_well_and_says_how_long_the_oldest_waits(url):
    await trio.to_thread.run_sync(partial(workqueue, "enqueue", "a", "--url", url))
    done, found = await document("--url", url)
    assert (done.returncode, found["ok"], found["faults"]) == (1, False, [NO_WORKER])
    assert (found["waiting"], found["workers"], found["done_per_second"]) == (1, [], 0)
    assert 0 <= found["oldest_seconds"] < 120
    shown = await status("--url", url)
    assert shown.returncode == 1
    assert f"!  {NO_WORKER}" in shown.stdout
    assert "the oldest was accepted" in shown.stdout


async def test_a_worker_that_is_silent_for_longer_than_a_lease_is_lost_and_counts_nowhere(url, queue):
    await publish(queue, name="here", concurrency=3, jobs_done=5, uptime_seconds=60)
    await publish(queue, silent_seconds=3000, name="gone", concurrency=4, jobs_done=7, uptime_seconds=60)
    done, found = await document("--url", url, "--no-rates")
    assert done.returncode == 1
    assert [(worker["name"], worker["alive"]) for worker in found["workers"]] == [("gone", False), ("here", True)]
    assert (found["concurrency"], found["jobs_done"], found["done_per_second"]) == (3, 5, None)
    (fault,) = found["faults"]
    assert fault.startswith("worker gone has been silent for 30")


async def test_workers_that_are_gone_are_no_fault_and_one_that_is_quiet_is_where_no_other_works(url, queue):
    for state in ("quiet", "stopping"):
        await publish(queue, name=state, concurrency=3, state=state)
    ended = uuid4()
    await queue._command("HSET", queue.keys.workers, str(ended), "{}")
    await queue.retire(ended, write_gone(Gone(ended, False, Became(3))))
    done, found = await document("--url", url, "--no-rates")
    assert [(worker["state"], worker["alive"]) for worker in found["workers"]] == [("quiet", True), ("stopping", True)]
    assert (done.returncode, found["faults"]) == (
        1,
        ["every worker is quiet, so no job is claimed: `workqueue workers resume ID`, or start another"],
    )
    await publish(queue, name="works", concurrency=3)
    shown = await status("--url", url, "--no-rates")
    assert (shown.returncode, "quiet quiet" in shown.stdout) == (0, True)


def test_of_a_producer_that_names_no_states_the_lease_says_who_is_alive():
    workers = [Worker(id="a", seen_seconds_ago=16), Worker(id="b", seen_seconds_ago=14)]
    assert [worker.alive for worker in Watch("http://127.0.0.1", 15)._workers(workers)] == [False, True]


async def test_how_much_runs_is_not_known_where_a_worker_does_not_tell_all(url, queue):
    running = [{"job_id": str(number), "type": "a", "seconds": 1} for number in range(100)]
    await publish(queue, name="many", concurrency=1000, running=running)
    _, found = await document("--url", url, "--no-rates")
    assert (found["running"], found["workers"][0]["running"], found["concurrency"]) == (None, None, 1000)


async def test_a_redis_that_is_away_is_named_with_the_remedy_and_hides_what_it_knows(queue_name):
    redis_url = f"redis://127.0.0.1:{free_port()}"
    async with serving({"REDIS_URL": redis_url, "QUEUE_NAME": queue_name}) as client:
        done, found = await document("--url", str(client.base_url))
        assert (done.returncode, found["ok"], found["rows"], found["redis"]["ok"]) == (1, False, False, False)
        (fault,) = found["faults"]
        assert "Redis" in fault
        assert "Start it, or point REDIS_URL" in fault
        for name in ("waiting", "running", "jobs_done", "workers", "done_per_second", "failures"):
            assert found[name] is None, name
        shown = await status("--url", str(client.base_url))
        assert (shown.returncode, shown.stderr) == (1, "")
        assert f"!  {fault}" in shown.stdout


async def test_a_producer_that_takes_no_jobs_is_not_well(url, queue, queue_name, redis_url):
    await publish(queue, name="here")
    async with serving({"REDIS_URL": redis_url, "QUEUE_NAME": queue_name}) as client:  # without the rows of this queue

        async def is_refused() -> bool:
            _, found = await document("--url", str(client.base_url), "--no-rates")
            return "DATABASE_URL" in " ".join(found["faults"])

        await until(is_refused, seconds=60)


async def test_a_producer_that_is_away_is_one_line_and_a_document_all_the_same():
    url = f"http://127.0.0.1:{free_port()}"
    done = await status("--url", url)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith(f"workqueue: no answer from a producer at {url}: ")
    assert "start one (`workqueue up` or `workqueue producer`), or name it with --url" in done.stderr
    again, found = await document("--url", url)
    assert (again.returncode, again.stderr) == (1, done.stderr)
    assert (found["ok"], found["url"], found["waiting"]) == (False, url, None)


async def test_what_is_no_producer_is_told_from_one(nursery, tmp_path, redis_url, queue_name):
    async with worker_process(nursery, tmp_path / "ledger", REDIS_URL=redis_url, QUEUE_NAME=queue_name) as worker:
        done = await status("--url", f"http://127.0.0.1:{worker.port}")
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert "is no producer of WorkQueue: GET /api/overview is 'not found' (404)" in done.stderr
        await worker.terminate()


async def test_no_password_of_the_url_is_shown():
    done, found = await document("--url", f"http://me:secret@127.0.0.1:{free_port()}")
    assert "secret" not in done.stdout + done.stderr
    assert found["url"].startswith("http://me@127.0.0.1:")


async def test_the_producer_of_an_up_in_this_folder_is_found(url, tmp_path: Path):
    with (tmp_path / local_installation.LOCK).open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        local_installation.write(tmp_path, {"PRODUCER_PORT": url.rpartition(":")[2].strip("/")})
        done = await status("--no-rates", WORKQUEUE_HOME=str(tmp_path))
    assert NO_WORKER in done.stdout, done.stderr


@pytest.mark.parametrize(
    "arguments", [["--watch", "--json"], ["--watch", "--no-rates"], ["--url", "localhost:8080"], ["--nonsense"], ["x"]]
)
def test_bad_use_is_status_2(arguments):
    done = workqueue("status", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr


def test_a_producer_that_says_nothing_is_given_up(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        done = workqueue("status", "--url", f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert (done.returncode, done.stdout) == (1, "")
    assert "none within 10 s" in done.stderr


# --- rates


def look(at: float, *workers: Worker) -> Look:
    return Look(
        at=at, overview=Overview(queue_name="q", redis=Health(True)), workers=[*workers], faults={}, failures=[]
    )


def worker(uptime: float, done: int, failed: int = 0, name: str = "w") -> Worker:
    return Worker(id=name, uptime_seconds=uptime, jobs_done=done, jobs_failed=failed)


def test_a_rate_is_what_was_done_between_two_publishings_by_the_workers_own_clock():
    rates = Rates()
    rates.see(look(0, worker(100, 1000)))
    assert rates.of("w") is None, "one tells nothing"
    rates.see(look(1, worker(100, 1000)))
    assert rates.of("w") is None, "the same again neither"
    rates.see(look(2, worker(103, 1030, 6)))
    assert rates.of("w") == Rate(10.0, 2.0)


def test_a_rate_is_of_the_last_seconds_and_a_worker_that_is_gone_is_forgotten():
    rates = Rates()
    for second in range(0, 60, 3):
        rates.see(look(second, worker(100 + second, 0 if second < 30 else 50 * (second - 30))))
    assert rates.of("w") == Rate(50.0, 0.0)
    rates.see(look(60))
    assert rates.of("w") is None


def test_a_worker_that_began_while_we_watched_has_done_all_of_it_since():
    rates = Rates()
    rates.see(look(0))
    rates.see(look(5, worker(4, 40), worker(6, 60, name="before")))
    assert (rates.of("w"), rates.of("before")) == (Rate(10.0, 0.0), None)
