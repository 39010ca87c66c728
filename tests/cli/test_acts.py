"""`workqueue cancel`, `retry`, `run-now` and `delete` against a real producer."""

from functools import partial
from uuid import uuid4

import pytest
import trio

from tests.cli.support import enqueue, workqueue


async def run(*arguments: str):
    return await trio.to_thread.run_sync(partial(workqueue, *arguments))


async def test_jobs_are_cancelled_retried_and_deleted_by_their_ids(url, psql):
    ids = [(await enqueue("a", "--url", url)).stdout.strip() for _ in range(2)]
    for act, said, states in (
        ("cancel", "cancelled", ["cancelled", "cancelled"]),
        ("retry", "waits again", ["pending", "pending"]),
        ("cancel", "cancelled", ["cancelled", "cancelled"]),
        ("delete", "deleted", []),
    ):
        done = await run(act, *ids, "--url", url)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == "".join(f"{job_id}  {said}\n" for job_id in ids)
        assert [row[0] for row in await psql("SELECT state FROM jobs")] == states


async def test_a_job_that_runs_is_said_to_be_on_its_way(url, psql):
    job_id = (await enqueue("a", "--url", url)).stdout.strip()
    await psql("UPDATE jobs SET state = 'processing', token = gen_random_uuid()")
    done = await run("cancel", job_id, "--url", url)
    assert done.stdout == f"{job_id}  is being cancelled\n"


async def test_what_could_not_be_done_is_said_and_the_others_are_done(url, psql):
    job_id = (await enqueue("a", "--url", url)).stdout.strip()
    missing = str(uuid4())
    done = await run("cancel", missing, job_id, "--url", url)
    assert done.returncode == 1
    assert done.stderr == f"{missing}  job not found (404)\n"
    assert done.stdout == f"{job_id}  cancelled\n"
    done = await run("run-now", job_id, "--url", url)
    assert (done.returncode, done.stderr) == (1, f"{job_id}  the job does not wait for a time (409)\n")


@pytest.mark.parametrize("arguments", [[], ["x"], ["../../enqueue"]])
def test_what_is_no_id_is_refused_without_a_request(arguments: list[str]):
    done = workqueue("delete", *arguments, "--url", "http://127.0.0.1:9")
    assert done.returncode == 2
    assert "ID..." in done.stderr


def test_a_producer_that_is_away_is_one_line():
    done = workqueue("retry", str(uuid4()), "--url", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert done.stderr.startswith("workqueue: no answer from the producer at http://127.0.0.1:9: ")
    assert len(done.stderr.splitlines()) == 1
