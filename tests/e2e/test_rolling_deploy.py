"""Old and new side by side: workers of the release before this one, and those that cannot work together."""

import contextlib
import io
import json
import re
import signal
import subprocess
import sys
import tarfile
from functools import partial
from pathlib import Path

import httpx
import pytest
import trio

from tests.cli.support import workqueue
from tests.producer.serving import serving
from tests.support.invariants import check_nothing_left
from tests.support.steps import make_submit, registered
from tests.support.wait import until, until_true
from tests.worker.processes import WorkerProcess, ledger_counts, worker_process
from workqueue.core.errors import StoreUnavailable
from workqueue.core.protocol import OLDEST, PROTOCOL
from workqueue.core.queue import LeaseConnection
from workqueue.core.steps.piggyback import Piggyback
from workqueue.core.store import JobStore, migrate
from workqueue.core.wire import Submission

ROOT = Path(__file__).parents[2]
TERM = 2
#: Without a tag `v...` behind us: the subject of the commit whose code is taken for the release before. No id: a
#: history that was rewritten keeps the subjects.
BEFORE = "Release 0.2.0"
FROZEN = json.loads((ROOT / "tests/core/steps/protocol_2.json").read_text("utf-8"))


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


def git(checkout: Path, *arguments: str) -> bytes:
    """What git says there. Raises LookupError with why it says nothing."""
    try:
        done = subprocess.run(["git", "-C", str(checkout), *arguments], capture_output=True, check=True)
    except FileNotFoundError:
        raise LookupError("there is no git, and so no code of the release before") from None
    except subprocess.CalledProcessError as error:
        raise LookupError(f"no code of the release before: {error.stderr.decode().strip()}") from None
    return done.stdout


def release_before(checkout: Path) -> str:
    """The commit of the last release: the nearest tag `v...` behind this commit, or the one with the subject BEFORE."""
    with contextlib.suppress(LookupError):
        return git(checkout, "describe", "--tags", "--abbrev=0", "--match", "v[0-9]*", "HEAD^").decode().strip()
    log = git(checkout, "log", "--fixed-strings", f"--grep={BEFORE}", "--format=%H %s").decode()
    for line in log.splitlines():
        commit, _, subject = line.partition(" ")
        if subject == BEFORE:
            return commit
    shallow = git(checkout, "rev-parse", "--is-shallow-repository").decode().strip() == "true"
    raise LookupError(
        f"no tag v... and no commit {BEFORE!r} in this history"
        + (", which is cut off: git fetch --unshallow --tags" if shallow else "")
    )


def test_the_release_before_is_found_by_its_tag_or_by_its_subject_whatever_its_id_is(tmp_path):
    """In a history of this test's own: ours may be rewritten, and its tags with it."""

    def commit(subject: str) -> str:
        who = ["-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "commit.gpgsign=false"]
        git(tmp_path, *who, "commit", "--quiet", "--allow-empty", "-m", subject, "-m", f"Beside {BEFORE}")
        return git(tmp_path, "rev-parse", "HEAD").decode().strip()

    try:
        git(tmp_path, "init", "--quiet")
    except LookupError as error:
        pytest.skip(str(error))
    with pytest.raises(LookupError, match="no code of the release before"):
        release_before(tmp_path)
    commit("Begin")
    with pytest.raises(LookupError, match=r"no tag v\.\.\. and no commit 'Release 0.2.0'"):
        release_before(tmp_path)
    by_subject = commit(BEFORE)
    released = commit("Release")
    assert release_before(tmp_path) == by_subject
    git(tmp_path, "tag", "v0.2.0")
    assert release_before(tmp_path) == by_subject, "a release is not the one before itself"
    commit("Go on")
    git(tmp_path, "tag", "other")
    assert git(tmp_path, "rev-parse", release_before(tmp_path)).decode().strip() == released


@pytest.fixture(scope="session")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the code of the release before."""
    try:
        commit = release_before(ROOT)
    except LookupError as error:
        pytest.skip(str(error))
    code = git(ROOT, "archive", commit, "core", "services", "workqueue", "tests")
    folder = tmp_path_factory.mktemp("before")
    with tarfile.open(fileobj=io.BytesIO(code)) as archive:
        archive.extractall(folder, filter="data")
    protocol = folder / "core/protocol.py"
    spoken = re.search(r"^PROTOCOL\b.*?(\d+)", protocol.read_text("utf-8"), re.MULTILINE) if protocol.exists() else None
    if spoken is not None and int(spoken[1]) < OLDEST:
        pytest.skip(f"the release before speaks protocol {spoken[1]}, and this one works beside {OLDEST} and newer")
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
    outbox = Piggyback()
    submit = make_submit(queue, store, outbox)
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
            ids += await submit.run_batch([Submission("naps", b'{"seconds": 0.3}')] * 30)
            await until(partial(is_busy, dies))
            dies.process.send_signal(signal.SIGKILL)
            await until(partial(all_completed, psql, len(ids)), seconds=30)
            await until(partial(is_alone, queue), seconds=30)
            await lives.terminate()
            said += dies.said + lives.said
    starts, ends = ledger_counts(ledger)
    assert set(ends) == {str(job_id) for job_id in ids}
    assert sum(starts.values()) <= 60 + 2 * 5, "again only what ran when its worker was killed"
    assert "Traceback" not in said, said
    await outbox.clear(store)
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
            await until_true(lambda: waiting in worker.said, seconds=30)
            await until(partial(is_unready, worker.port, "Stop that worker, or update this one"))
            assert len(await queue.lease_scores()) == 1, "no lease is taken meanwhile"
            assert ledger_counts(ledger)[0] == {}
            others.cancel_scope.cancel()  # it is renewed no more: for a term, then it counts as gone
            with trio.CancelScope(shield=True):
                await until_true(lambda: "takes jobs from" in worker.said, seconds=30)
                assert worker.said.count("waiting: ") == 1
                await until_true(lambda: len(ledger_counts(ledger)[1]) == 1)


async def is_unready(port: int, because: str) -> bool:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        answer = await client.get("/ready")
    return answer.status_code == 503 and because in answer.text


async def test_tables_that_were_changed_beyond_us_are_left_alone(
    nursery, tmp_path, variables, bridge, store: JobStore, psql, postgres_dsn, database_schema
):
    """A later release says in its migration that processes of an older protocol would do harm."""
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
        await until_true(lambda: f"waiting for Postgres: Postgres: {said}" in worker.said, seconds=30)


async def answers(client, status: int) -> bool:
    return (await client.post("/enqueue", json={"type": "x"})).status_code == status
