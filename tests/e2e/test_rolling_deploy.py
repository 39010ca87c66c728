"""Old and new side by side: workers of the release before this one, and those that cannot work together."""

import io
import json
import signal
import subprocess
import sys
import tarfile
from functools import partial
from pathlib import Path

import httpx
import pytest
import trio

from core.errors import StoreUnavailable
from core.protocol import OLDEST, PROTOCOL
from core.queue import LeaseConnection
from core.steps.marks import Ledger
from core.steps.submit import Submit
from core.store import JobStore, migrate
from core.wire import Submission
from tests.cli.support import workqueue
from tests.core.steps.conftest import registered
from tests.producer.serving import serving
from tests.support.invariants import check_nothing_left
from tests.support.wait import until, until_true
from tests.worker.processes import WorkerProcess, ledger_counts, worker_process

ROOT = Path(__file__).parents[2]
TERM = 2
#: The code that is taken for the release before. Moves on with each release that raises no PROTOCOL.
BEFORE = "00a686e0b8253aa16a6af00d7b2990b1405de42c"
FROZEN = json.loads((ROOT / "tests/core/steps/protocol_1.json").read_text("utf-8"))


@pytest.fixture
def variables(redis_url, postgres_dsn, database_schema, queue_name) -> dict[str, str]:
    return {
        "REDIS_URL": redis_url,
        "DATABASE_URL": postgres_dsn,
        "DATABASE_SCHEMA": database_schema,
        "QUEUE_NAME": queue_name,
        "WORKER_CONCURRENCY": "5",
        "LEASE_SECONDS": str(TERM),
    }


@pytest.fixture(scope="session")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the code of the release before."""
    command = ["git", "-C", str(ROOT), "archive", BEFORE, "core", "services", "workqueue", "tests"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("this is no checkout with its history")
    folder = tmp_path_factory.mktemp("before")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    said = subprocess.run([sys.executable, "-c", "import core; print(core.__file__)"], cwd=folder, capture_output=True,
                          text=True, check=True).stdout  # fmt: skip
    assert said.startswith(str(folder)), "it is that code which runs there"
    return folder


async def all_completed(psql, count: int) -> bool:
    return await psql.value("SELECT count(*) FROM jobs WHERE state = 'completed'") == count


async def test_workers_of_two_releases_share_a_queue_and_recover_each_other(
    nursery, tmp_path, variables, before, queue, store, psql
):
    """First the old one dies in the middle of its jobs, then the new one; the other one runs what it leaves behind."""
    ledger = tmp_path / "ledger"
    marks = Ledger()
    submit = Submit(queue, store, marks)
    ids: list[object] = []
    said = ""

    async def is_busy(worker: WorkerProcess) -> bool:
        owned = "SELECT count(*) FROM jobs WHERE state = 'processing' AND worker LIKE $1"
        return await psql.value(owned, f"%.{worker.process.pid}") >= 3

    for dying, living in ((before, None), (None, before)):
        async with (
            worker_process(nursery, ledger, code=dying, **variables) as dies,
            worker_process(nursery, ledger, code=living, **variables) as lives,
        ):
            ids += await submit.run_batch([Submission("naps", b'{"seconds": 0.3}', 0)] * 30)
            await until(partial(is_busy, dies))
            dies.process.send_signal(signal.SIGKILL)
            await until(partial(all_completed, psql, len(ids)), seconds=30)
            await until(partial(is_alone, queue), seconds=10)
            await lives.terminate()
            said += dies.said + lives.said
    starts, ends = ledger_counts(ledger)
    assert set(ends) == {str(job_id) for job_id in ids}
    assert sum(starts.values()) <= 60 + 2 * 5, "again only what ran when its worker was killed"
    assert "Traceback" not in said, said
    await marks.clear(store)
    await check_nothing_left(queue, psql)


async def is_alone(queue) -> bool:
    return len(await queue.lease_scores()) == 1


# --- those that cannot work together


async def live(redis_url: str, queue, said: dict[str, object], *, task_status) -> None:
    """A worker of another release, that renews its lease until it is cancelled."""
    lease = registered(redis_url, queue.name)
    connection = LeaseConnection(redis_url, queue.keys, seconds=3)
    published = json.dumps(FROZEN["published"] | said).encode()
    try:
        while True:
            assert connection.renew(lease.id, published)
            task_status.started()
            task_status = trio.TASK_STATUS_IGNORED
            await trio.sleep(0.2)
    finally:
        connection.close()


@pytest.mark.parametrize("said", [{}, {"protocol": PROTOCOL + 1, "oldest": OLDEST, "more": 1}])
async def test_a_worker_starts_beside_those_it_can_work_with(
    nursery, tmp_path, variables, redis_url, queue, store, said
):
    async with trio.open_nursery() as others:
        await others.start(live, redis_url, queue, said)
        async with worker_process(nursery, tmp_path / "ledger", **variables) as worker:
            assert "waiting: " not in worker.said
        others.cancel_scope.cancel()


async def test_a_worker_waits_until_no_worker_of_a_later_protocol_is_left(
    nursery, tmp_path, variables, redis_url, queue, store
):
    """The later one has said that it cannot work beside us, and only it can know."""
    said = {"name": "later.1", "version": "9.0", "protocol": PROTOCOL + 1, "oldest": PROTOCOL + 1}
    await queue.push([b'{"type":"quick"}'])
    ledger = tmp_path / "ledger"
    async with trio.open_nursery() as others:
        await others.start(live, redis_url, queue, said)
        async with worker_process(nursery, ledger, wait=False, **variables) as worker:
            waiting = f"waiting: worker later.1 (version 9.0) speaks protocol {PROTOCOL + 1}"
            await until_true(lambda: waiting in worker.said, seconds=20)
            await until(partial(is_unready, worker.port, "Stop that worker, or update this one"))
            assert len(await queue.lease_scores()) == 1, "no lease is taken meanwhile"
            assert ledger_counts(ledger)[0] == {}
            others.cancel_scope.cancel()  # it is renewed no more: for a term, then it counts as gone
            with trio.CancelScope(shield=True):
                await until_true(lambda: "takes jobs from" in worker.said, seconds=20)
                assert worker.said.count("waiting: ") == 1
                await until_true(lambda: len(ledger_counts(ledger)[1]) == 1)


async def is_unready(port: int, because: str) -> bool:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        answer = await client.get("/ready")
    return answer.status_code == 503 and because in answer.text


async def test_tables_that_were_changed_beyond_us_are_left_alone(
    nursery, tmp_path, variables, bridge, store: JobStore, psql, postgres_dsn, database_schema
):
    """A later release says in its migration that whoever speaks an older protocol would do harm."""
    insert = "INSERT INTO migrations (number, name, oldest) VALUES ($1, 'of the future', $2)"
    await psql(insert, 9998, PROTOCOL)
    assert await migrate(bridge, postgres_dsn, database_schema) == [], "one that only adds is no reason"
    await store.check()
    async with serving(variables) as client:
        await until(partial(answers, client, 200))
        await psql(insert, 9999, PROTOCOL + 1)
        said = f"these tables need protocol {PROTOCOL + 1} or newer, and this release speaks {PROTOCOL}: update it"
        await until(partial(answers, client, 500))
        answer = await client.get("/ready")
        assert said in answer.json()["postgres"]
    with pytest.raises(StoreUnavailable, match="update it"):
        await migrate(bridge, postgres_dsn, database_schema)
    done = await trio.to_thread.run_sync(lambda: workqueue("migrate", **variables))
    assert (done.returncode, done.stderr) == (1, f"workqueue: Postgres: {said}\n")
    async with worker_process(nursery, tmp_path / "ledger", wait=False, **variables) as worker:
        await until_true(lambda: f"waiting for Postgres: Postgres: {said}" in worker.said, seconds=20)


async def answers(client, status: int) -> bool:
    return (await client.post("/enqueue", json={"type": "x"})).status_code == status
